// Finds what may be wrong with a venv. It examines everything and asks the venv's own Python. It changes nothing.
import { existsSync } from 'node:fs'
import { searchPathEntries } from '../elf/edit/edit.ts'
import type { ElfObject } from '../elf/types.ts'
import { WheelfixError } from '../io/error.ts'
import { agree, count, listed, shellWord } from '../io/words.ts'
import { fsPath, isInside, relativeTo } from '../io/path.ts'
import { isOfThisMachine } from '../ldso/runnable.ts'
import { checkRoots } from '../nix/roots.ts'
import { storeDirectory } from '../nix/store.ts'
import { moduleName } from '../python/belonging.ts'
import type { Environment } from '../python/environment.ts'
import { compareWithLoader } from './real-loader/compare.ts'
import { absentSonames, missingLibraries } from '../resolve/problems/missing.ts'
import { importModules } from './real-loader/ask-python.ts'
import { readPins } from '../state/pins.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import { simulationInput } from '../resolve/resolution.ts'
import { type SimulationInput } from '../resolve/simulate.ts'
import { type Examination, examine } from '../environment/examine.ts'
import { lookingOnly, type LookOptions } from '../environment/run-options.ts'
import { neededStorePaths } from '../environment/venv-report.ts'
import type { Finding } from './findings.ts'
import { importedFolders } from './imported-folders.ts'
import { heldBack, pending, interruptedRun } from './pending.ts'
import { foreignLibraries, foreignPrograms, scriptLaunchers } from './unstartable.ts'
import { variableFindings } from './variables/advice.ts'
import { opensByName } from './opens/opens.ts'
import { dlopenNotes, knownCases, pasteFor } from './by-name.ts'

export interface DoctorReport {
  readonly venv: Environment
  readonly findings: readonly Finding[]
  /** How many objects the real loader was asked about. */
  readonly asked: number
  /** How many modules were imported; null when imports were not requested. */
  readonly imported: number | null
}

export interface DoctorOptions extends LookOptions {
  /** Also import each extension module. */
  readonly imports: boolean
}

/** A difference from the real loader must be found twice in a row, in at most this many examinations. */
const EXAMINATIONS = 4

/**
 * Examines the venv and asks its Python. Another program may change the venv between the two. So a difference from the real
 * loader counts only if a second examination finds the same.
 * @throws WheelfixError (BUSY) if each examination finds other differences
 */
export function diagnose(venv: Environment, options: DoctorOptions): DoctorReport {
  let before = ''
  for (let time = 0; time < EXAMINATIONS; time++) {
    const report = diagnoseOnce(venv, options)
    const differences = report.findings.filter(({ code }) => code === 'loader-differs')
    const now = JSON.stringify(differences)
    if (differences.length === 0 || now === before) return report
    before = now
  }
  throw new WheelfixError(
    'BUSY',
    'another program is changing this environment: run doctor again when it has ended',
    venv.root,
  )
}

