// What imports: every extension module of every distribution, one process for a distribution, and a new one behind each
// module that takes its process down. The same run on the host, which has all libraries, is the measure.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { run, runWell } from '../support/run.ts'

/** Distribution → module → null, or what went wrong. */
export type Imports = ReadonlyMap<string, ReadonlyMap<string, string | null>>

const CHILD = `
import importlib, os, site, sys, warnings
warnings.simplefilter("ignore")
site.addsitedir(sys.argv[1])
sys.modules.update((name, None) for name in filter(None, sys.argv[2].split(",")))
out = os.fdopen(os.dup(1), "w")
for fd in 1, 2: os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
for name in sys.argv[3:]:
    print("begin", name, file=out, flush=True)
    try: importlib.import_module(name); fault = ""
    except BaseException as error:
        faults = []
        while error is not None and len(faults) < 6: faults.append(str(error)); error = error.__cause__ or error.__context__
        lines = [line for text in faults for line in text.splitlines()]
        # the loader's own words, however deeply they are wrapped, and what an absent module is told by
        telling = "shared object", "not found", "None in sys.modules"
        fault = next((line for line in lines if any(words in line for words in telling)), (lines + ["?"])[0])
    print("end", name, fault[:200], file=out, flush=True)
os._exit(0)
`

/** What the world's Python has been built without (`lackingModules`), so that no one imports it on the host. */
const ABSENT = ['tkinter', '_tkinter']

/** Which modules are imported, and by whom. */
interface Importing {
  /** Of distributions whose .dist-info is wanted; default: of all. */
  readonly wanted?: (folder: string) => boolean
  /** Modules that the interpreter is to have none of. */
  readonly absent?: readonly string[]
}

const QUIET = { MPLBACKEND: 'agg', QT_QPA_PLATFORM: 'offscreen', OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' }

/** Imports all extension modules of `sitePackages` with `python`. */
export function importAll(
  python: string,
  sitePackages: string,
  env: NodeJS.ProcessEnv,
  { wanted = () => true, absent = ABSENT }: Importing = {},
): Imports {
  const ask = 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))'
  const suffixes = [run(python, ['-S', '-c', ask], { env }).stdout.trim(), '.abi3.so']
  const found = new Map<string, ReadonlyMap<string, string | null>>()
  for (const folder of readdirSync(sitePackages).sort()) {
    if (!folder.endsWith('.dist-info') || !wanted(folder)) continue
    const modules = modulesOf(join(sitePackages, folder, 'RECORD'), suffixes)
    if (modules.length > 0) found.set(folder, importModules(python, sitePackages, modules, env, absent))
  }
  return found
}

/**
 * The top-level modules of the standard library that are there for the Python `reference` and not for `python`. Only what
 * has no file counts: one that is there and does not work is a fault.
 */
export function lackingModules(python: string, reference: string, env: NodeJS.ProcessEnv): string[] {
  const find = 'import sys; from importlib.machinery import PathFinder\n'
  const ask = `${find}for name in sorted(sys.stdlib_module_names): PathFinder.find_spec(name) and print(name)`
  const [has, all] = [python, reference].map(program => runWell(program, ['-S', '-E', '-c', ask], { env }).split('\n'))
  return (all ?? []).filter(name => !has?.includes(name))
}

/** The extension modules of a RECORD, and the packages that they are in: what a user imports. */
function modulesOf(record: string, suffixes: readonly string[]): string[] {
  const modules = readFileSync(record, 'utf8')
    .split('\n')
    .flatMap(line => {
      const path = line.slice(0, line.indexOf(','))
      const suffix = suffixes.find(ending => path.endsWith(ending))
      return suffix === undefined || path.startsWith('..') ? [] : [path.slice(0, -suffix.length).replaceAll('/', '.')]
    })
  const packages = new Set(modules.map(name => name.split('.')[0] ?? name))
  return [...new Set([...[...packages].sort(), ...modules.sort()])]
}

function importModules(
  python: string,
  sitePackages: string,
  modules: readonly string[],
  env: NodeJS.ProcessEnv,
  absent: readonly string[],
): Map<string, string | null> {
  const results = new Map<string, string | null>()
  for (let left = [...modules]; left.length > 0; left = modules.filter(name => !results.has(name))) {
    const args = ['-S', '-E', '-B', '-c', CHILD, sitePackages, absent.join(','), ...left]
    const { stdout, status } = run(python, args, { env: { ...env, ...QUIET } })
    let begun = left[0]
    for (const line of stdout.split('\n')) {
      const [word, name = '', ...fault] = line.split(' ')
      if (word === 'begin') begun = name
      if (word === 'end') results.set(name, fault.join(' ') || null)
      if (word === 'end') begun = undefined
    }
    const crashed = begun ?? left.find(name => !results.has(name))
    if (crashed !== undefined) results.set(crashed, `the process ended with ${status}`)
  }
  return results
}

/** Of what imports in `reference`, what does not in `imports`, and how many there are. */
export function comparedWith(reference: Imports, imports: Imports): { modules: number; failing: string[] } {
  let modules = 0
  const failing: string[] = []
  for (const [distribution, results] of reference) {
    for (const [name, fault] of results) {
      if (fault !== null) continue
      modules++
      const here = imports.get(distribution)?.get(name)
      if (here !== null) failing.push(`${distribution} ${name}: ${here ?? 'absent'}`)
    }
  }
  return { modules, failing }
}

/** What one import did. */
export interface Imported {
  /** What went wrong; null where it worked. */
  readonly error: string | null
  /** The extension module's own file; null for a package. */
  readonly file: string | null
  /** The files below site-packages that are mapped afterwards. */
  readonly mapped: readonly string[]
}

const EACH = `
import importlib, os, signal, site, sys, warnings
warnings.simplefilter("ignore")
site.addsitedir(sys.argv[1])
sys.modules.update((name, None) for name in filter(None, sys.argv[2].split(",")))
out = os.fdopen(os.dup(1), "w")
for fd in 1, 2: os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
prefix = os.path.join(sys.argv[1], "")
for name in sys.argv[3:]:
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        fault = ""
        try: importlib.import_module(name)
        except BaseException as error: fault = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
        mapped = {line.rstrip("\\n").split(None, 5)[5] for line in open("/proc/self/maps") if prefix in line}
        print("\\t".join([name, fault, *sorted(mapped)]), file=out, flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status: print(name, "the process ended with %d" % status, sep="\\t", file=out, flush=True)
`

/** Imports each extension module, and each package of one, in a process of its own. */
export function importEach(python: string, sitePackages: string, env: NodeJS.ProcessEnv): Map<string, Imported> {
  const ask = 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))'
  const suffixes = [run(python, ['-S', '-c', ask], { env }).stdout.trim(), '.abi3.so']
  const imported = new Map<string, Imported>()
  for (const folder of readdirSync(sitePackages).sort()) {
    if (!folder.endsWith('.dist-info')) continue
    const modules = modulesOf(join(sitePackages, folder, 'RECORD'), suffixes)
    if (modules.length === 0) continue
    const { stdout } = run(python, ['-S', '-E', '-B', '-c', EACH, sitePackages, ABSENT.join(','), ...modules], {
      env: { ...env, ...QUIET },
    })
    for (const line of stdout.split('\n')) {
      const [name = '', error = '', ...mapped] = line.split('\t')
      const paths = suffixes.map(suffix => join(sitePackages, name.replaceAll('.', '/') + suffix))
      const file = paths.find(path => existsSync(path)) ?? null
      if (name !== '') imported.set(name, { error: error === '' ? null : error, file, mapped })
    }
  }
  return imported
}
