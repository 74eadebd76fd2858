// Which C library a program runs under, and where that library's loader searches by default. The content of the loader
// file that PT_INTERP names decides, never its name alone. Knows nothing of Python or of the Nix store.
import { existsSync } from 'node:fs'
import { dirname, posix } from 'node:path'
import { EM_386, EM_AARCH64, EM_RISCV, EM_X86_64 } from '../elf/constants.ts'
import { ElfError } from '../elf/error.ts'
import type { ElfObject } from '../elf/types.ts'
import { readInto } from '../elf/source.ts'
import { readRegular } from '../io/beneath.ts'
import { withMemory } from '../io/memory.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { fsPath, realPath } from '../io/path.ts'
import { withSource } from '../io/source.ts'
import type { LegacyHwcaps } from './cache/cache.ts'
import {
  startable,
  glibcDirectories,
  cachePath,
  releaseOf,
  type Diagnostics,
  askLoader,
  askSubdirectories,
} from './ask-loader.ts'

/** nix-ld, between a program and the real loader. */
interface NixLd {
  /** The PT_INTERP path at which nix-ld is installed. */
  readonly shim: string
  /** The directories that nix-ld appends to LD_LIBRARY_PATH: NIX_LD_LIBRARY_PATH, or its default. */
  readonly directories: readonly string[]
}

/** The C library of a program. */
export interface Libc {
  readonly kind: 'glibc' | 'musl'
  /** `2.40`, `1.2.5`; null where the files do not say. */
  readonly version: string | null
  /** The folder of libc.so.6 (of the loader itself under musl), with every link resolved. */
  readonly dir: string
  /** The loader's path in PT_INTERP; behind nix-ld the path in NIX_LD. */
  readonly ldso: string
  /** The loader's file, where it may be started and asked (see runnable.ts); else null. */
  readonly startable: string | null
  /** The directories that the loader searches last, in order, without a slash at the end. */
  readonly builtinDirectories: readonly string[]
  /** The path of the ld.so.cache that the loader reads, whether it exists or not. */
  readonly cache: string | null
  /** `$LIB`: `lib`, `lib64`, `lib/x86_64-linux-gnu`. */
  readonly lib: string
  /** `$PLATFORM`; empty where there is none. */
  readonly platform: string
  /** The glibc-hwcaps subdirectories that this CPU can use, best first. */
  readonly hwcaps: readonly string[]
  /**
   * All subdirectories that are searched before a directory itself, relative to it, in order: `glibc-hwcaps/x86-64-v3`,
   * `tls`.
   */
  readonly subdirectories: readonly string[]
  /** The hardware bits in the cache that count; null from glibc 2.37 on, and where the loader cannot be asked. */
  readonly legacyHwcaps: LegacyHwcaps | null
  /** Debian's and Ubuntu's glibc passes over a file of another machine before it looks at the rest of e_ident. */
  readonly skipsOtherMachines: boolean
  readonly nixLd: NixLd | null
}

/** Loaders have some 200 KB, musl's some 900 KB; with debugging information a few MB. */
const LARGEST_LOADER = 32 << 20

/** musl's file with its search path has a line or two. */
const LARGEST_PATH_FILE = 1 << 20

/** What nix-ld uses without NIX_LD and NIX_LD_LIBRARY_PATH (nix-ld, src/main.rs). */
const NIX_LD_DEFAULT = '/run/current-system/sw/share/nix-ld/lib/ld.so'

const NIX_LD_LIBRARY_PATH_DEFAULT = '/run/current-system/sw/share/nix-ld/lib'

/** A text that nix-ld contains and no loader does. */
const NIX_LD_MARK = 'NIX_LD_LIBRARY_PATH'

/**
 * Where NixOS's module installs the link to nix-ld (nix-ld, package.nix: ldpath), by e_machine. Other distributions
 * have their loader there.
 */
const NIX_LD_SHIMS = new Map([
  [EM_X86_64, '/lib64/ld-linux-x86-64.so.2'],
  [EM_386, '/lib/ld-linux.so.2'],
  [EM_AARCH64, '/lib/ld-linux-aarch64.so.1'],
  [EM_RISCV, '/lib/ld-linux-riscv64-lp64d.so.1'],
])

