// Finds the program that finally runs when a venv's bin/python is started, without running anything. Follows links, wrapper
// scripts and nixpkgs' compiled wrappers to the ELF file of Python itself. This file knows nothing of libraries;
// ldso/libc.ts continues from here.
import { accessSync, constants, existsSync, lstatSync, type Stats } from 'node:fs'
import { basename, dirname, isAbsolute, join } from 'node:path'
import {
  EM_386,
  EM_AARCH64,
  EM_ARM,
  EM_LOONGARCH,
  EM_MIPS,
  EM_PPC,
  EM_PPC64,
  EM_RISCV,
  EM_S390,
  EM_X86_64,
} from '../elf/constants.ts'
import { ElfError } from '../elf/error.ts'
import { isElf, readElf } from '../elf/read.ts'
import { decodeBytes } from '../elf/text.ts'
import type { ElfObject } from '../elf/types.ts'
import { errnoOf, systemReason, WheelfixError } from '../io/error.ts'
import { fsPath, listDirectory, readLink, realPath } from '../io/path.ts'
import { withSource } from '../io/source.ts'
import type { PythonEnvironment } from './environment.ts'
import { configVersion } from './pyvenv.ts'

/** One step on the way from bin/python to the program: a file, and how it leads to the next one. */
interface ChainStep {
  readonly path: string
  /**
   * - `link`: a symbolic link
   * - `script`: a shell script that execs the next file
   * - `wrapper`: an ELF file that execs the next file (nixpkgs' makeBinaryWrapper)
   * - `home`: a script whose target is unknown; the next file is the one in pyvenv.cfg's `home`
   */
  readonly how: 'link' | 'script' | 'wrapper' | 'home'
}

/** The Python of a venv. */
export interface Interpreter {
  /** The venv's bin/python. */
  readonly executable: string
  /** The ELF file that finally runs, with every link resolved. */
  readonly program: string
  readonly chain: readonly ChainStep[]
  /** `3.11.7`; `3.11` where nothing gives the full version. */
  readonly version: string
  /** PT_INTERP. */
  readonly interp: string
  readonly object: ElfObject
  /** The suffixes of extension modules that `import` accepts, in its order (CPython, Python/dynload_shlib.c). */
  readonly extensionSuffixes: readonly string[]
}

/** The kernel gives up after 40 links, and no real chain has that many steps of any kind. */
const LONGEST_CHAIN = 40
/** The size limit in bytes. A compiled wrapper has about 20 KB; the smallest Python without libpython has more than 2 MB. */
const LARGEST_WRAPPER = 1 << 20
const LARGEST_SCRIPT = 1 << 16

/**
 * Follows bin/python to the program.
 * @throws WheelfixError `PYTHON_NOT_FOUND` when a step leads to a missing file; `PYTHON_UNSUPPORTED` when the chain
 * ends at something other than a dynamically linked Python
 */
export function findInterpreter(venv: PythonEnvironment): Interpreter {
  try {
    return follow(venv)
  } catch (error) {
    throw errnoOf(error) === undefined ? error : unreadable(venv.python, error)
  }
}

/**
 * A program other than Python that loads objects: Node loads its addons.
 * @throws WheelfixError `PYTHON_UNSUPPORTED` for a program that is not dynamically linked
 */
export function findLoadingProgram(path: string): Interpreter {
  const fault = (what: string) => new WheelfixError('PYTHON_UNSUPPORTED', `${path} ${what}`, path)
  try {
    const program = realPath(path)
    const object = withSource(program, readElf)
    if (object.ptInterp === null) throw fault('is linked statically, so it can load no object: name another program')
    const chain = program === path ? [] : [{ path, how: 'link' as const }]
    const extensionSuffixes = ['.node', '.so']
    return { executable: path, program, chain, version: '', interp: object.ptInterp, object, extensionSuffixes }
  } catch (error) {
    if (error instanceof ElfError)
      throw fault(`is not an ELF program (${error.message}): name the program that it finally starts`)
    throw errnoOf(error) === undefined ? error : fault(`cannot be read: ${systemReason(errnoOf(error) ?? '')}`)
  }
}

