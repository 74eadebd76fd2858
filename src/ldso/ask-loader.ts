// What glibc's loader reports about itself: its built-in directories, its subdirectories for this processor, its
// tokens. The loader is started and asked. If it may not be started, the strings in its file are read instead.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { decodeBytes } from '../elf/text.ts'
import { fsPath } from '../io/path.ts'
import type { LegacyHwcaps } from './cache/cache.ts'
import { loaderToAsk } from './runnable.ts'

/** As `loaderToAsk`. The store's folder comes from Nix's own variable, as in nix/store.ts. */
export function startable(loader: string, env: NodeJS.ProcessEnv): string | null {
  return loaderToAsk(loader, env['NIX_STORE_DIR'] || '/nix/store')
}

/**
 * The built-in directories. glibc compiles them in as one array, each with a slash and a NUL at its end (elf/dl-load.c,
 * `system_dirs`). If several runs of strings look like that, the one with a libc in its directories is taken.
 */
export function glibcDirectories(text: string): string[] {
  const runs = [...text.matchAll(/(?<![ -~])(?:\/[ -~]+\/\0)+/g)].map(([run]) =>
    run
      .split('\0')
      .filter(directory => directory !== '')
      .map(directory => directory.replace(/\/+$/, '')),
  )
  const run = runs.find(directories => directories.some(directory => existsSync(fsPath(`${directory}/libc.so.6`))))
  return [...new Set(run ?? runs.toSorted((a, b) => b.length - a.length)[0])]
}

/**
 * The path of ld.so.cache in the strings of a loader; null without one. The usage text also contains the path, but the path
 * that the loader uses ends with a NUL.
 */
export function cachePath(text: string): string | null {
  const path = /(?<![ -~])(\/[^\0\n]*\/ld\.so\.cache)\0/.exec(text)?.[1]
  return path === undefined ? null : decodeBytes(Buffer.from(path, 'latin1'))
}

interface Release {
  /** The text in brackets before the version: `GNU libc`, `Debian GLIBC 2.36-9+deb12u9`. */
  readonly vendor: string
  readonly version: string
}

/** Reads the text that libc.so.6 prints when it is run; null without it. The loader contains it since glibc 2.33. */
export function releaseOf(text: string): Release | null {
  const [, vendor = '', version] = /(?:\(([^()\0]*)\) \w+)? release version (\d+\.\d+(?:\.\d+)*)/.exec(text) ?? []
  return version === undefined ? null : { vendor, version }
}

export interface Diagnostics {
  readonly lib: string
  readonly platform: string
  readonly hwcaps: readonly string[]
  readonly legacyHwcaps: LegacyHwcaps | null
}

/**
 * The output of `ld.so --list-diagnostics` (glibc 2.33 and newer). For a loader that cannot or must not be started
 * (null), the strings in its file are used.
 */
export function askLoader(loader: string | null, text: string, builtinDirectories: readonly string[]): Diagnostics {
  const said = new Map<string, string>()
  if (text.includes('--list-diagnostics') && loader !== null) {
    // an empty environment: LD_* and GLIBC_TUNABLES change the answer
    const { stdout } = spawnSync(loader, ['--list-diagnostics'], {
      env: {},
      encoding: 'latin1',
      timeout: 5000,
      killSignal: 'SIGKILL',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    // strings are in quotes; values without quotes are null pointers or numbers
    for (const [, key = '', string, number = ''] of (stdout ?? '').matchAll(/^(\w+)=(?:"(.*)"|(\w+))$/gm)) {
      said.set(key, string ?? (/^dl_hwcap(?:$|_important$|s_subdirs_active$)/.test(key) ? number : ''))
    }
  }
  const active = Number(said.get('dl_hwcaps_subdirs_active') ?? 0)
  const subdirectories = said.get('dl_hwcaps_subdirs') ?? ''
  // glibc 2.37 and newer have no dl_hwcap_important
  const [bits, important] = [said.get('dl_hwcap'), said.get('dl_hwcap_important')]
  const hasLegacy = bits !== undefined && important !== undefined
  return {
    legacyHwcaps: hasLegacy
      ? { bits: BigInt(bits) & BigInt(important), platform: said.get('dl_platform') ?? '' }
      : null,
    lib: said.get('dl_dst_lib') ?? guessLib(builtinDirectories),
    platform: said.get('dl_platform') ?? /(?<![ -~])(x86_64|i686|aarch64|v7l)\0/.exec(text)?.[1] ?? '',
    hwcaps: subdirectories.split(':').filter((name, index) => name !== '' && (active & (1 << index)) !== 0),
  }
}

/** A folder that does not exist: the loader prints the subdirectories that it would search there. */
const NOWHERE = '/wheelfix-nowhere'

/**
 * Makes the loader print a search path (every glibc can). For a loader that is not started there are no subdirectories.
 */
export function askSubdirectories(loader: string | null, libc: string): string[] {
  if (loader === null) return []
  const { stderr } = spawnSync(loader, ['--list', libc], {
    // a library that cannot be preloaded is not an error, so the loader is made to search for one that does not exist
    env: { LD_DEBUG: 'libs', LD_LIBRARY_PATH: NOWHERE, LD_PRELOAD: 'wheelfix-none' },
    encoding: 'latin1',
    timeout: 5000,
    killSignal: 'SIGKILL',
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const path = new RegExp(`search path=(${NOWHERE}\\S*)`).exec(stderr ?? '')?.[1] ?? ''
  const below = path.split(':').filter(directory => directory.startsWith(`${NOWHERE}/`))
  return [...new Set(below.map(directory => directory.slice(NOWHERE.length + 1)))]
}

/** `$LIB` is the libc's slibdir without its prefix, and slibdir is the first of the built-in directories. */
function guessLib(builtinDirectories: readonly string[]): string {
  for (const directory of builtinDirectories) {
    const lib = /^\/(lib\/[^/]+-linux-[^/]+|lib64|lib32|libx32)$/.exec(directory)?.[1]
    if (lib !== undefined) return lib
  }
  return 'lib'
}
