// Asks the venv's own Python. It loads each object in a fresh child process. The kernel's map of that process and the
// loader's messages show the result. This file does not know how wheelfix itself resolves.
import { spawnSync } from 'node:child_process'
import { decodeBytes, encodeText } from '../../elf/text.ts'

/** The result of loading one object alone. */
export interface Verdict {
  /** The loader's message; null when the object was loaded. */
  readonly error: string | null
  /** The real paths of the files that were mapped for the object, without those of the interpreter. */
  readonly files: readonly string[]
}

/** An object to load. */
export interface Asked {
  readonly path: string
  /** Python imports it. An import binds every symbol at once (RTLD_NOW, the default of `sys.getdlopenflags`). */
  readonly isModule: boolean
}

/** The status of a child that has told its result. A constructor that ends the process has another one, also with 0. */
const TOLD = 93

/**
 * Results go through a descriptor of their own, because constructors and modules print, read and close what they like. The
 * last line that a process printed before it died says why: the loader's assertions and C++ exceptions are printed there.
 */
const CHILD = `
out, void = os.dup(1), os.open(os.devnull, os.O_RDWR)
def tell(*words):
    line = b"wheelfix " + " ".join(os.fsencode(word).hex() or "-" for word in words).encode() + b"\\n"
    while line: line = line[os.write(out, line):]
def messages():
    return os.memfd_create("messages") if hasattr(os, "memfd_create") else os.dup(void)
def last(printed):
    size = os.lseek(printed, 0, os.SEEK_END)
    os.lseek(printed, max(0, size - 4096), os.SEEK_SET)
    lines = os.fsdecode(os.read(printed, 4096)).split("\\n")
    return ([""] + [line.strip() for line in lines if line.strip()])[-1][:300]
def ended(status, printed):
    signal, line = status & 127, last(printed)
    how = "signal %d" % signal if signal else "status %d" % (status >> 8)
    return "the process ended with " + how + (": " + line if line else "")
child, hung = 0, False
def stop(*_):
    global hung
    hung = True
    try: os.kill(child, signal.SIGKILL)
    except OSError: pass
def each(items, limits, action):
    global child, hung
    limit, after, total = limits
    left = total
    signal.signal(signal.SIGALRM, stop)
    for item in items:
        if left < 1:
            tell(item, "it was not loaded: others hung for %d seconds" % total)
            continue
        printed, hung, seconds = messages(), False, min(limit, left)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            for stream, to in enumerate((void, void, printed)): os.dup2(to, stream)
            action(item)
            os._exit(${TOLD})
        signal.alarm(seconds)
        status = os.waitpid(child, 0)[1]
        signal.alarm(0)
        if hung: limit, left = min(limit, after), left - seconds
        if hung: tell(item, "it did not end within %d seconds" % seconds)
        elif status != ${TOLD << 8}: tell(item, ended(status, printed))
        os.close(printed)
`

// A fork of a Python that has loaded nothing behaves like a fresh process, and costs a tenth of one. create_dynamic opens
// the file as an import does. It fails only later, because there is no init function.
const SCRIPT = `
import _imp, os, signal, sys
${CHILD}
class Spec:
    def __init__(self, path): self.name, self.origin = "wheelfix_has_no_such_module", path
def maps():
    with open("/proc/self/maps", "rb") as lines:
        return dict.fromkeys(line.rstrip(b"\\n").split(None, 5)[5] for line in lines if b" /" in line)
before = maps()
limits, modules, libraries = sys.stdin.buffer.read().split(b"\\n\\0\\n")
limits = [int(limit) for limit in limits.split()]
def load(path):
    error = ""
    try: _imp.create_dynamic(Spec(os.fsdecode(path)))
    except BaseException as problem:
        text = str(problem)
        if "PyInit_wheelfix" not in text: error = text or "failed"
    files = [] if error else [name for name in maps() if name not in before]
    tell(path, error, *files)
for flag, paths in (os.RTLD_NOW, modules), (os.RTLD_LAZY, libraries):
    sys.setdlopenflags(flag)
    if paths: each(paths.split(b"\\0"), limits, load)
`

/** A folder without libraries: an empty or relative entry of a search path means the current folder. */
const NO_LIBRARIES = '/proc'

/** The environment for child processes, without variables that change what the loader or Python does. */
export function plainEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(?:LD_|PYTHON|GLIBC_TUNABLES$)/.test(name)))
}

/** Time limits in seconds. */
interface Limits {
  /** For each object or module. */
  readonly each: number
  /** For each of the others, once one took longer. */
  readonly afterHang: number
  /** For those that hang, all of one kind together. What ends by itself takes its time: the machine may be busy. */
  readonly all: number
}

const LOADING: Limits = { each: 60, afterHang: 10, all: 120 }
const IMPORTING: Limits = { each: 120, afterHang: 20, all: 240 }

