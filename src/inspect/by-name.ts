// Findings about libraries that are opened by name at run time. No DT_NEEDED shows these libraries.
import { attributeFor } from '../nix/hints.ts'
import { isWithoutNix, systemRemedy } from '../nix/system-packages.ts'
import { relativeTo } from '../io/path.ts'
import { KNOWN_CASES, type KnownCase } from '../resolve/known-cases.ts'
import { isFoundByName, type PythonProcess } from '../resolve/python-process.ts'
import { findsByName, type SimulationInput } from '../resolve/simulate.ts'
import { type Examination } from '../environment/examine.ts'
import type { Finding } from './findings.ts'

/** Libraries that objects declare to open by name and do not find. */
export function dlopenNotes({ scan }: Examination, input: SimulationInput, env: NodeJS.ProcessEnv): Finding[] {
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
        remedy: pasteFor(sonames.slice(0, 1), env),
        paths: [object.relative],
      })
    }
  }
  return findings
}

/** Libraries that a known package opens by a computed name, and does not find (resolve/known-cases.ts). */
export function knownCases(
  { distributions, venv }: Examination,
  python: PythonProcess,
  env: NodeJS.ProcessEnv,
): Finding[] {
  const findings: Finding[] = []
  const withoutNix = isWithoutNix(env)
  for (const known of KNOWN_CASES) {
    const installed = known.distributions.map(name => distributions.get(name)).find(found => found !== undefined)
    if (installed === undefined || known.sonames.some(soname => isFoundByName(soname, python))) continue
    // the system that those programs expect is here
    if (withoutNix && known.how === 'program') continue
    findings.push({
      code: 'run-time-library',
      severity: 'note',
      message: `${installed.name} ${wayOf(known)}`,
      // the system's own loader finds its packages by name
      remedy: withoutNix ? systemRemedy(known.sonames.slice(0, 1)) : known.remedy,
      paths: [relativeTo(venv.root, installed.path)],
    })
  }
  return findings
}

function wayOf({ how, sonames }: KnownCase): string {
  const names = sonames.join(' or ')
  if (how === 'program') return 'runs programs that it downloads, which expect another system'
  if (how === 'find_library')
    return `looks for ${names} with ctypes.util.find_library, which does not search the Nix store`
  return `loads ${names} by name, and does not find it`
}

/**
 * A command that adds the packages with these sonames: of nixpkgs, or of the system where there is no Nix. null when no
 * package is known.
 * @param target the words that select the environment in a command of wheelfix: empty, or a space and its folder
 */
export function pasteFor(sonames: readonly string[], env: NodeJS.ProcessEnv, target = ''): string | null {
  const known = sonames.filter(soname => attributeFor(soname) !== null)
  if (known.length === 0) return null
  if (isWithoutNix(env)) return systemRemedy(known)
  const attributes = new Set(known.flatMap(soname => attributeFor(soname) ?? []))
  return `wheelfix libs build ${[...attributes].sort().join(' ')}${target}`
}
