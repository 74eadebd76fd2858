// The real loader as judge: each object is loaded alone in a process of the real Python that holds nothing but the
// interpreter's own libraries, and the kernel's map of that process tells what was found. Knows nothing of how wheelfix
// resolves; it reads only which sonames an object needs.
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { readElf } from '../../src/elf/read.ts'
import { withSource } from '../../src/io/source.ts'
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

/** A character that stands for the soname in the stand-in library. */
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
    writeFileSync(join(scratch, 'template'), emptyLibrary(realpathSync(python)))
    writeFileSync(join(scratch, 'paths'), paths.join('\n'))
    return parseVerdicts(runWell(python, ['-I', '-S', '-c', SCRIPT, scratch], { env }), scratch)
  } finally {
    rmSync(scratch, { recursive: true })
  }
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
        providers: providersAmong(files, neededOf),
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
  return { path, missing, error: null, providers: providersAmong([realpathSync(path), ...found], cachedNames()) }
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

/** Within one process a soname is served by the loaded file of that soname or name. */
function providersAmong(files: readonly string[], names: (path: string) => Names | undefined): Verdict['providers'] {
  const bySoname = new Map<string, string>()
  for (const file of files) {
    const soname = names(file)?.soname
    for (const name of [soname, basename(file)]) if (name && !bySoname.has(name)) bySoname.set(name, file)
  }
  return new Map(
    files.map(file => {
      const served = (names(file)?.needed ?? []).map(soname => [soname, bySoname.get(basename(soname))] as const)
      return [file, new Map(served.filter((pair): pair is readonly [string, string] => pair[1] !== undefined))]
    }),
  )
}

/** A 64-bit little-endian library with a soname and nothing else, for the machine of the file `like`. */
function emptyLibrary(like: string): Buffer {
  const machine = readFileSync(like).readUInt16LE(18)
  const dynamicAt = 64 + 2 * 56
  const symbolsAt = dynamicAt + 6 * 16
  const stringsAt = symbolsAt + 24
  const size = stringsAt + 1 + SONAME_ROOM + 1
  const file = Buffer.alloc(size)
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  file.writeUInt16LE(3, 16) // ET_DYN
  file.writeUInt16LE(machine, 18)
  file.writeUInt32LE(1, 20)
  file.writeBigUInt64LE(64n, 32) // e_phoff
  file.set([64, 0, 56, 0, 2, 0, 64, 0], 52)
  const segment = (at: number, type: number, offset: number, length: number, align: number): void => {
    file.writeUInt32LE(type, at)
    file.writeUInt32LE(6, at + 4) // PF_R | PF_W
    for (const [index, value] of [offset, offset, offset, length, length, align].entries()) {
      file.writeBigUInt64LE(BigInt(value), at + 8 + 8 * index)
    }
  }
  segment(64, 1, 0, size, 0x10000) // PT_LOAD
  segment(120, 2, dynamicAt, 6 * 16, 8) // PT_DYNAMIC
  const entries = [
    [14, 1], // DT_SONAME
    [5, stringsAt], // DT_STRTAB
    [10, size - stringsAt], // DT_STRSZ
    [6, symbolsAt], // DT_SYMTAB
    [11, 24], // DT_SYMENT
    [0, 0],
  ]
  file.set(new Uint8Array(BigUint64Array.from(entries.flat().map(BigInt)).buffer), dynamicAt)
  file.fill('@', stringsAt + 1, stringsAt + 1 + SONAME_ROOM)
  return file
}
