// What fails where the library set lacks libraries, beside what the report says is missing: a module whose own objects miss
// something does not import, and whatever else does not import has one of those to blame.
import { join } from 'node:path'
import { parseReport, type Report } from '../world/report.ts'
import { sitePackages, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { importEach, type Imported } from './imports.ts'

export interface Failures {
  /** Modules that import on the host, and those of them that do not with this library set. */
  readonly modules: number
  readonly failing: number
  /** Those that fail for a library of their own, by the report. */
  readonly named: number
  /** Where the report and the imports say different things, a sentence each. */
  readonly differences: readonly string[]
}

/** What imports on the host, which has all libraries: the measure. */
export function importsOnHost(world: World, venv: string): ReadonlyMap<string, Imported> {
  return importEach(world.host.python.executable, sitePackages(world, venv), world.env)
}

/** Patches the venv again, with these directories alone, and imports everything. */
export function compareFailures(
  world: World,
  venv: string,
  libs: readonly string[],
  onHost: ReadonlyMap<string, Imported>,
): Failures {
  wheelfix(world, ['restore', venv])
  const flags = libs.flatMap(directory => ['--libs', directory])
  const { status, stdout, stderr } = wheelfix(world, ['venv', '--json', '--no-scan', ...flags, venv])
  if (status === 2) throw new Error(stderr)
  const lacks = lackingObjects(parseReport(stdout), venv)

  const here = importEach(join(venv, 'bin/python'), sitePackages(world, venv), world.env)
  const differences: string[] = []
  let [modules, failing, named] = [0, 0, 0]
  for (const [name, { error, file, mapped }] of onHost) {
    if (error !== null) continue
    modules++
    const fault = here.get(name)?.error ?? null
    const ownLacks = file !== null && lacks.has(file)
    if (fault !== null) failing++
    if (ownLacks) named++
    if (ownLacks && fault === null) differences.push(`${name} imports, though its object lacks ${lacks.get(file)}`)
    if (fault !== null && !mapped.some(path => lacks.has(path))) {
      differences.push(`${name} does not import (${fault}), and nothing that it loads lacks anything`)
    }
  }
  return { modules, failing, named, differences }
}

/** The objects that miss something, or that need one of the venv that does: the first such soname, by the object's path. */
function lackingObjects({ objects }: Report, venv: string): Map<string, string> {
  const byPath = new Map(objects.map(object => [join(venv, object.path), object]))
  const lacks = new Map(
    objects.flatMap(({ path, missing: [soname] }) =>
      soname === undefined ? [] : [[join(venv, path), soname] as const],
    ),
  )
  for (let known = -1; known !== lacks.size;) {
    known = lacks.size
    for (const [path, { needed }] of byPath) {
      if (lacks.has(path)) continue
      const soname = needed.map(({ provider }) => lacks.get(provider ?? '')).find(found => found !== undefined)
      if (soname !== undefined) lacks.set(path, soname)
    }
  }
  return lacks
}
