// What the host has that a world can be built from: a Python, a glibc, and libraries by soname. Only reads, and asks only
// the host's Python and the host's loader, so that it works where nothing else is installed.
import { existsSync, realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { interpreterOf } from '../support/elf.ts'
import { which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'

/** A Python as it is installed, not a venv of it. */
export interface HostPython {
  /** `3.11.2` */
  readonly version: string
  /** The ELF file that runs. */
  readonly executable: string
  /** Its prefix, and below it the standard library, the folder of its extension modules. */
  readonly prefix: string
  readonly stdlib: string
  readonly dynload: string
}

export interface Host {
  readonly python: HostPython
  /** The program interpreter of that Python: the glibc loader. */
  readonly loader: string
  /** The real folder of libc.so.6. */
  readonly libcDirectory: string
  /** `2.36` */
  readonly libcVersion: string
}

const ASK_PYTHON = `
import json, os, platform, sys, sysconfig
print(json.dumps({
  "version": platform.python_version(),
  "executable": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
  "prefix": sys.base_prefix,
  "stdlib": os.path.dirname(os.__file__),
  "dynload": next((p for p in sys.path if p.endswith("lib-dynload")), ""),
  "libcVersion": os.confstr("CS_GNU_LIBC_VERSION").split()[-1],
}))`

/**
 * Looks at the host's Python, by default `python3` of PATH.
 * @returns the host, or the reason why no world can be built on it
 */
export function findHost(program = which('python3')): Host | string {
  if (program === undefined) return 'needs Python 3 (python3 on PATH)'
  if (process.platform !== 'linux') return 'needs Linux'
  const asked = run(program, ['-I', '-c', ASK_PYTHON])
  if (asked.status !== 0) return `${program} is no usable Python on glibc: ${asked.stderr.trim().split('\n').at(-1)}`
  const { libcVersion, ...python } = JSON.parse(asked.stdout) as HostPython & { libcVersion: string }
  if (python.dynload === '') return `${program} has no lib-dynload folder`
  const loader = interpreterOf(python.executable)
  if (loader === null) return `${python.executable} is not linked dynamically`
  const libc = traceLibraries({ python, loader }, []).get('libc.so.6')
  if (libc === undefined) return `${python.executable} does not use glibc`
  return { python, loader, libcDirectory: dirname(realpathSync(libc)), libcVersion }
}

/**
 * The files that the host's loader finds for each soname, when its Python starts with `objects` (paths or sonames)
 * preloaded. What is not found is left out.
 */
export function traceLibraries(
  { python, loader }: Pick<Host, 'python' | 'loader'>,
  objects: readonly string[],
): Map<string, string> {
  const text = runWell(loader, [python.executable], {
    env: { LD_TRACE_LOADED_OBJECTS: '1', LD_PRELOAD: objects.join(':') },
  })
  const found = new Map<string, string>()
  for (const [, soname, path] of text.matchAll(/^\t(\S+) => (\/.*) \(0x[0-9a-f]+\)$/gm)) {
    if (soname !== undefined && path !== undefined) found.set(basename(soname), path)
  }
  return found
}

/** The sonames that belong to glibc itself and never come from another package. */
export const GLIBC_SONAME =
  /^(ld-linux.*|ld64|lib(c|m|dl|pthread|rt|util|resolv|anl|mvec|BrokenLocale|nsl|nss_.*|thread_db))\.so\.\d+$/

/** The libraries of the host's glibc that exist on it, by soname. */
export function glibcLibraries(host: Host): string[] {
  const names =
    'c.so.6 m.so.6 dl.so.2 pthread.so.0 rt.so.1 util.so.1 resolv.so.2 anl.so.1 mvec.so.1 nss_files.so.2 nss_dns.so.2 BrokenLocale.so.1 nsl.so.1 thread_db.so.1'
  return names
    .split(' ')
    .map(name => join(host.libcDirectory, `lib${name}`))
    .filter(path => existsSync(path))
}