function follow(venv: PythonEnvironment): Interpreter {
  const chain: ChainStep[] = []
  let path = venv.python
  for (;;) {
    if (chain.length > LONGEST_CHAIN) {
      throw new WheelfixError(
        'PYTHON_NOT_FOUND',
        `${venv.python} leads back to itself (through ${path}); ${remake(venv)}`,
        venv.python,
      )
    }
    const stat = existingStatus(path, venv, chain)
    if (stat.isSymbolicLink()) {
      const target = readLink(path)
      chain.push({ path, how: 'link' })
      path = isAbsolute(target) ? target : join(realPath(dirname(path)), target)
      continue
    }
    const found = look(path, stat, venv)
    if ('object' in found) return describeInterpreter(venv, chain, path, found.object)
    chain.push({ path, how: found.how })
    path = found.next
  }
}

function existingStatus(path: string, venv: PythonEnvironment, chain: readonly ChainStep[]): Stats {
  try {
    return lstatSync(fsPath(path))
  } catch (error) {
    const errno = errnoOf(error)
    if (errno !== 'ENOENT' && errno !== 'ENOTDIR') throw error
    const what =
      chain.length === 0
        ? `${path} does not exist`
        : `${venv.python} leads to ${path}, which does not exist: the Python that this environment was made with has been ` +
          'upgraded, removed or garbage-collected'
    throw new WheelfixError('PYTHON_NOT_FOUND', `${what}; ${remake(venv)}`, path)
  }
}

type Found = { readonly object: ElfObject } | { readonly how: 'script' | 'wrapper' | 'home'; readonly next: string }

/** What a file other than a link is: Python itself, or something that execs the next file. */
function look(path: string, stat: Stats, venv: PythonEnvironment): Found {
  if (!stat.isFile()) throw unsupported(path, 'is not a file')
  try {
    accessSync(fsPath(path), constants.X_OK)
    return withSource(path, (source): Found => {
      const head = source.read(0, Math.min(source.size, 4))
      if (head[0] === 0x23 && head[1] === 0x21) {
        const text = decodeBytes(source.read(0, Math.min(source.size, LARGEST_SCRIPT)))
        const next = scriptTarget(text)
        if (next !== null) return { how: 'script', next }
        return { how: 'home', next: homePython(path, venv) }
      }
      if (!isElf(head)) throw unsupported(path, 'is neither an ELF program nor a script')
      const object = readElf(source)
      if (object.ptInterp === null) {
        throw unsupported(path, 'is linked statically, so it cannot load extension modules at all')
      }
      if (isPython(path, object, source.size)) return { object }
      const next =
        source.size > LARGEST_WRAPPER
          ? null
          : wrapperTarget(Buffer.from(source.read(0, source.size)).toString('latin1'), path)
      if (next === null) throw unsupported(path, 'is an ELF program, but not Python, and names no Python that it runs')
      return { how: 'wrapper', next }
    })
  } catch (error) {
    if (error instanceof ElfError) throw unsupported(path, `is a damaged ELF file (${error.message})`)
    throw errnoOf(error) === undefined ? error : unreadable(path, error)
  }
}

/** Python either links to libpython, or is large because libpython is inside. Neither is true of a wrapper. */
function isPython(path: string, object: ElfObject, size: number): boolean {
  if (object.needed.some(soname => /^lib(?:python|pypy)\d/.test(soname))) return true
  return size > LARGEST_WRAPPER && /python|pypy/.test(basename(path))
}

/**
 * The program that a shell script execs. It is in the last line that begins with `exec` or an absolute path, and that passes
 * on the arguments ("$@"). Null where its name is computed.
 */
export function scriptTarget(text: string): string | null {
  const lines = text.replaceAll('\\\n', ' ').split('\n')
  for (const line of lines.toReversed()) {
    if (!line.includes('$@')) continue
    const words = shellWords(line)
    if (words[0] === 'exec') words.shift()
    // exec [-cl] [-a name] command, and env [NAME=value …] command
    while (words[0]?.startsWith('-') === true) words.splice(0, words[0] === '-a' ? 2 : 1)
    if (words[0] === 'env' || words[0]?.endsWith('/bin/env') === true) words.shift()
    while (words[0] !== undefined && /^\w+=/.test(words[0])) words.shift()
    const [command] = words
    if (command?.startsWith('/') === true && !command.includes('$')) return command
  }
  return null
}