function diagnoseOnce(venv: Environment, options: DoctorOptions): DoctorReport {
  let examination: Examination
  try {
    examination = examine(venv, lookingOnly(options))
  } catch (error) {
    if (!(error instanceof WheelfixError) || error.code === 'IO') throw error
    // a Python that cannot start is a finding, not an error: doctor must report it
    const finding: Finding = {
      code: 'python-broken',
      severity: 'error',
      message: error.message,
      remedy: null,
      paths: error.path === undefined ? [] : [error.path],
    }
    return { venv, findings: [finding, ...deadPaths(venv, [], options)], asked: 0, imported: null }
  }
  const states = new Map(examination.scan.objects.map(object => [object.identity, object.current]))
  const now = stateOnDisk(examination, states)
  const comparison = compareWithLoader(examination, now, options.env)
  const canRun = isOfThisMachine(examination.interpreter.object)
  const imports = options.imports && canRun ? failingImports(examination, options.env) : null
  return {
    venv,
    findings: [
      ...comparison.findings,
      ...interruptedRun(examination),
      ...pending(examination),
      ...heldBack(examination),
      ...(canRun ? importedFolders(examination, options.env) : []),
      ...zeroedHeaders(examination),
      ...missing(examination, options.env),
      ...qtPlatforms(examination, options.env),
      ...unreadable(examination),
      ...examination.faults.map((message): Finding => {
        return { code: 'loader-fault', severity: 'error', message, remedy: 'wheelfix loader', paths: [] }
      }),
      ...libraryPath(options.env),
      ...deadPaths(venv, examination.scan.objects, options),
      ...roots(examination, options.env),
      ...hardLinks(examination),
      ...[...examination.plan.warnings, ...searchHereSentences(examination)].map((message): Finding => {
        return { code: 'plan-warning', severity: 'note', message, remedy: null, paths: [] }
      }),
      ...untrusted(examination),
      ...dlopenNotes(examination, now, options.env),
      ...knownCases(examination, now.python, options.env),
      ...opensByName(examination, now, options.env),
      ...variableFindings(examination, { env: options.env }),
      ...foreignLibraries(examination),
      ...foreignPrograms(examination),
      ...scriptLaunchers(venv),
      ...(imports?.findings ?? []),
    ],
    asked: comparison.asked,
    imported: imports?.count ?? null,
  }
}

/** The venv as it is on disk now, not as it will be after the plan. */
function stateOnDisk(examination: Examination, states: ReadonlyMap<string, ElfObject>): SimulationInput {
  const { loader, loaderPending, resolution } = examination
  // a private loader that is not made yet serves nothing
  const python = loader !== null && !loaderPending ? resolution.input.python : examination.python
  const input = simulationInput({ ...resolution.input, python }, states)
  return {
    ...input,
    programLoader: (_, { ptInterp: interpreter }) =>
      interpreter === python.interpreter.interp ? input.python.loader : null,
  }
}

/** Objects that lose their program headers when the loader maps them. Earlier versions of wheelfix made some such grafts. */
function zeroedHeaders({ venv, scan }: Examination): Finding[] {
  const zeroed = scan.objects.filter(({ losesHeaders }) => losesHeaders)
  if (zeroed.length === 0) return []
  const ours = zeroed.some(({ undo }) => undo !== null)
  return [
    {
      code: 'zeroed-headers',
      severity: 'error',
      message: `no C++ exception can cross ${count(zeroed.length, 'object')}: the loader zeroes the program headers`,
      remedy: ours ? `to repair them: wheelfix venv ${venv.root}` : 'reinstall the package',
      paths: zeroed.map(({ relative }) => relative),
    },
  ]
}

function missing({ plan, ignored, python, distributions }: Examination, env: NodeJS.ProcessEnv): Finding[] {
  const libraries = missingLibraries(plan, ignored, python.libc, distributions)
  const findings = libraries
    .filter(({ optional }) => !optional)
    .map(({ soname, neededBy, through, lacks, hint, attribute }): Finding => {
      return {
        code: 'library-missing',
        severity: 'error',
        message: `${soname} ${lacks === null ? 'is missing' : `does not define ${lacks}`}${through.length === 0 ? '' : ` (needed by ${through.join(', ')})`}`,
        remedy: attribute === null ? hint : pasteFor([soname], env),
        paths: neededBy,
      }
    })
  const optional = libraries.filter(({ optional }) => optional)
  if (optional.length > 0) {
    const sonames = optional.map(({ soname }) => soname)
    const names = optional.map(({ soname, lacks }) => (lacks === null ? soname : `${lacks} of ${soname}`))
    findings.push({
      code: 'library-missing',
      severity: 'note',
      message: `only optional plugins need ${listed(names)}, which ${agree(sonames.length, 'is', 'are')} missing`,
      remedy:
        pasteFor(
          optional.filter(({ lacks }) => lacks === null).map(({ soname }) => soname),
          env,
        ) ??
        optional.find(({ lacks }) => lacks !== null)?.hint ??
        null,
      paths: [...new Set(optional.flatMap(({ neededBy }) => neededBy))],
    })
  }
  return findings
}

