// Worlds made at random, as wide as the loaders' rules: filters, versions, files that no linker makes, links, sonames that
// are paths, objects opened one after the other. The simulation and the real loader map the same files, and stumble over the
// same name.
//   WHEELFIX_TEST_RUNS=5000 node scripts/test.mjs ldso/random    tries more of them
//   WHEELFIX_TEST_GLIBC=DIR                                     with the glibc whose loader and libc.so.6 are in DIR
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, suite, test } from 'node:test'
import fc from 'fast-check'
import { fork, open } from '../../src/ldso/process.ts'
import type { NeededResult } from '../../src/ldso/search.ts'
import { interpreterOf } from '../support/elf.ts'
import { type Link, makeLibrary } from '../support/library.ts'
import { missing } from '../support/requires.ts'
import { mutate, type Mutation, MUTATIONS, NOT_FOR_MUSL } from './mutations.ts'
import { mapsOf, realMaps, start, workshop } from './objects.ts'

const MACHINE = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
const E_MACHINE = process.arch === 'arm64' ? 183 : 62

const FOLDERS = ['a', 'b', 'c'] as const
const NAMES = ['libk.so', 'libl.so', 'libm1.so', 'libn.so'] as const
const VERSIONS = ['V_1', 'V_2'] as const
const SEARCH = [
  '$ORIGIN',
  '$ORIGIN/../a',
  '${ORIGIN}/../b',
  '@c',
  '/nonexistent',
  '/proc/version',
  '@a/libk.so',
] as const

interface Made {
  readonly folder: (typeof FOLDERS)[number]
  readonly name: (typeof NAMES)[number]
  /** `path`: its soname is the path of another file. */
  readonly soname: 'own' | 'other' | 'path' | null
  readonly links: readonly Link[]
  readonly tag: 'rpath' | 'runpath' | null
  readonly search: readonly string[]
  readonly defines: 'nothing' | 'base' | 'one' | 'both'
  /** Of its first needed. */
  readonly wants: { readonly version: (typeof VERSIONS)[number] | 'base'; readonly weak: boolean } | null
  /** What stands in its place. */
  readonly oddity: Mutation | 'a link to itself' | 'a link to another' | null
}