/** The command for this very program comes first, ready to paste. */
function loaderRemedies(program: string): string {
  return (
    `run: wheelfix python ${program.replace(/\/bin\/[^/]*$/, '')} (or enable nix-ld with programs.nix-ld.enable = true, or make ` +
    'the environment with a Python from nixpkgs: UV_PYTHON=$(command -v python3) UV_PYTHON_DOWNLOADS=never uv venv)'
  )
}

/**
 * The C library that `program` runs under.
 * @throws WheelfixError `LOADER_NOT_FOUND` when there is no loader, or only NixOS's stub; `LIBC_UNSUPPORTED` when the
 * loader is neither glibc's nor musl's
 */
export function identifyLibc(program: string, object: ElfObject, env: NodeJS.ProcessEnv): Libc {
  const interp = object.ptInterp
  if (interp === null) {
    throw new WheelfixError(
      'LIBC_UNSUPPORTED',
      `${program} is linked statically and has no dynamic loader: name another program`,
      program,
    )
  }
  const text = readLoader(interp, () => absentLoader(program, interp))
  // the texts of stub-ld: nixpkgs, pkgs/by-name/st/stub-ld
  if (text.includes('Could not start dynamically linked executable') || text.includes('nix.dev/permalink/stub-ld')) {
    throw new WheelfixError(
      'LOADER_NOT_FOUND',
      `${program} cannot start: ${interp} is NixOS's stub, not a loader; ${loaderRemedies(program)}`,
      program,
    )
  }
  return text.includes(NIX_LD_MARK) ? behindNixLd(program, interp, object, env) : describeLibc(interp, text, null, env)
}

/**
 * The C library under which nix-ld runs a program for the machine of `object`, if the program asks for the loader of an
 * ordinary distribution.
 * @throws WheelfixError `LOADER_NOT_FOUND` when nix-ld is not installed there, or leads to no loader
 */
export function nixLdLibc(object: ElfObject, env: NodeJS.ProcessEnv): Libc {
  const shim = NIX_LD_SHIMS.get(object.header.machine)
  if (shim === undefined)
    throw new WheelfixError('LOADER_NOT_FOUND', 'nix-ld does not support this machine: give --interpreter python')
  const enable = 'enable programs.nix-ld in NixOS, or give --interpreter python'
  const absent = new WheelfixError(
    'LOADER_NOT_FOUND',
    `nix-ld is not installed: ${shim} does not exist; ${enable}`,
    shim,
  )
  if (!readLoader(shim, () => absent).includes(NIX_LD_MARK)) {
    throw new WheelfixError('LOADER_NOT_FOUND', `nix-ld is not installed: ${shim} is something else; ${enable}`, shim)
  }
  return behindNixLd('a program', shim, object, env)
}

function behindNixLd(program: string, shim: string, object: ElfObject, env: NodeJS.ProcessEnv): Libc {
  const { loader, directories } = nixLdSettings(object, env)
  const behind = readLoader(
    loader,
    () =>
      new WheelfixError(
        'LOADER_NOT_FOUND',
        `${program} runs through nix-ld (${shim}), whose loader ${loader} does not exist; set NIX_LD to a glibc's ` +
          'loader, or enable programs.nix-ld in NixOS',
        loader,
      ),
  )
  if (behind.includes(NIX_LD_MARK)) {
    throw new WheelfixError('LOADER_NOT_FOUND', `NIX_LD (${loader}) is nix-ld itself; set it to a real loader`, loader)
  }
  return describeLibc(loader, behind, { shim, directories }, env)
}

/** Do ordinary distributions have their loader at this path, on any machine? Before 2.34 glibc's had its version as its name. */
export function isFhsLoader(path: string): boolean {
  return /^\/(?:usr\/)?lib(?:32|64|x32)?\/(?:[^/]+-linux-[^/]+\/)?(?:ld-(?:linux|musl|lsb)[^/]*\.so\.\d+|ld64\.so\.\d+|ld\.so\.1|ld-2\.\d+(?:\.\d+)?\.so)$/.test(
    posix.normalize(path),
  )
}

