// `npm run reach -- NAME…`, or `-- @FILE` with a name on each line: each distribution, with what it requires, in a venv of
// its own in the world. Nothing that the host's loader loads may be refused; every module that imports on the host imports
// after `wheelfix venv`; `doctor` agrees with the real loader; `restore` gives every file back. A name of which there is no
// wheel, or whose wheel has no object, is passed over. What the distributions ask of the system is taken from the host.
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { treeContent } from '../support/tree.ts'
import { judgeExecutable, judgeLibraries } from '../world/oracle.ts'
import { makeVenv, sitePackages, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'
import { comparedWith, importAll } from './imports.ts'
import { hostLibraries, installWheels } from './install.ts'

interface Reach {
  readonly objects: number
  /** The modules of the distribution itself that import on the host, and those of them that import before and after. */
  readonly modules: number
  readonly before: number
  readonly after: number
  /** Files that `restore` was compared on. */
  readonly files: number
  readonly differences: readonly string[]
}

interface ReportedObject {
  readonly path: string
  readonly kind: string
  readonly status: string
  readonly reason?: string
}

interface Finding {
  readonly code: string
  readonly message: string
  readonly paths: readonly string[]
}

/** null where there is no object to patch. @throws Error where nothing can be installed */
function reachOf(world: World, venv: string, name: string): Reach | null {
  installWheels(world, venv, [name])
  const site = sitePackages(world, venv)
  const original = treeContent(venv)
  const own = { wanted: (folder: string) => normalized(folder.split('-')[0] ?? '') === normalized(name) }
  const onHost = importAll(world.host.python.executable, site, world.env, own)
  const imported = () => comparedWith(onHost, importAll(join(venv, 'bin/python'), site, world.env, own))
  const before = imported()

  const libs = [world.libs.gcc, world.libs.zlib, ...hostLibraries(world, venv)].join(':')
  const patched = wheelfix(world, ['venv', venv, '--no-scan', '--json', '--libs', libs])
  if (patched.status === 2) throw new Error(patched.stderr)
  const { objects } = JSON.parse(patched.stdout) as { objects: readonly ReportedObject[] }
  if (objects.length === 0) return null
  const after = imported()
  const doctor = wheelfix(world, ['doctor', venv, '--no-scan', '--json', '--libs', libs])
  const { findings } = JSON.parse(doctor.stdout) as { findings: readonly Finding[] }
  const restored = wheelfix(world, ['restore', venv])

  return {
    objects: objects.length,
    modules: after.modules,
    before: before.modules - before.failing.length,
    after: after.modules - after.failing.length,
    files: original.size,
    differences: [
      ...after.failing,
      ...wronglyRefused(world, venv, objects, findings),
      ...findings.filter(({ code }) => code === 'loader-differs').map(({ message }) => `loader-differs: ${message}`),
      ...(restored.status === 0 ? [] : [`restore ended with ${restored.status}: ${restored.stderr.trim()}`]),
      ...changed(original, treeContent(venv)).map(path => `restore: ${path} is not as it was`),
    ],
  }
}

/** What the host's loader loads, of all that is refused or said to be refused by the loader. The venv is unpatched. */
function wronglyRefused(
  world: World,
  venv: string,
  objects: readonly ReportedObject[],
  findings: readonly Finding[],
): string[] {
  const reasons = new Map<string, string>()
  for (const { path, status, reason } of objects) {
    if (status === 'refused' || status === 'broken') reasons.set(path, `${status}: ${reason ?? ''}`)
  }
  for (const { code, paths, message } of findings) {
    if (code === 'loader-refuses') for (const path of paths) reasons.set(path, message)
  }
  const programs = new Set(objects.filter(({ kind }) => kind === 'executable').map(({ path }) => path))
  const libraries = [...reasons.keys()].filter(path => !programs.has(path)).map(path => join(venv, path))
  const verdicts = [
    ...(libraries.length === 0 ? [] : judgeLibraries(world.host.python.executable, libraries, world.env)),
    ...[...reasons.keys()].filter(path => programs.has(path)).map(path => judgeExecutable(join(venv, path), world.env)),
  ]
  const loads = new Set(verdicts.flatMap(({ path, error, missing }) => ((error ?? missing[0]) ? [] : [path])))
  return [...reasons]
    .filter(([path]) => loads.has(join(venv, path)))
    .map(([path, reason]) => `the host loads ${path} (${reason})`)
}

/** Paths whose content differs, but for what wheelfix keeps for itself. */
function changed(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter(path => !/(?:^|\/)\.wheelfix(?:\/|$)/.test(path))
    .filter(path => before.get(path) !== after.get(path))
}

/** As PyPI compares names (PEP 503). */
function normalized(name: string): string {
  return name.replaceAll(/[-_.]+/g, '-').toLowerCase()
}

const names = process.argv.slice(2).flatMap(word => {
  const text = word.startsWith('@') ? readFileSync(word.slice(1), 'utf8') : word
  return text.split(/\s+/).filter(name => name !== '')
})
const world = withWheels(buildWorld())
if (typeof world === 'string' || names.length === 0) {
  console.error(typeof world === 'string' ? world : 'which distributions? npm run reach -- NAME… or @FILE')
  process.exit(1)
}
const totals = { distributions: 0, objects: 0, modules: 0, before: 0, after: 0, files: 0, differences: 0 }
try {
  const known = new Set(readdirSync(world.store))
  for (const name of names) {
    const venv = makeVenv(world, 'reach')
    try {
      const reach = reachOf(world, venv, name)
      if (reach === null) console.log(`${name}: no objects`)
      else {
        totals.distributions++
        totals.differences += reach.differences.length
        for (const key of ['objects', 'modules', 'before', 'after', 'files'] as const) totals[key] += reach[key]
        const { objects, modules, before, after, differences } = reach
        console.log(`${name}: ${objects} objects; of ${modules} modules ${before} import before, ${after} after`)
        for (const line of differences) console.log(`  ${line}`)
      }
    } catch (error) {
      console.log(`${name}: skipped: ${String(error).trim().split('\n').at(-1) ?? ''}`)
    }
    rmSync(venv, { recursive: true })
    for (const added of readdirSync(world.store)) {
      if (!known.has(added)) rmSync(join(world.store, added), { recursive: true })
    }
  }
} finally {
  world.dispose()
}
const { distributions, objects, modules, before, after, files, differences } = totals
console.log(
  `${distributions} distributions, ${objects} objects, ${files} files; of ${modules} modules that import on the host ` +
    `${before} import before and ${after} after; ${differences} differences`,
)
process.exitCode = differences === 0 ? 0 : 1