/** The words of a shell line, without quotes. Variables keep their names. */
function shellWords(line: string): string[] {
  return [...line.matchAll(/(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\])+/g)].map(([word]) =>
    word.replaceAll(/'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)/g, (_, single?: string, double?: string, escaped?: string) => {
      return single ?? double?.replaceAll(/\\(.)/g, '$1') ?? escaped ?? ''
    }),
  )
}

/**
 * The program that a compiled wrapper execs. makeBinaryWrapper leaves the command that made the wrapper in the file, and
 * the program is its first argument (nixpkgs, pkgs/build-support/setup-hooks/make-binary-wrapper). Without that command
 * it is the only Python among the file's strings other than the wrapper itself.
 */
function wrapperTarget(text: string, path: string): string | null {
  const command = /(?<![ -~])makeCWrapper (?:'([^'\0]+)'|(\/[^\s\0]+))/.exec(text)
  const named = command?.[1] ?? command?.[2]
  if (named !== undefined) return decodeBytes(Buffer.from(named, 'latin1'))
  const own = realPath(path)
  for (const [, string = ''] of text.matchAll(/(?<![ -~])(\/[^\0\n]*\/\.?(?:python|pypy)[\d.]*t?(?:-wrapped)?)\0/g)) {
    const candidate = decodeBytes(Buffer.from(string, 'latin1'))
    if (resolved(candidate) !== own) return candidate
  }
  return null
}

function resolved(path: string): string {
  try {
    return realPath(path)
  } catch {
    return path
  }
}

/** The Python in pyvenv.cfg's `home`, for a script that computes its target (a pyenv shim). */
function homePython(script: string, venv: PythonEnvironment): string {
  const version = configVersion(venv.config)?.split('.') ?? []
  for (const name of [`python${version.slice(0, 2).join('.')}`, 'python3', 'python']) {
    const candidate = join(venv.home, name)
    if (existsSync(candidate) && realPath(candidate) !== realPath(script)) return candidate
  }
  throw unsupported(script, 'is a script that does not say which Python it starts')
}

function describeInterpreter(
  venv: PythonEnvironment,
  chain: readonly ChainStep[],
  path: string,
  object: ElfObject,
): Interpreter {
  const program = realPath(path)
  const { version, freeThreaded, pypy } = identity(venv, program, object)
  return {
    executable: venv.python,
    program,
    chain,
    version,
    interp: object.ptInterp ?? '',
    object,
    extensionSuffixes: pypy ? ['.so'] : extensionSuffixes(version, freeThreaded, object),
  }
}

/**
 * The program's own name for itself wins over pyvenv.cfg: an upgrade of the system's Python does not change pyvenv.cfg.
 */
function identity(
  venv: PythonEnvironment,
  program: string,
  object: ElfObject,
): { version: string; freeThreaded: boolean; pypy: boolean } {
  const folders = venv.sitePackages.map(folder => basename(dirname(folder)))
  const names = [...object.needed, basename(program), ...libFolders(program), ...folders]
  const match = names.map(name => /(?:python|pypy)(\d+\.\d+)(t?)/.exec(name)).find(found => found !== null)
  const own = match?.[1]
  const written = configVersion(venv.config)
  const version = own === undefined || written?.startsWith(`${own}.`) === true ? written : own
  if (version === undefined) {
    throw new WheelfixError(
      'VENV_INVALID',
      `neither ${venv.root}/pyvenv.cfg nor ${program} says which version of Python it is; ${remake(venv)}`,
      venv.root,
    )
  }
  return { version, freeThreaded: match?.[2] === 't', pypy: match?.[0].startsWith('pypy') === true }
}

/** The names beside the program that give its version, if there is exactly one: PREFIX/lib/pythonX.Y. */
function libFolders(program: string): string[] {
  try {
    const names = listDirectory(join(dirname(dirname(program)), 'lib')).map(({ name }) => name)
    const found = names.filter(name => /^(?:python|pypy)\d+\.\d+t?$/.test(name))
    return found.length === 1 ? found : []
  } catch {
    return []
  }
}