// From glibc's Makefiles. Of the NSS modules only glibc's own: others (libnss_systemd, libnss_sss) come with their
// services.
const GLIBC_FAMILY =
  /^(?:ld-linux[^/]*\.so\.\d+|ld64\.so\.\d+|ld\.so\.1|libc\.so\.6(?:\.1)?|libm\.so\.6(?:\.1)?|libdl\.so\.2(?:\.1)?|libpthread\.so\.0|librt\.so\.1|libutil\.so\.1(?:\.1)?|libresolv\.so\.2(?:\.1)?|libnsl\.so\.1(?:\.1)?|libanl\.so\.1(?:\.1)?|libmvec\.so\.1|libBrokenLocale\.so\.1(?:\.1)?|libthread_db\.so\.1|libc_malloc_debug\.so\.0|libnss_(?:compat|db|dns|files|hesiod)\.so\.2)$/

// The names that musl's loader keeps for itself (ldso/dynlink.c, `reserved`), and its own two.
const MUSL_FAMILY =
  /^(?:lib(?:c|pthread|rt|m|dl|util|xnet)\.so(?:\.\d+)*|libc\.musl-[^/]+\.so\.1|ld-musl-[^/]+\.so\.1)$/

/** Is `soname` a library of the C library itself? Such a library must come from the interpreter's own libc. */
export function isLibcFamily(soname: string, kind: Libc['kind']): boolean {
  return (kind === 'glibc' ? GLIBC_FAMILY : MUSL_FAMILY).test(soname)
}

function absentLoader(program: string, interp: string): WheelfixError {
  const [what, remedy] = isFhsLoader(interp)
    ? ['does not exist here', loaderRemedies(program)]
    : interp.includes('/.wheelfix/')
      ? ['no longer exists', 'run "wheelfix loader" to make it again, or "wheelfix restore" to do without it']
      : ['no longer exists', 'make the environment again with a Python that exists']
  return new WheelfixError(
    'LOADER_NOT_FOUND',
    `${program} cannot start: its loader ${interp} ${what}; ${remedy}`,
    program,
  )
}

/** What helps where the C library of a Python is broken or unknown. */
const OTHER_PYTHON = 'use a Python from nixpkgs'

/** The loader file as text, one character for each byte. */
function readLoader(path: string, absent: () => WheelfixError): string {
  try {
    return withSource(path, source => {
      if (source.size > LARGEST_LOADER) {
        throw new WheelfixError(
          'LIBC_UNSUPPORTED',
          `${path} is too large for a loader (${source.size} bytes): ${OTHER_PYTHON}`,
          path,
        )
      }
      return withMemory(source.size, bytes => {
        readInto(source, bytes, 0)
        return bytes.toString('latin1')
      })
    })
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'ELOOP') throw absent()
    if (errno === undefined && !(error instanceof ElfError)) throw error
    const why = errno ?? 'it is not a regular file'
    throw new WheelfixError('LOADER_NOT_FOUND', `the loader ${path} cannot be read (${why}): ${OTHER_PYTHON}`, path)
  }
}

/** NIX_LD_x86_64_linux wins over NIX_LD; an empty or unset variable means the default (nix-ld, src/main.rs). */
function nixLdSettings(object: ElfObject, env: NodeJS.ProcessEnv): { loader: string; directories: string[] } {
  const system = NIX_SYSTEMS.get(object.header.machine)
  const value = (name: string): string | undefined =>
    (system === undefined ? undefined : env[`${name}_${system}`]) ?? env[name]
  const path = value('NIX_LD_LIBRARY_PATH') ?? NIX_LD_LIBRARY_PATH_DEFAULT
  return {
    loader: value('NIX_LD') || NIX_LD_DEFAULT,
    directories: path.split(/[:;]/).filter(directory => directory.startsWith('/')),
  }
}

/** e_machine → the system's name in nix-ld's variables. */
const NIX_SYSTEMS = new Map([
  [EM_X86_64, 'x86_64_linux'],
  [EM_386, 'i686_linux'],
  [EM_AARCH64, 'aarch64_linux'],
  [EM_RISCV, 'riscv64_linux'],
])

