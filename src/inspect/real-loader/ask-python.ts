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

/** Turns a status of waitpid into words: what ended the process. */
const ENDED = `
def ended(status):
    signal = status & 127
    return "the process ended with signal %d" % signal if signal else "the process ended with status %d" % (status >> 8)
`

// A fork of a Python that has loaded nothing behaves like a fresh process, and costs a tenth of one. create_dynamic opens
// the file as an import does. It fails only later, because there is no init function. The alarm ends a process that hangs.
const SCRIPT = `${ENDED}
import _imp, os, signal, sys
class Spec:
    def __init__(self, path): self.name, self.origin = "wheelfix_has_no_such_module", path
def maps():
    with open("/proc/self/maps", "rb") as lines:
        return dict.fromkeys(line.rstrip(b"\\n").split(None, 5)[5] for line in lines if b" /" in line)
def tell(*words):
    sys.stdout.write(" ".join(os.fsencode(word).hex() or "-" for word in words) + "\\n")
    sys.stdout.flush()
before = maps()
for path in sys.stdin.buffer.read().split(b"\\0"):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        sys.setdlopenflags(os.RTLD_LAZY)
        error = ""
        try: _imp.create_dynamic(Spec(os.fsdecode(path)))
        except BaseException as problem:
            text = str(problem)
            if "PyInit_wheelfix" not in text: error = text or "failed"
        files = [] if error else [name for name in maps() if name not in before]
        tell(path, error, *files)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status != 0: tell(path, ended(status))
`

/** The environment for child processes, without variables that change what the loader or Python does. */
export function plainEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(?:LD_|PYTHON|GLIBC_TUNABLES$)/.test(name)))
}

/**
 * The time limit for a Python that does not start at all. The scripts above have their own limit for every object or
 * module.
 */
function limitFor(items: number, secondsEach: number) {
  return { timeout: (120 + items * secondsEach) * 1000, killSignal: 'SIGKILL' } as const
}

/**
 * Loads each of these objects (absolute paths) with the given Python. That Python writes no bytecode anywhere, because an
 * examination must change nothing.
 * @returns the results by path, or the message of a Python that does not start
 */
export function askPython(
  python: string,
  paths: readonly string[],
  env: NodeJS.ProcessEnv,
): ReadonlyMap<string, Verdict> | string {
  const { status, stdout, stderr, error } = spawnSync(python, ['-I', '-S', '-B', '-c', SCRIPT], {
    env: plainEnvironment(env),
    input: encodeText(paths.join('\0')),
    maxBuffer: 1 << 28,
    ...limitFor(paths.length, 2),
    encoding: 'utf8',
  })
  if (error !== undefined) return error.message
  if (status !== 0) return reasonIn(stderr) ?? `it ended with status ${status} and printed nothing`
  const verdicts = new Map<string, Verdict>()
  for (const line of stdout.split('\n')) {
    const words = line.split(' ').map(word => (word === '-' ? '' : decodeBytes(Buffer.from(word, 'hex'))))
    const [path = '', said = '', ...files] = words
    if (path !== '') verdicts.set(path, { error: said === '' ? null : said, files })
  }
  return verdicts
}

/**
 * The line that says why a Python did not start: the last line with an error (`Fatal Python error: …`,
 * `ModuleNotFoundError: …`). CPython prints the threads after it (`Current thread …`, `<no Python frame>`).
 */
function reasonIn(stderr: string): string | undefined {
  const lines = stderr.split('\n').filter(line => line.trim() !== '')
  return lines.findLast(line => /^[\w.]*(?:Error|Exception)\b|^Fatal Python error/.test(line)) ?? lines.at(-1)?.trim()
}

const IMPORT_SCRIPT = `${ENDED}
import importlib, os, signal, sys
def tell(*words):
    sys.__stdout__.write("wheelfix " + " ".join(os.fsencode(word).hex() or "-" for word in words) + "\\n")
    sys.__stdout__.flush()
for name in sys.stdin.read().split("\\0"):
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)
        try: importlib.import_module(name)
        except BaseException as problem: tell(name, (type(problem).__name__ + ": " + str(problem)).split("\\n")[0][:500])
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status != 0: tell(name, ended(status))
`

/** Imports each module in a fresh child process. @returns the errors of the modules that fail, by name */
export function importModules(python: string, names: readonly string[], env: NodeJS.ProcessEnv): Map<string, string> {
  if (names.length === 0) return new Map()
  const { stdout, error } = spawnSync(python, ['-B', '-c', IMPORT_SCRIPT], {
    env: plainEnvironment(env),
    input: names.join('\0'),
    maxBuffer: 1 << 28,
    ...limitFor(names.length, 10),
    encoding: 'utf8',
  })
  if (error !== undefined) return new Map(names.map(name => [name, error.message]))
  const said = new Map<string, string>()
  for (const [, words = ''] of stdout.matchAll(/^wheelfix ([0-9a-f -]+)$/gm)) {
    const [name = '', message = ''] = words.split(' ').map(word => decodeBytes(Buffer.from(word, 'hex')))
    said.set(name, message)
  }
  return said
}
