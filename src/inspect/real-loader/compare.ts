// Compares wheelfix's resolution with the real loader's answers, for the objects of a venv on disk. If they differ,
// wheelfix is wrong.
import { spawnSync } from 'node:child_process'
import { fileNameOf, realPathOrNull } from '../../io/path.ts'
import { isOfThisMachine } from '../../ldso/runnable.ts'
import type { Process } from '../../ldso/search.ts'
import type { Finding } from '../findings.ts'
import { type Asked, askPython, plainEnvironment, type Verdict } from './ask-python.ts'
import { isAboutSearch, type LoadRefusal, refusalFindings } from './refusals.ts'
import { load, type SimulationInput } from '../../resolve/simulate.ts'
import type { Examination } from '../../environment/examine.ts'

interface LoaderComparison {
  readonly asked: number
  readonly findings: readonly Finding[]
}

/** Asks the venv's Python about every library and module, and the loader about every program. */
export function compareWithLoader(
  { venv, scan, python, plan, faults }: Examination,
  input: SimulationInput,
  env: NodeJS.ProcessEnv,
): LoaderComparison {
  const loaded = scan.objects.flatMap(object => {
    const process = load(object, input)
    return process === null ? [] : [{ object, process }]
  })
  const broken = scan.unreadable.filter(({ broken }) => broken)
  const libraries = loaded.filter(({ object }) => object.kind !== 'executable')
  if (!isOfThisMachine(python.interpreter.object)) {
    const finding: Finding = {
      code: 'other-machine',
      severity: 'note',
      message: 'the Python of this environment is for another machine, so its loader was not asked',
      remedy: null,
      paths: [python.interpreter.program],
    }
    return { asked: 0, findings: [finding] }
  }
  const asking: Asked[] = [
    ...libraries.map(({ object }) => ({ path: object.path, isModule: object.kind === 'extension' })),
    ...broken.map(({ path }) => ({ path, isModule: false })),
  ]
  const verdicts =
    venv.python === null
      ? listWithLoader(python.libc.startable, asking, env)
      : askPython(python.interpreter.executable, asking, env)
  if (typeof verdicts === 'string') {
    const finding: Finding = {
      code: 'python-broken',
      severity: 'error',
      message: `${python.interpreter.executable} does not run: ${verdicts}`,
      remedy: null,
      paths: [python.interpreter.executable],
    }
    return { asked: 0, findings: [finding] }
  }
  const remedy = faults.length > 0 ? AFTER_THE_LOADER : REPORT
  const findings: Finding[] = broken
    .filter(({ path }) => verdicts.get(path)?.error === null)
    .map(({ relative, reason }) =>
      differs(`the loader loads it, but wheelfix cannot read it: ${reason}`, relative, REPORT),
    )
  const refusals: LoadRefusal[] = []
  const counting = new Set(plan.objects.filter(({ counts }) => counts).map(({ identity }) => identity))
  let asked = 0
  for (const { object, process } of loaded) {
    const verdict =
      object.kind === 'executable'
        ? askProgram(object.path, object.current.ptInterp, python.libc.kind, env)
        : (verdicts.get(object.path) ?? null)
    if (verdict === null) continue
    asked++
    for (const difference of loaderDifferences(process, verdict))
      findings.push(differs(difference, object.relative, remedy))
    const { error } = verdict
    if (error !== null && !isAboutSearch(error)) {
      refusals.push({ object, error, counts: counting.has(object.identity) })
    }
  }
  const defining = scan.objects.map(({ path }) => path)
  return { asked, findings: [...findings, ...refusalFindings(refusals, defining)] }
}

const REPORT =
  'this is a bug in wheelfix: please report this line, the output of "wheelfix why" for the file and the name of its package'
/** The remedy of a difference that a fault of the private loader explains. */
export const AFTER_THE_LOADER =
  'the private loader has a fault (loader-fault): repair it, then run wheelfix doctor again'

function differs(message: string, path: string, remedy: string): Finding {
  return {
    code: 'loader-differs',
    severity: 'error',
    message,
    remedy,
    paths: [path],
  }
}