/** null `often` times as often. */
function sometimes<T>(often: number, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> {
  return fc.oneof({ weight: often, arbitrary: fc.constant(null) }, { weight: 1, arbitrary })
}

function scenario(wide: boolean, oddities: readonly Mutation[]) {
  const link = fc.record({
    tag: wide
      ? fc.constantFrom('DT_NEEDED' as const, 'DT_NEEDED' as const, 'DT_FILTER' as const, 'DT_AUXILIARY' as const)
      : fc.constant('DT_NEEDED' as const),
    name: fc.constantFrom(
      ...Array.from({ length: 6 }, () => NAMES).flat(),
      ...(wide ? ['@a/libk.so', '$ORIGIN/libl.so', 'libgone.so'] : ['libgone.so']),
    ),
  })
  const made: fc.Arbitrary<Made> = fc.record({
    folder: fc.constantFrom(...FOLDERS),
    name: fc.constantFrom(...NAMES),
    soname: wide
      ? fc.constantFrom('own' as const, 'own' as const, 'other' as const, 'path' as const, null)
      : fc.constantFrom('own' as const, null),
    links: fc.array(link, { maxLength: 3 }),
    tag: fc.constantFrom('rpath' as const, 'rpath' as const, 'runpath' as const, 'runpath' as const, null),
    search: fc.uniqueArray(fc.constantFrom(...SEARCH), { minLength: 2, maxLength: 5 }),
    defines: wide
      ? fc.constantFrom('nothing' as const, 'base' as const, 'one' as const, 'both' as const)
      : fc.constant('nothing' as const),
    wants: wide
      ? sometimes(1, fc.record({ version: fc.constantFrom(...VERSIONS, 'base' as const), weak: fc.boolean() }))
      : fc.constant(null),
    oddity: wide
      ? sometimes(3, fc.constantFrom(...oddities, 'a link to itself' as const, 'a link to another' as const))
      : fc.constant(null),
  })
  return fc.record({
    libraries: fc.uniqueArray(made, {
      selector: ({ folder, name }) => `${folder}/${name}`,
      minLength: 7,
      maxLength: 11,
    }),
    opener: fc.constantFrom('plain', 'rpath', 'runpath'),
    opened: fc.array(fc.nat(9), { minLength: 1, maxLength: 4 }),
  })
}

for (const libc of ['glibc', 'musl'] as const) {
  const other = process.env['WHEELFIX_TEST_GLIBC']
  const skip = missing('gcc', ...(libc === 'musl' ? ['musl-gcc'] : []))
  suite(`worlds made at random, under ${libc}`, { skip }, () => {
    if (skip !== false) return
    const environment = libc === 'glibc' && other !== undefined ? [other] : []
    const host = interpreterOf(process.execPath) ?? ''
    const interpreter =
      libc === 'musl'
        ? `/lib/ld-musl-${MACHINE}.so.1`
        : other === undefined
          ? host
          : join(other, host.slice(host.lastIndexOf('/') + 1))
    const flags = libc === 'glibc' ? [`-Wl,--dynamic-linker=${interpreter}`] : []
    const shop = workshop({ compiler: libc === 'glibc' ? 'gcc' : 'musl-gcc', interpreter, openerFlags: flags })
    after(() => shop.dispose())
    const world = join(shop.root, 'world')
    const openers: Readonly<Record<string, string>> = {
      plain: shop.opener('plain'),
      rpath: shop.opener('rpath', { rpath: '$ORIGIN/world/b' }),
      runpath: shop.opener('runpath', { runpath: '$ORIGIN/world/b' }),
    }
    const expand = (text: string): string => text.replace(/^@/, `${world}/`)
    const oddities = MUTATIONS.filter(kind => kind !== 'unreadable' && !(libc === 'musl' && NOT_FOR_MUSL.has(kind)))

    const write = ({ folder, name, soname, links, tag, search, defines, wants, oddity }: Made): string => {
      const path = join(world, folder, name)
      mkdirSync(dirname(path), { recursive: true })
      const target = join(world, 'c', name === 'libk.so' ? 'libl.so' : 'libk.so')
      const own = { own: name, other: 'libn.so', path: target }
      const needed = links.find(entry => entry.tag === 'DT_NEEDED' && !entry.name.includes('/'))?.name
      writeFileSync(
        path,
        makeLibrary({
          soname: soname === null ? null : own[soname],
          links: links.map(entry => ({ ...entry, name: expand(entry.name) })),
          machine: E_MACHINE,
          ...(tag === null || search.length === 0 ? {} : { [tag]: search.map(expand).join(':') }),
          defines: { nothing: [], base: [name], one: [name, 'V_1'], both: [name, ...VERSIONS] }[defines],
          wants:
            wants === null || needed === undefined
              ? []
              : [{ file: needed, version: wants.version === 'base' ? needed : wants.version, weak: wants.weak }],
        }),
      )
      if (oddity === 'a link to itself' || oddity === 'a link to another') {
        rmSync(path)
        symlinkSync(oddity === 'a link to itself' ? name : target, path)
      } else if (oddity !== null) mutate(path, oddity)
      return path
    }

    /** Opens the files in order until one is not loaded. */
    const compare = (opener: string, paths: readonly string[]): void => {
      const process = fork(start(opener, environment))
      const done: string[] = []
      let lost: readonly NeededResult[] = []
      let mapped = mapsOf(process)
      for (const path of paths) {
        done.push(path)
        const file = process.loader.tree.open(path)
        if (file?.object == null) throw new Error(`${path} cannot be read`)
        const before = process.maps.length
        open(process, process.main, path, file.identity, file.object)
        lost = process.maps
          .slice(before)
          .flatMap(map => map.needed)
          .filter(({ provider, lackingVersions }) => provider === null || lackingVersions.length > 0)
        if (lost.length > 0) break
        mapped = mapsOf(process)
      }
      const env = environment.length === 0 ? {} : { LD_LIBRARY_PATH: environment.join(':') }
      const { found, errors, crashed } = realMaps(opener, done, env)
      // glibc never comes to an end with filtees that have each other for filters
      fc.pre(!crashed || !process.maps.some(({ object }) => object.filters.length + object.auxiliaries.length > 0))
      assert.ok(!crashed, 'it ended by a signal')
      const ours = mapped.filter(path => path !== opener)
      const absent = lost.filter(({ provider }) => provider === null)
      const first = absent.length === 0 ? lost : absent
      // with filters the objects are gone through in another order than they are mapped in
      const isFiltered = process.maps.some(({ object }) => object.filters.length + object.auxiliaries.length > 0)
      const agrees =
        lost.length === 0
          ? errors === ''
          : (isFiltered ? first : first.slice(0, 1)).some(need => stumbles(errors, need))
      const said = lost.map(({ soname, because }) => `${soname} ${JSON.stringify(because)}`)
      assert.deepEqual(
        [found.filter(path => path !== opener), agrees],
        [ours, true],
        `${errors}\nours: ${said.join('\n')}`,
      )
    }

    for (const profile of ['plain', 'wide'] as const) {
      test(`the ${profile} ones are loaded as the real loader loads them`, { timeout: 900_000 }, () => {
        fc.assert(
          fc.property(scenario(profile === 'wide', oddities), ({ libraries, opener, opened }) => {
            rmSync(world, { recursive: true, force: true })
            const paths = libraries.map(library => ({ path: write(library), sound: library.oddity === null }))
            const sound = paths.filter(({ path, sound }) => sound && existsSync(path)).map(({ path }) => path)
            const roots = opened.flatMap(index => sound[index % Math.max(sound.length, 1)] ?? [])
            compare(openers[opener] ?? '', roots)
          }),
          { numRuns: Number(process.env['WHEELFIX_TEST_RUNS'] ?? 60), interruptAfterTimeLimit: 850_000, ...seed() },
        )
      })
    }
  })
}

/** Does the real loader give up at this needed? */
function stumbles(errors: string, lost: NeededResult): boolean {
  if (lost.lackingVersions.length > 0) return errors.includes(`version \`${lost.lackingVersions[0] ?? ''}' not found`)
  const name = lost.soname.slice(lost.soname.lastIndexOf('/') + 1)
  return new RegExp(`(?:^|/|library |\\$ORIGIN/)${name.replaceAll('.', '\\.')}: `, 'm').test(errors)
}

/** The same worlds each time, unless more are asked for. */
function seed(): { seed?: number } {
  return process.env['WHEELFIX_TEST_RUNS'] === undefined ? { seed: 20_261_126 } : {}
}