/** The limits as the scripts read them. */
function limitText({ each, afterHang, all }: Limits): string {
  return [each, afterHang, all].join(' ')
}

/** The limit for a Python that does not start, or cannot end a process (one that waits for a dead file server). */
function limitFor({ each, afterHang, all }: Limits, items: number) {
  return { timeout: (2 * all + each + items * afterHang) * 1000, killSignal: 'SIGKILL' } as const
}

/**
 * Loads each of these objects (absolute paths) with the given Python. That Python writes no bytecode anywhere, because an
 * examination must change nothing.
 * @returns the results by path, or the message of a Python that does not start
 */
export function askPython(
  python: string,
  objects: readonly Asked[],
  env: NodeJS.ProcessEnv,
  limits = LOADING,
): ReadonlyMap<string, Verdict> | string {
  const paths = (isModule: boolean): string =>
    objects.flatMap(object => (object.isModule === isModule ? [object.path] : [])).join('\0')
  const { status, stdout, stderr, error } = spawnSync(python, ['-I', '-S', '-B', '-c', SCRIPT], {
    cwd: NO_LIBRARIES,
    env: plainEnvironment(env),
    input: encodeText([limitText(limits), paths(true), paths(false)].join('\n\0\n')),
    maxBuffer: 1 << 28,
    ...limitFor(limits, objects.length),
    encoding: 'utf8',
  })
  if (error !== undefined) return error.message
  if (status !== 0) return reasonIn(stderr) ?? `it ended with status ${status} and printed nothing`
  const verdicts = new Map<string, Verdict>()
  for (const [path = '', said = '', ...files] of toldIn(stdout)) {
    verdicts.set(path, { error: said === '' ? null : said, files })
  }
  return verdicts
}

/** The words of each result that a script told. */
function toldIn(stdout: string): string[][] {
  return [...stdout.matchAll(/^wheelfix ([0-9a-f -]+)$/gm)].map(([, words = '']) =>
    words.split(' ').map(word => (word === '-' ? '' : decodeBytes(Buffer.from(word, 'hex')))),
  )
}

/**
 * The line that says why a Python did not start: the last line with an error (`Fatal Python error: …`,
 * `ModuleNotFoundError: …`). CPython prints the threads after it (`Current thread …`, `<no Python frame>`).
 */
function reasonIn(stderr: string): string | undefined {
  const lines = stderr.split('\n').filter(line => line.trim() !== '')
  return lines.findLast(line => /^[\w.]*(?:Error|Exception)\b|^Fatal Python error/.test(line)) ?? lines.at(-1)?.trim()
}

// The current folder is not where these modules come from: "python -c" would take them from there first.
const IMPORT_SCRIPT = `
import sys
sys.path[:] = [folder for folder in sys.path if folder]
import importlib, os, signal
${CHILD}
def load(name):
    try: importlib.import_module(name)
    except BaseException as problem: tell(name, (type(problem).__name__ + ": " + str(problem)).split("\\n")[0][:500])
limits, names = sys.stdin.read().split("\\n\\0\\n")
each(names.split("\\0"), [int(limit) for limit in limits.split()], load)
`

// What every Python of this installation has on sys.path is known without a question.
const FOLDERS_SCRIPT = `
import os, site, sys, sysconfig
own = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
own += [os.path.join(path, "lib-dynload") for path in own]
own += site.getsitepackages([sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix])
for path in dict.fromkeys(sys.path):
    if path and path not in own: os.write(1, b"wheelfix " + os.fsencode(path).hex().encode() + b"\\n")
`

/**
 * The folders on sys.path of the environment's Python, besides its standard library and its site-packages; empty for a
 * Python that does not start. The code of .pth files and of sitecustomize runs, as at every start of that Python.
 */
export function importFolders(python: string, env: NodeJS.ProcessEnv): string[] {
  const { stdout, error } = spawnSync(python, ['-I', '-B', '-c', FOLDERS_SCRIPT], {
    cwd: NO_LIBRARIES,
    env: plainEnvironment(env),
    timeout: IMPORTING.each * 1000,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
  })
  return error === undefined ? toldIn(stdout).flatMap(([folder]) => folder ?? []) : []
}

/** Imports each module in a fresh child process. @returns the errors of the modules that fail, by name */
export function importModules(python: string, names: readonly string[], env: NodeJS.ProcessEnv): Map<string, string> {
  if (names.length === 0) return new Map()
  const { stdout, error } = spawnSync(python, ['-B', '-c', IMPORT_SCRIPT], {
    env: plainEnvironment(env),
    input: `${limitText(IMPORTING)}\n\0\n${names.join('\0')}`,
    maxBuffer: 1 << 28,
    ...limitFor(IMPORTING, names.length),
    encoding: 'utf8',
  })
  if (error !== undefined) return new Map(names.map(name => [name, error.message]))
  return new Map(toldIn(stdout).map(([name = '', message = '']) => [name, message]))
}