/**
 * When there is no Python, the loader itself lists what each library would load. Empty when the loader must not be started.
 */
function listWithLoader(
  loader: string | null,
  objects: readonly Asked[],
  env: NodeJS.ProcessEnv,
): Map<string, Verdict> {
  const verdicts = new Map<string, Verdict>()
  for (const { path } of loader === null ? [] : objects) {
    const { stdout, stderr, error } = spawnSync(loader ?? '', ['--list', path], {
      env: plainEnvironment(env),
      encoding: 'utf8',
      timeout: 60_000,
      killSignal: 'SIGKILL',
    })
    if (error === undefined) verdicts.set(path, verdictOf(path, stdout, stderr))
  }
  return verdicts
}

/**
 * Lets the loader list what a program would load, and does not start the program. glibc's loader does this if an
 * environment variable asks for it. musl's loader ignores that variable. It makes the list if it is run as a program
 * itself.
 * @returns null when the loader cannot be asked
 */
export function askProgram(
  path: string,
  interpreter: string | null,
  libc: 'glibc' | 'musl',
  env: NodeJS.ProcessEnv,
): Verdict | null {
  const plain = plainEnvironment(env)
  const isGlibc = libc === 'glibc'
  if (!isGlibc && interpreter === null) return null
  const { stdout, stderr, error } = spawnSync(isGlibc ? path : (interpreter ?? ''), isGlibc ? [] : ['--list', path], {
    env: isGlibc ? { ...plain, LD_TRACE_LOADED_OBJECTS: '1' } : plain,
    encoding: 'utf8',
    timeout: 60_000,
    killSignal: 'SIGKILL',
  })
  return error === undefined ? verdictOf(path, stdout, stderr) : null
}

/** Reads the loader's list of a process. */
function verdictOf(path: string, stdout: string, stderr: string): Verdict {
  const [, lost] = /^\t(\S+) => not found$/m.exec(stdout) ?? []
  if (lost !== undefined) return { error: `${lost}: cannot open shared object file`, files: [] }
  if (stderr !== '') return { error: stderr.trim(), files: [] }
  const files = [...stdout.matchAll(/^\t(?:\S+ => )?(\/\S*) \(0x[0-9a-f]+\)$/gm)].map(([, file = '']) => file)
  return { error: null, files: [path, ...files].flatMap(file => realPathOrNull(file) ?? []) }
}

/** The differences between the two, in words. */
export function loaderDifferences(process: Process, { error, files }: Verdict): string[] {
  const needed = process.maps.flatMap(map => map.needed)
  const lost = new Set(needed.filter(({ provider }) => provider === null).map(({ soname }) => soname))
  if (error !== null) {
    const [, soname] =
      /^(?:Error loading shared library )?([^\s:]+): (?:cannot open shared|No such file)/.exec(error) ?? []
    if (soname !== undefined) {
      const known = lost.has(soname) || soname.startsWith('/')
      return known ? [] : [`the loader does not find ${soname}, but wheelfix does`]
    }
    const [, version] = /version `([^']+)' not found/.exec(error) ?? []
    if (version !== undefined && !needed.some(({ lackingVersions }) => lackingVersions.includes(version))) {
      return [`the loader does not find version ${version}, but wheelfix does (${error})`]
    }
    // an error about a symbol, room for TLS or a constructor says nothing about where libraries are
    return []
  }
  const ours = new Set(process.maps.flatMap(({ path }) => realPathOrNull(path) ?? []))
  const theirs = new Set(files)
  // a constructor opened any file that no DT_NEEDED asks for, and the names that wheelfix does not find were reported
  // already
  const names = new Set(needed.map(({ soname }) => soname).filter(soname => !lost.has(soname)))
  return [
    ...[...lost].map(soname => `wheelfix does not find ${soname}, but the loader does`),
    ...[...ours].filter(file => !theirs.has(file)).map(file => `wheelfix loads ${file}, but the loader does not`),
    ...[...theirs]
      .filter(file => !ours.has(file) && names.has(fileNameOf(file)))
      .map(file => `the loader loads ${file}, but wheelfix does not`),
  ]
}