/**
 * The suffixes `.cpython-311-x86_64-linux-gnu.so`, `.abi3.so`, `.so`. Up to 3.7 the tag contains an `m` (pymalloc). A
 * free-threaded build has a `t` (PEP 703). Since 3.15 a free-threaded build accepts the stable ABI `abi3t` instead of
 * `abi3`. Other builds accept both (PEP 803). The suffix of the stable ABI may name the platform since 3.15, and in Debian's
 * 3.14. Pythons for musl named themselves `gnu` before they used `musl`, so both suffixes count.
 */
export function extensionSuffixes(version: string, freeThreaded: boolean, object: ElfObject): string[] {
  const [major = 3, minor = 0] = version.split('.').map(Number)
  const flags = freeThreaded ? 't' : major === 3 && minor < 8 ? 'm' : ''
  const platforms = triplets(object)
  const named = (tag: string) => platforms.map(triplet => `.${tag}-${triplet}.so`)
  const since315 = major === 3 && minor >= 15
  const stable = !since315 ? [`abi${major}`] : freeThreaded ? ['abi3t'] : ['abi3', 'abi3t']
  return [
    ...named(`cpython-${major}${minor}${flags}`),
    ...stable.flatMap(abi => [...(since315 ? named(abi) : []), `.${abi}.so`]),
    ...(major === 3 && minor === 14 ? named('abi3') : []),
    '.so',
  ]
}

/**
 * The PLATFORM_TRIPLET that CPython's configure gives this machine. Empty if configure gives none, or if wheelfix does not
 * know the machine.
 */
function triplets({ header, ptInterp: interpreter }: ElfObject): string[] {
  const { machine, flags, class: bits, byteOrder } = header
  const little = byteOrder === 'little'
  const musl = /\/ld-musl-/.test(interpreter ?? '')
  const both = (cpu: string, suffix = '') => {
    const gnu = `${cpu}-linux-gnu${suffix}`
    return musl ? [`${cpu}-linux-musl${suffix}`, gnu] : [gnu]
  }
  switch (machine) {
    case EM_X86_64:
      return bits === 64 ? both('x86_64') : both('x86_64', 'x32')
    case EM_386:
      return both('i386')
    case EM_AARCH64:
      return both(little ? 'aarch64' : 'aarch64_be')
    case EM_ARM:
      // EF_ARM_ABI_FLOAT_HARD
      return both(little ? 'arm' : 'armeb', (flags & 0x400) === 0 ? 'eabi' : 'eabihf')
    case EM_PPC64:
      return both(little ? 'powerpc64le' : 'powerpc64')
    case EM_PPC:
      return both('powerpc')
    case EM_S390:
      return both(bits === 64 ? 's390x' : 's390')
    case EM_RISCV:
      return both(`riscv${bits}`)
    case EM_LOONGARCH:
      return both('loongarch64')
    case EM_MIPS:
      return bits === 64 ? both(`mips64${little ? 'el' : ''}`, 'abi64') : both(`mips${little ? 'el' : ''}`)
    default:
      return []
  }
}

/** How to make this venv again, in the commands of the tool that made it. */
function remake(venv: PythonEnvironment): string {
  // never name a folder that is not a virtual environment: older versions of uv clear any folder that they are given
  if (venv.config.size === 0) return 'name another Python (--python)'
  return venv.config.has('uv')
    ? `make it again: uv venv --clear ${venv.root}, then uv sync or uv pip install`
    : `make it again: python3 -m venv --upgrade ${venv.root}, or uv venv --clear ${venv.root} and install again`
}

function unsupported(path: string, what: string): WheelfixError {
  const remedy =
    'make the environment again with a Python from nixpkgs or from the distribution (python3 -m venv, uv venv --python)'
  return new WheelfixError('PYTHON_UNSUPPORTED', `${path} ${what}; ${remedy}`, path)
}

function unreadable(path: string, error: unknown): WheelfixError {
  const errno = errnoOf(error) ?? ''
  const reason = errno === 'EACCES' ? 'give yourself permission (chmod a+rx)' : systemReason(errno)
  return new WheelfixError('PYTHON_NOT_FOUND', `${path} cannot be read and run (${errno}): ${reason}`, path)
}