/** Qt's platform plugins. They fail first, and Qt hides why (“could not load … even though it was found”). */
function qtPlatforms({ plan }: Examination, env: NodeJS.ProcessEnv): Finding[] {
  return plan.objects
    .filter(({ path, missing }) => /\/platforms\/libq(?:xcb|wayland\w*)\.so$/.test(path) && missing.length > 0)
    .map((object): Finding => {
      const { path, relative, missing } = object
      return {
        code: 'qt-platform',
        severity: 'warning',
        message:
          `Qt cannot open a window with ${path.endsWith('libqxcb.so') ? 'X11' : 'Wayland'}: its platform plugin ` +
          `lacks ${missing.join(', ')}`,
        remedy: pasteFor(absentSonames(object), env),
        paths: [relative],
      }
    })
}

function unreadable({ scan }: Examination): Finding[] {
  return scan.unreadable.map(({ relative, reason, broken }): Finding => {
    const message = broken ? `no loader would load it: ${reason}` : reason
    return { code: 'unreadable', severity: broken ? 'note' : 'warning', message, remedy: null, paths: [relative] }
  })
}

function libraryPath(env: NodeJS.ProcessEnv): Finding[] {
  const value = env['LD_LIBRARY_PATH'] ?? ''
  if (value === '') return []
  return [
    {
      code: 'ld-library-path',
      severity: 'warning',
      message: `LD_LIBRARY_PATH is set (${value}): every program that you start gets these libraries`,
      remedy: 'wheelfix venv --libs "$LD_LIBRARY_PATH"; unset LD_LIBRARY_PATH',
      paths: [],
    },
  ]
}

/**
 * Store paths that no longer exist, in search paths, interpreters and pinned libraries. Those that a file brought along from
 * where it was built are notes: they do no harm, or something else is missing because of them.
 */
function deadPaths(venv: Environment, objects: readonly ScannedObject[], { env }: DoctorOptions): Finding[] {
  const store = storeDirectory(env)
  const dead = new Map<string, string[]>()
  const foreign = new Map<string, string[]>()
  const alive = new Map<string, boolean>()
  const look = (path: string, user: string, found = dead) => {
    if (!isInside(path, store)) return
    let there = alive.get(path)
    if (there === undefined) {
      there = existsSync(fsPath(path))
      alive.set(path, there)
    }
    if (!there) found.set(path, [...(found.get(path) ?? []), user])
  }
  for (const { current, original, relative } of objects) {
    const own = new Set([...searchPathEntries(original), original.ptInterp])
    for (const path of [...searchPathEntries(current), current.ptInterp]) {
      if (path !== null) look(path, relative, own.has(path) ? foreign : dead)
    }
  }
  for (const { path } of readPins(venv).values()) look(path, relativeTo(venv.root, `${venv.stateFolder}/libs.json`))
  const findings = (found: ReadonlyMap<string, string[]>, rest: Pick<Finding, 'severity' | 'remedy'>, where: string) =>
    [...found].map(([path, users]): Finding => {
      const message = `${path} is gone from the store${where}`
      return { code: 'dead-store-path', message, paths: [...new Set(users)], ...rest }
    })
  const remedy = `to choose from the libraries that exist now: wheelfix venv --update ${venv.root}`
  return [
    ...findings(dead, { severity: 'error', remedy }, ''),
    ...findings(foreign, { severity: 'note', remedy: null }, '; the file named it before wheelfix changed it'),
  ]
}

