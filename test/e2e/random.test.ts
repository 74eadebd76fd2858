// Venvs made at random, against the real loader: whatever objects need each other, wherever they search, one run leaves
// every needed with the file that the report names, and undoes itself. The libraries are made by hand: no compiler.
//   WHEELFIX_TEST_RUNS=200 node scripts/test.mjs e2e/random    tries more of them
import assert from 'node:assert/strict'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, suite, test } from 'node:test'
import fc from 'fast-check'
import { makeLibrary } from '../support/library.ts'
import { skip } from '../support/requires.ts'
import { treeContent, treeState } from '../support/tree.ts'
import { judgeLibraries, machineOf, type Verdict } from '../world/oracle.ts'
import { disagreements, parseReport, type Report } from '../world/report.ts'
import { makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

/** A library of a venv or of the store, by what a wheel's author or nixpkgs may have given it. */
interface Made {
  readonly folder: string
  readonly name: string
  readonly hasSoname: boolean
  readonly needed: readonly string[]
  readonly tag: 'rpath' | 'runpath' | null
  readonly search: readonly string[]
}

const IN_VENV = ['liba.so.1', 'libb.so.1', 'libc-private.so.2', 'libd.so.1']
const IN_STORE = ['libs.so.1', 'libt.so.1', 'libu.so.1']
const NOWHERE = ['libnowhere.so.1']
const EXTENSIONS = ['one.abi3.so', 'two.abi3.so', 'three.abi3.so', 'four.abi3.so']
const PACKAGES = ['p', 'q', 'r']

function made(folders: readonly string[], names: readonly string[], search: readonly string[]): fc.Arbitrary<Made> {
  return fc.record({
    folder: fc.constantFrom(...folders),
    name: fc.constantFrom(...names),
    hasSoname: fc.boolean(),
    needed: fc.uniqueArray(
      fc.constantFrom(...IN_VENV, ...IN_STORE, ...IN_STORE, ...NOWHERE, 'libc.so.6', 'libm.so.6'),
      {
        maxLength: 4,
      },
    ),
    tag: fc.constantFrom('rpath', 'runpath', null),
    search: fc.uniqueArray(fc.constantFrom(...search), { maxLength: 3 }),
  })
}

const FILLER: Made = { folder: '', name: 'libfiller.so', hasSoname: true, needed: [], tag: null, search: [] }

const unique = <T extends Made>(arbitrary: fc.Arbitrary<T>, sizes: { minLength: number; maxLength: number }) =>
  fc.uniqueArray(arbitrary, { selector: ({ folder, name }) => `${folder}/${name}`, ...sizes })

const searchInVenv = ['$ORIGIN', '$ORIGIN/../a.libs', '${ORIGIN}/../b.libs', '/nonexistent', '@p', '@q']
const scenario = fc.record({
  extensions: unique(made(['a', 'b'], EXTENSIONS, searchInVenv), { minLength: 1, maxLength: 5 }),
  libraries: unique(made(['a', 'a.libs', 'b.libs'], IN_VENV, searchInVenv), { minLength: 0, maxLength: 7 }),
  // a folder of the store may hold another file of a name that a wheel bundles
  store: unique(made(PACKAGES, [...IN_STORE, 'liba.so.1', 'libb.so.1'], ['@p']), {
    minLength: 0,
    maxLength: 6,
  }),
})

suite('venvs made at random', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('are resolved as the loader resolves them', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const machine = machineOf(world.python)
  const folderOf = (name: string): string => join(world.store, `${name.repeat(32)}-${name}-1.0`, 'lib')
  const expand = (text: string): string => text.replace(/^@(.)$/, (_, name: string) => folderOf(name))
  const write = (root: string, { folder, name, hasSoname, needed, tag, search }: Made): string => {
    const path = join(root, folder, name)
    mkdirSync(dirname(path), { recursive: true })
    const soname = hasSoname ? name : null
    const searchPath = tag === null || search.length === 0 ? {} : { [tag]: search.map(expand).join(':') }
    writeFileSync(path, makeLibrary({ soname, needed, machine, ...searchPath }))
    return path
  }

  test('are resolved as the loader resolves them', { timeout: 900_000 }, () => {
    let count = 0
    fc.assert(
      fc.property(scenario, ({ extensions, libraries, store }) => {
        const venv = makeVenv(world, `venv${count++}`)
        const site = sitePackages(world, venv)
        try {
          // a folder of the set has to hold a library
          for (const name of PACKAGES) write(folderOf(name), FILLER)
          for (const library of closed(store)) write(folderOf(library.folder), { ...library, folder: '' })
          const paths = [...extensions, ...libraries].map(library => write(site, library))
          const python = join(venv, 'bin/python')
          const original = treeContent(venv)
          const before = judgeLibraries(python, paths, world.env)

          const args = [venv, '--no-scan', '--libs', PACKAGES.map(folderOf).join(':')]
          const plan = report(['venv', ...args, '--dry-run', '--json'])
          report(['venv', ...args, '--json'])
          assert.deepEqual(disagreements(plan, python, world.env), [], 'the plan')
          assert.deepEqual(disagreements(report(['check', ...args, '--json']), python, world.env), [], 'the report')
          const now = judgeLibraries(python, paths, world.env)
          assert.deepEqual(losses(before, now), [], 'what was found before')
          assert.deepEqual(lossesBelow(site, before, now, plan), [], 'what bundled libraries found before')

          const state = treeState(venv)
          wheelfix(world, ['venv', ...args])
          assert.deepEqual(treeState(venv), state, 'a second run')
          assert.equal(wheelfix(world, ['restore', venv]).status, 0)
          assert.deepEqual(treeContent(venv), original, 'restore')
        } finally {
          rmSync(venv, { recursive: true })
          for (const name of PACKAGES) rmSync(dirname(folderOf(name)), { recursive: true })
        }
      }),
      { numRuns: Number(process.env['WHEELFIX_TEST_RUNS'] ?? 8), interruptAfterTimeLimit: 600_000, ...seed() },
    )
  })

  function report(args: readonly string[]): Report {
    const { status, stdout, stderr } = wheelfix(world as Exclude<typeof world, string>, args)
    assert.ok(status < 2, stdout + stderr)
    return parseReport(stdout)
  }
})

/** As Nix builds libraries: each finds what it needs by its own search path. */
function closed(store: readonly Made[]): Made[] {
  const there = new Set([...store.map(({ name }) => name), 'libc.so.6', 'libm.so.6'])
  const search = PACKAGES.map(name => `@${name}`)
  return store.map(({ folder, name, hasSoname, needed, tag }) => ({
    folder,
    name,
    hasSoname,
    needed: needed.filter(soname => there.has(soname)),
    tag: tag ?? 'runpath',
    search,
  }))
}

/** The same venvs each time, unless more are asked for. */
function seed(): { seed?: number } {
  return process.env['WHEELFIX_TEST_RUNS'] === undefined ? { seed: 20_230_610 } : {}
}

/** What an object found before and does not find any more, or finds elsewhere. */
function losses(before: readonly Verdict[], now: readonly Verdict[]): string[] {
  return before.flatMap(({ path, providers }, index) =>
    [...(providers.get(path) ?? [])]
      .filter(([soname, file]) => now[index]?.providers.get(path)?.get(soname) !== file)
      .map(([soname, file]) => `${path}: ${soname} was ${file}, is ${now[index]?.providers.get(path)?.get(soname)}`),
  )
}

/** What a bundled library found in the venv before, in the process of another object, and finds elsewhere without a word. */
function lossesBelow(
  site: string,
  before: readonly Verdict[],
  now: readonly Verdict[],
  { conflicts }: Pick<Report, 'conflicts'>,
): string[] {
  const isSaid = (path: string, soname: string): boolean =>
    conflicts.some(({ objects, sonames }) => objects.some(object => path.endsWith(object)) && sonames.includes(soname))
  return before.flatMap(({ path, providers }, index) =>
    [...providers].flatMap(([object, sonames]) =>
      [...sonames].flatMap(([soname, file]) => {
        const other = now[index]?.providers.get(object)?.get(soname)
        if (!file.startsWith(site) || other === file || isSaid(object, soname)) return []
        return [`${object} below ${path}: ${soname} was ${file}, is ${other}`]
      }),
    ),
  )
}
