// Findings about libraries that are opened by name at run time. No DT_NEEDED shows these libraries.
import { attributeFor } from '../nix/hints.ts'
import { readRegular } from '../io/beneath.ts'
import { agree, count } from '../io/words.ts'
import { entriesIn, fileNameOf, relativeTo } from '../io/path.ts'
import type { Environment } from '../python/environment.ts'
import { KNOWN_CASES, type KnownCase } from '../resolve/known-cases.ts'
import { isFoundByName, type PythonProcess } from '../resolve/python-process.ts'
import { findsByName, type SimulationInput } from '../resolve/simulate.ts'
import { type Examination } from '../environment/examine.ts'
import type { Finding } from './findings.ts'

/** Libraries that objects declare to open by name, and do not find. */
export function dlopenNotes({ scan }: Examination, input: SimulationInput): Finding[] {
  const findings: Finding[] = []
  for (const object of scan.objects) {
    for (const { feature, description, priority, sonames } of object.opens) {
      if (sonames.some(soname => findsByName(object, soname, input))) continue
      findings.push({
        code: 'dlopen-note',
        severity: priority === 'suggested' ? 'note' : 'warning',
        message:
          `it opens ${sonames.join(' or ')} by name and does not find it ` +
          `(${priority}${feature === '' ? '' : `, for ${feature}`}${description === '' ? '' : `: ${description}`})`,
        remedy: pasteFor(sonames.slice(0, 1)),
        paths: [object.relative],
      })
    }
  }
  return findings
}

export function knownCases({ distributions, scan, venv }: Examination, python: PythonProcess): Finding[] {
  const findings: Finding[] = []
  for (const known of KNOWN_CASES) {
    const installed = known.distributions.map(name => distributions.get(name)).find(found => found !== undefined)
    if (installed === undefined || isSettled(known)) continue
    findings.push({
      code: 'run-time-library',
      severity: 'note',
      message: `${installed.displayName} ${wayOf(known)}`,
      remedy: known.remedy,
      paths: [relativeTo(venv.root, installed.path)],
    })
  }
  return findings

  function isSettled({ sonames, bundled }: KnownCase): boolean {
    if (bundled !== undefined && scan.objects.some(({ path }) => bundled.test(fileNameOf(path)))) return true
    return sonames.some(soname => isFoundByName(soname, python))
  }
}

function wayOf({ how, sonames }: KnownCase): string {
  const names = sonames.join(' or ')
  if (how === 'program') return 'runs programs that it downloads, which expect another system'
  if (how === 'find_library')
    return `looks for ${names} with ctypes.util.find_library, which does not search the Nix store`
  return `loads ${names} by name, and does not find it`
}

/** The size limit of a source file in bytes. A larger file is data. */
const LARGEST_SOURCE = 1 << 20

/** Python code that looks for libraries by find_library or ldconfig: the names, by file. */
export function findLibraryUsers(venv: Environment): Finding[] {
  const users: string[] = []
  const names = new Set<string>()
  const visit = (directory: string): void => {
    for (const { name, kind } of entriesIn(directory)) {
      const path = `${directory}/${name}`
      if (kind === 'directory' && !/^(?:__pycache__|tests?|.*\.dist-info)$/.test(name)) visit(path)
      else if (kind === 'file' && name.endsWith('.py')) look(path)
    }
  }
  const look = (path: string): void => {
    const source = readRegular(path, LARGEST_SOURCE)
    if (source === null) return
    if (!source.includes('find_library(') && !source.includes('sbin/ldconfig')) return
    const text = source.toString('latin1')
    const asked = [...text.matchAll(/\bfind_library\(\s*["']([\w.+-]+)["']/g)].map(([, name = '']) => name)
    if (asked.length === 0 && !source.includes('sbin/ldconfig')) return
    for (const name of asked) names.add(name)
    users.push(relativeTo(venv.root, path))
  }
  for (const folder of venv.sitePackages) visit(folder)
  if (users.length === 0) return []
  return [
    {
      code: 'find-library',
      severity: 'note',
      message:
        `${count(users.length, 'file')} ${agree(users.length, 'looks', 'look')} for libraries with ` +
        `ctypes.util.find_library or ldconfig, which do not search the Nix store${names.size === 0 ? '' : ` (${[...names].sort().join(', ')})`}`,
      remedy: 'if one of these fails, run wheelfix loader',
      paths: users,
    },
  ]
}

/** A command that builds the packages with these sonames. */
export function pasteFor(sonames: readonly string[]): string | null {
  const attributes = new Set(sonames.map(attributeFor).filter(name => name !== null))
  return attributes.size === 0 ? null : `wheelfix libs build ${[...attributes].sort().join(' ')}`
}