function roots(examination: Examination, env: NodeJS.ProcessEnv): Finding[] {
  const { venv } = examination
  if (!existsSync(fsPath(venv.stateFolder))) return []
  const report = checkRoots(venv.stateFolder, neededStorePaths(examination), env)
  const open = report.roots.filter(({ state }) => state !== 'rooted')
  if (!report.hasNix || open.length === 0) return []
  return [
    {
      code: 'gc-roots',
      severity: 'warning',
      message:
        `${open.length} of ${count(report.roots.length, 'store path')} that this environment needs would be removed by ` +
        'nix-collect-garbage',
      remedy: `wheelfix venv ${venv.root}`,
      paths: open.map(({ storePath }) => storePath),
    },
  ]
}

function hardLinks({ venv, scan }: Examination): Finding[] {
  const linked = scan.objects.filter(({ status }) => status.nlink > 1)
  const patched = linked.filter(({ undo }) => undo !== null)
  const findings: Finding[] = []
  if (patched.length > 0) {
    findings.push({
      code: 'hard-links',
      severity: 'warning',
      message:
        `${count(patched.length, 'patched object')} ${agree(patched.length, 'is a hard link', 'are hard links')}: ` +
        `the cache of the installer may share ${agree(patched.length, 'its', 'their')} patched bytes`,
      remedy: 'uv cache clean, and install the packages again',
      paths: patched.map(({ relative }) => relative),
    })
  }
  const plain = linked.length - patched.length
  if (plain > 0) {
    findings.push({
      code: 'hard-links',
      severity: 'note',
      message:
        `${count(plain, 'object')} ${agree(plain, 'shares its', 'share their')} bytes with a cache of the installer (hard links). wheelfix copies a file ` +
        'before it patches it; a tool that edits in place (patchelf, strip) would change the cache, too',
      remedy: null,
      paths: linked.filter(({ undo }) => undo === null).map(({ relative }) => relativeTo(venv.root, relative)),
    })
  }
  return findings
}

/** Import errors that a library causes. A missing module or display is not wheelfix's concern. */
const OF_THE_LOADER =
  /cannot open shared object file|undefined symbol|version `|symbol not found|Error loading shared library|static TLS/

function failingImports({ scan, interpreter }: Examination, env: NodeJS.ProcessEnv) {
  const modules = scan.objects
    .filter(({ kind }) => kind === 'extension')
    .flatMap(({ path, relative }) => {
      const name = moduleName(path, scan.belonging.importRoots, interpreter.extensionSuffixes)
      return name === null ? [] : [{ name, relative }]
    })
  const errors = importModules(
    interpreter.executable,
    modules.map(({ name }) => name),
    env,
  )
  const findings = modules.flatMap(({ name, relative }): Finding[] => {
    const error = errors.get(name)
    if (error === undefined) return []
    const severity = OF_THE_LOADER.test(error) ? 'error' : 'note'
    return [{ code: 'import-fails', severity, message: `import ${name}: ${error}`, remedy: null, paths: [relative] }]
  })
  return { count: modules.length, findings }
}

/** The packages of the store that serve nothing, because nobody whom the user trusts put them there. */
function untrusted({ venv, sources }: Examination): Finding[] {
  const { problem, passedOver } = sources.trust
  const silence = problem()
  const paths = silence === null ? passedOver().toSorted() : []
  if (silence === null && paths.length === 0) return []
  const was = agree(paths.length, 'was', 'were')
  const them = agree(paths.length, 'it', 'them')
  return [
    {
      code: 'untrusted-package',
      severity: silence === null ? 'note' : 'warning',
      message:
        silence ??
        `${count(paths.length, 'package')} of the store ${was} skipped, because nothing shows who put ${them} there`,
      remedy: silence === null ? `to use one of them anyway: wheelfix venv --trust PATH ${shellWord(venv.root)}` : null,
      paths,
    },
  ]
}

/** Sentences about objects that make the loader search the current directory. */
function searchHereSentences({ plan }: Examination): string[] {
  return plan.conflicts.filter(({ kind }) => kind === 'current-directory').map(({ message }) => message)
}