function describeLibc(loader: string, text: string, nixLd: NixLd | null, env: NodeJS.ProcessEnv): Libc {
  if (text.includes('musl libc')) return describeMusl(loader, text, nixLd)
  if (text.includes('/ld.so.cache') || text.includes('GLIBC_PRIVATE')) return describeGlibc(loader, text, nixLd, env)
  throw new WheelfixError('LIBC_UNSUPPORTED', `${loader} is neither glibc's nor musl's loader: ${OTHER_PYTHON}`, loader)
}

function describeGlibc(loader: string, text: string, nixLd: NixLd | null, env: NodeJS.ProcessEnv): Libc {
  const builtinDirectories = glibcDirectories(text)
  const dir = [dirname(realPath(loader)), ...builtinDirectories].find(folder =>
    existsSync(fsPath(`${folder}/libc.so.6`)),
  )
  if (dir === undefined) {
    throw new WheelfixError(
      'LIBC_UNSUPPORTED',
      `${loader} has no libc.so.6 beside it or in its directories: ${OTHER_PYTHON}`,
      loader,
    )
  }
  const release = releaseOf(text) ?? releaseOf(readLibc(`${dir}/libc.so.6`))
  let asked: Diagnostics | undefined
  let subdirectories: readonly string[] | undefined
  const diagnostics = (): Diagnostics => (asked ??= askLoader(startable(loader, env), text, builtinDirectories))
  return {
    kind: 'glibc',
    version: release?.version ?? null,
    skipsOtherMachines: release !== null && /Debian|Ubuntu/.test(release.vendor),
    dir: realPath(dir),
    ldso: loader,
    builtinDirectories,
    cache: cachePath(text),
    // getters, because these are seldom wanted and cost the start of a process
    get lib() {
      return diagnostics().lib
    },
    get startable() {
      return startable(loader, env)
    },
    get platform() {
      return diagnostics().platform
    },
    get hwcaps() {
      return diagnostics().hwcaps
    },
    get legacyHwcaps() {
      return diagnostics().legacyHwcaps
    },
    get subdirectories() {
      return (subdirectories ??= askSubdirectories(startable(loader, env), `${dir}/libc.so.6`))
    },
    nixLd,
  }
}

function readLibc(path: string): string {
  return readLoader(path, () => new WheelfixError('LIBC_UNSUPPORTED', `${path} does not exist: ${OTHER_PYTHON}`, path))
}

function describeMusl(loader: string, text: string, nixLd: NixLd | null): Libc {
  return {
    kind: 'musl',
    // musl's loader has nothing to report
    startable: null,
    version: /(?<![ -~])(\d+\.\d+\.\d+)\0/.exec(text)?.[1] ?? null,
    dir: dirname(realPath(loader)),
    ldso: loader,
    builtinDirectories: muslPath(loader, text)
      .split(/[:\n]/)
      .filter(directory => directory.startsWith('/'))
      .map(directory => directory.replace(/(?<=.)\/+$/, '')),
    cache: null,
    lib: 'lib',
    platform: '',
    hwcaps: [],
    subdirectories: [],
    legacyHwcaps: null,
    skipsOtherMachines: false,
    nixLd,
  }
}

/**
 * musl's system path is PREFIX/etc/ld-musl-ARCH.path, and PREFIX is two components above the loader. The built-in list
 * counts only if that file does not exist. If the file cannot be read, there is no system path (ldso/dynlink.c,
 * load_library).
 */
function muslPath(loader: string, text: string): string {
  const builtin = /(?<![ -~])(\/[^\0:\n]*(?::\/[^\0:\n]*lib)+)\0/.exec(text)?.[1] ?? '/lib:/usr/local/lib:/usr/lib'
  const machine = /\/etc\/ld-musl-([^\0/]+)\.path\0/.exec(text)?.[1]
  if (machine === undefined) return builtin
  const prefix = loader.startsWith('/') ? loader.replace(/(?:^|\/)[^/]*\/[^/]*$/, '') : ''
  const path = `${prefix}/etc/ld-musl-${machine}.path`
  return readRegular(path, LARGEST_PATH_FILE)?.toString('utf8') ?? (existsSync(fsPath(path)) ? '' : builtin)
}
