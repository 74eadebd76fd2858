// The real loader as judge: each object is loaded alone in a process of the real Python that holds nothing but the
// interpreter's own libraries, and the kernel's map of that process tells what was found. Knows nothing of how wheelfix
// resolves; it reads only which sonames an object needs.
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { readElf } from '../../src/elf/read.ts'
import { withSource } from '../../src/io/source.ts'
import { makeLibrary } from '../support/library.ts'
import { run, runWell } from '../support/run.ts'

/** What the loader made of one object, loaded as the first one. */
export interface Verdict {
  readonly path: string
  /** For each object that came to be mapped, by its real path, the real path of what each of its needed sonames got. */
  readonly providers: ReadonlyMap<string, ReadonlyMap<string, string>>
  /** The sonames that were not found, in the order in which the loader stumbled over them. */
  readonly missing: readonly string[]
  /** Why it does not load although every library was found (a version, a symbol), else null. */
  readonly error: string | null
}

/** As long as any soname: what stands for it in the stand-in library. */
const SONAME_ROOM = 200

// A fork of a Python that has imported nothing from lib-dynload is as good as a fresh process, and costs a tenth of it.
// create_dynamic opens the file exactly as an import does and fails only afterwards, for want of an init function.
const SCRIPT = `
import _imp, os, sys
class Spec:
    def __init__(self, path): self.name, self.origin = "wheelfix_has_no_such_module", path
def load(path):
    try: _imp.create_dynamic(Spec(path))
    except ImportError as error:
        text = str(error)
        return None if "PyInit_wheelfix" in text or "initwheelfix" in text else text
def judge(path, template, scratch):
    missing = []
    while True:
        text = load(path)
        soname, _, rest = (text or "").partition(": ")
        if not rest.startswith("cannot open shared object file") or soname == path or soname in missing: break
        missing.append(soname)
        room = b"@" * ${SONAME_ROOM}
        stub = os.path.join(scratch, "stub%d" % len(missing))
        with open(stub, "wb") as file: file.write(template.replace(room, os.fsencode(soname).ljust(len(room), b"\\0")))
        load(stub)
    print("path", path)
    for name in missing: print("missing", name)
    if text: print("error", text.replace("\\n", " "))
    with open("/proc/self/maps") as maps: files = dict.fromkeys(line.rstrip("\\n").split(None, 5)[5] for line in maps if " /" in line)
    for file in files: print("file", file)
    sys.stdout.flush()
    os._exit(0)
scratch = sys.argv[1]
with open(os.path.join(scratch, "template"), "rb") as file: template = file.read()
with open(os.path.join(scratch, "paths")) as file: paths = file.read().split("\\n")
for path in paths:
    # lazily first: what lacks a function still gets mapped; but a constructor that calls it ends the process
    for flags in os.RTLD_LAZY, os.RTLD_NOW:
        child = os.fork()
        if child == 0:
            sys.setdlopenflags(flags)
            judge(path, template, scratch)
        status = os.waitpid(child, 0)[1]
        if status == 0: break
    else:
        print("path", path); print("error", "the process ended with status", status)
        sys.stdout.flush()
`

/** Loads each of these objects (absolute paths) with that Python. */
export function judgeLibraries(python: string, paths: readonly string[], env: NodeJS.ProcessEnv): Verdict[] {
  const scratch = mkdtempSync(join(tmpdir(), 'wheelfix-oracle-'))
  try {
    writeFileSync(
      join(scratch, 'template'),
      makeLibrary({ soname: '@'.repeat(SONAME_ROOM), machine: machineOf(python) }),
    )
    writeFileSync(join(scratch, 'paths'), paths.join('\n'))
    return parseVerdicts(runWell(python, ['-I', '-S', '-c', SCRIPT, scratch], { env }), scratch)
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

/** e_machine of an ELF file. */
export function machineOf(path: string): number {
  return withSource(realpathSync(path), readElf).header.machine
}

function parseVerdicts(text: string, scratch: string): Verdict[] {
  const neededOf = cachedNames()
  return text
    .split(/^path /m)
    .slice(1)
    .map(part => {
      const [path = '', ...lines] = part.trimEnd().split('\n')
      const all = (key: string): string[] =>
        lines.filter(line => line.startsWith(`${key} `)).map(line => line.slice(key.length + 1))
      const files = all('file').filter(file => !file.startsWith(scratch))
      return {
        path,
        missing: all('missing'),
        error: all('error')[0] ?? null,
        providers: providersAmong(realpathSync(path), files, all('missing'), neededOf),
      }
    })
}

/** Runs an executable as far as its libraries are found, without starting it. */
export function judgeExecutable(path: string, env: NodeJS.ProcessEnv): Verdict {
  let text: string
  try {
    text = run(path, [], { env: { ...env, LD_TRACE_LOADED_OBJECTS: '1' } }).stdout
  } catch (error) {
    return { path, providers: new Map(), missing: [], error: String(error) }
  }
  const missing = [...text.matchAll(/^\t(\S+) => not found$/gm)].map(([, soname = '']) => soname)
  const found = [...text.matchAll(/^\t(?:\S+ => )?(\/\S*) \(0x[0-9a-f]+\)$/gm)].map(([, file = '']) =>
    realpathSync(file),
  )
  return {
    path,
    missing,
    error: null,
    providers: providersAmong(realpathSync(path), [realpathSync(path), ...found], missing, cachedNames()),
  }
}

interface Names {
  readonly soname: string | null
  readonly needed: readonly string[]
}

function cachedNames(): (path: string) => Names | undefined {
  const known = new Map<string, Names | undefined>()
  return path => {
    if (!known.has(path)) known.set(path, namesOf(path))
    return known.get(path)
  }
}

function namesOf(path: string): Names | undefined {
  try {
    return withSource(path, readElf)
  } catch {
    return undefined // not ELF: a locale, a zip
  }
}

/**
 * Within one process a soname is served by the loaded file of that soname, or by the one that was found under that name.
 * The first object was opened by its path: its file name becomes a name of it only when a search comes upon it again.
 */
function providersAmong(
  first: string,
  files: readonly string[],
  missing: readonly string[],
  namesIn: (path: string) => Names | undefined,
): Verdict['providers'] {
  const bySoname = new Map<string, string>()
  for (const file of files) {
    const soname = namesIn(file)?.soname
    const names = file === first ? [soname] : [soname, basename(file)]
    for (const name of names) if (name && !bySoname.has(name)) bySoname.set(name, file)
  }
  const own = basename(first)
  if (!bySoname.has(own) && !missing.includes(own)) bySoname.set(own, first)
  return new Map(
    files.map(file => {
      const served = (namesIn(file)?.needed ?? []).map(soname => [soname, bySoname.get(basename(soname))] as const)
      return [file, new Map(served.filter((pair): pair is readonly [string, string] => pair[1] !== undefined))]
    }),
  )
}
