// Small objects for the tests of the search: made by the linker alone from one empty object file, with whatever sonames,
// needed strings and search paths a rule is about; and what the real loader makes of them.
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { readElf } from '../../src/elf/read.ts'
import { withSource } from '../../src/io/source.ts'
import { readLoaderCache } from '../../src/ldso/cache/cache.ts'
import { identifyLibc } from '../../src/ldso/libc.ts'
import { fork, open, startProgram } from '../../src/ldso/process.ts'
import type { Loader, Process } from '../../src/ldso/search.ts'
import { diskTree } from '../../src/ldso/file-tree.ts'
import { run, runWell } from '../support/run.ts'

export interface ObjectOptions {
  /** DT_NEEDED strings, as they are to stand. */
  readonly needed?: readonly string[]
  /** DT_SONAME; by default the file's name, null for none. */
  readonly soname?: string | null
  readonly rpath?: string
  readonly runpath?: string
  /** More options for the linker: `-z nodefaultlib`, `--filter=NAME`. */
  readonly link?: readonly string[]
}

/** What a program's needs came to. */
export interface Answers {
  /** The real paths of all that is mapped below the workshop's folder but the program itself, sorted. */
  readonly found: readonly string[]
  /** The names that were not found, without folders, sorted. */
  readonly missing: readonly string[]
}

/** A folder to build in, for one C library. */
export interface Workshop {
  readonly root: string
  library(path: string, options?: ObjectOptions): string
  program(path: string, options?: ObjectOptions): string
  /** A program that opens its arguments in order with dlopen. */
  opener(path: string, options?: Pick<ObjectOptions, 'rpath' | 'runpath'>): string
  write(path: string, content: string | Buffer): string
  dispose(): void
}

/** The compiler and the loader's path of a C library. */
export interface Toolchain {
  readonly compiler: string
  readonly interpreter: string
  readonly openerFlags: readonly string[]
}

const OPENER = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
static int show(struct dl_phdr_info *info, size_t size, void *unused) { return puts(info->dlpi_name) < 0; }
int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) if (!dlopen(argv[i], RTLD_LAZY | RTLD_GLOBAL)) fprintf(stderr, "%s\\n", dlerror());
  return dl_iterate_phdr(show, 0);
}
`

/** `folder`: where paths begin; by default a folder of its own. `within`: where the scratch folder is made. */
export function workshop(
  { compiler, interpreter, openerFlags }: Toolchain,
  folder?: string,
  within = realpathSync(tmpdir()),
): Workshop {
  const scratch = mkdtempSync(join(within, 'wheelfix-objects-'))
  const root = folder ?? scratch
  const source = join(scratch, 'start.c')
  const start = join(scratch, 'start.o')
  writeFileSync(source, 'void _start(void) {}\n')
  runWell('gcc', ['-c', '-fpic', '-o', start, source])
  const opener = join(scratch, 'opener.c')
  writeFileSync(opener, OPENER)

  const stubs = new Map<string, string>()
  /** To get an arbitrary DT_NEEDED the object is linked with a library of that soname. */
  const stub = (soname: string): string => {
    let path = stubs.get(soname)
    if (path === undefined) {
      path = join(scratch, `stub${stubs.size}.so`)
      stubs.set(soname, path)
      runWell('ld', ['-shared', '-o', path, '-soname', soname, start])
    }
    return path
  }
  const make = (path: string, options: ObjectOptions, kind: readonly string[]): string => {
    const file = join(root, path)
    mkdirSync(dirname(file), { recursive: true })
    const soname = options.soname === undefined ? basename(file) : options.soname
    runWell('ld', [
      ...kind,
      '-o',
      file,
      '--no-as-needed',
      start,
      ...(kind[0] === '-shared' && soname !== null ? ['-soname', soname] : []),
      ...tags(options),
      ...(options.link ?? []),
      ...(options.needed ?? []).map(stub),
    ])
    return file
  }
  return {
    root,
    library: (path, options = {}) => make(path, options, ['-shared']),
    program: (path, options = {}) => make(path, options, ['-pie', '--dynamic-linker', interpreter]),
    opener(path, options = {}) {
      const file = join(root, path)
      mkdirSync(dirname(file), { recursive: true })
      const link = tags(options).map(flag => `-Wl,${flag}`)
      runWell(compiler, ['-o', file, opener, ...link, ...openerFlags])
      return file
    },
    write(path, content) {
      const file = join(root, path)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, content)
      return file
    },
    dispose: () => rmSync(scratch, { recursive: true }),
  }
}

function tags({ rpath, runpath }: ObjectOptions): string[] {
  return [
    ...(rpath === undefined ? [] : ['--disable-new-dtags', `-rpath=${rpath}`]),
    ...(runpath === undefined ? [] : ['--enable-new-dtags', `-rpath=${runpath}`]),
  ]
}

/** What the real loader makes of a program: glibc's and musl's both list what they would map. */
export function realAnswers(program: string, env: NodeJS.ProcessEnv = {}): Answers {
  // glibc answers to the variable, musl to being called as ldd
  const loader = objectOf(program).ptInterp ?? ''
  const { stdout, stderr } = /musl/.test(loader)
    ? run('bash', ['-c', 'exec -a ldd "$0" "$1"', loader, program], { env })
    : run(program, [], { env: { ...env, LD_TRACE_LOADED_OBJECTS: '1' } })
  const found = [...stdout.matchAll(/^\t(?:\S+ => )?(\/\S+) \(0x/gm)].map(([, path = '']) => path)
  const lost = [...stdout.matchAll(/^\t(\S+) => not found/gm), ...stderr.matchAll(/shared library (\S+): /g)]
  return tidy(
    found,
    lost.map(([, name = '']) => name),
  )
}

/** What a process of the opener maps of the libraries below the workshop's folder, and what dlopen says. */
export function realMaps(
  opener: string,
  paths: readonly string[],
  env: NodeJS.ProcessEnv = {},
): { found: readonly string[]; errors: string; crashed: boolean } {
  const { status, stdout, stderr } = run(opener, paths, { env })
  const mapped = stdout.split('\n').filter(path => path.startsWith('/') && path !== opener)
  return { found: tidy(mapped, []).found, errors: stderr, crashed: status >= 128 }
}

/** The loader, the libc and what the kernel maps are the same everywhere: only what was built counts. */
function tidy(found: readonly string[], missing: readonly string[]): Answers {
  const own = found.map(path => realpathSync(path)).filter(path => path.includes('/wheelfix-objects-'))
  return { found: [...new Set(own)].sort(), missing: [...new Set(missing.map(name => basename(name)))].sort() }
}

function objectOf(path: string) {
  return withSource(path, readElf)
}

/** The simulation's loader for a program. */
export function loaderOf(program: string, environment: readonly string[] = []): Loader {
  const libc = identifyLibc(program, objectOf(program), {})
  let cache: Loader['cache'] = []
  try {
    if (libc.cache !== null) cache = readLoaderCache(readFileSync(libc.cache))
  } catch {
    // no cache file
  }
  return { tree: diskTree(), libc, cache, environment }
}

/** A simulated process of the program. */
export function start(program: string, environment: readonly string[] = []): Process {
  const loader = loaderOf(program, environment)
  const file = loader.tree.open(program)
  if (file?.object == null) throw new Error(`${program} cannot be read`)
  return startProgram(loader, program, file.identity, file.object)
}

/** The simulated process after it opened `paths` in order. */
export function startAndOpen(program: string, paths: readonly string[]): Process {
  const process = fork(start(program))
  for (const path of paths) {
    const file = process.loader.tree.open(path)
    if (file?.object != null) open(process, process.main, path, file.identity, file.object)
  }
  return process
}

/** What the simulation says of a process. */
export function answersOf(process: Process): Answers {
  const needed = process.maps.flatMap(map => map.needed)
  return tidy(
    needed.flatMap(({ provider }) => (provider === null ? [] : [provider.path])),
    needed.flatMap(({ soname, provider }) => (provider === null ? [soname] : [])),
  )
}

/** The libraries that a simulated process has mapped of those below the workshop's folder. */
export function mapsOf(process: Process): readonly string[] {
  const paths = process.maps.map(map => map.path)
  return tidy(paths, []).found
}
