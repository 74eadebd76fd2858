// The ways to make the wheels of a venv find their libraries, each as a command line: wheelfix, and its peers on PATH. A
// newer patchelf has the name patchelf-newest there.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { isElf, readElf } from '../src/elf/read.ts'
import { withSource } from '../src/io/source.ts'
import { which } from '../test/support/requires.ts'
import { WHEELFIX } from '../test/world/venv.ts'
import type { World } from '../test/world/world.ts'

export interface Contender {
  readonly name: string
  /** undefined if this way changes no file. */
  readonly command: ((world: World, venv: string) => readonly string[]) | undefined
  /** The environment variables that a Python of the venv needs afterwards. */
  readonly env?: (world: World) => NodeJS.ProcessEnv
}

export const JOBS = String(availableParallelism())

const WHEELFIX_VENV: Contender = {
  name: 'wheelfix venv',
  command: (world, venv) => [
    process.execPath,
    WHEELFIX,
    'venv',
    venv,
    '--libs',
    world.libs.gcc,
    '--libs',
    world.libs.zlib,
  ],
}

/** LD_LIBRARY_PATH, without a patch. Every child process inherits it. */
const LIBRARY_PATH: Contender = {
  name: 'LD_LIBRARY_PATH',
  command: undefined,
  env: world => ({ LD_LIBRARY_PATH: `${world.libs.gcc}:${world.libs.zlib}` }),
}

/** The loop that people write: one process of patchelf for each object, on all processors. */
function patchelfLoop(title: string, patchelf: string): Contender {
  return {
    name: `${title} --force-rpath --set-rpath, ${JOBS} at a time`,
    command: (world, venv) => [
      '/bin/sh',
      '-c',
      `printf '%s\\0' "$@" | xargs -0 -P ${JOBS} -n 1 ${patchelf} --force-rpath --set-rpath ${world.libs.gcc}:${world.libs.zlib}`,
      'sh',
      ...dynamicObjects(venv),
    ],
  }
}

/** wheelfix comes first, because the others are compared with it. */
export function contenders(): Contender[] {
  const like = (program: string): Contender[] => {
    const path = which(program)
    if (path === undefined) return []
    const libs = (world: World): string[] => ['--libs', world.libs.gcc, world.libs.zlib]
    return [{ name: program, command: (world, venv) => [path, '--paths', venv, ...libs(world), '--ignore-missing=*'] }]
  }
  return [
    WHEELFIX_VENV,
    ...['patchelf', 'patchelf-newest'].flatMap(name => {
      const path = which(name)
      return path === undefined ? [] : [patchelfLoop(name, path)]
    }),
    ...like('auto-patchelf'),
    ...like('auto-formatelf'),
    LIBRARY_PATH,
  ]
}

/** A folder like nixpkgs' bintools. auto-patchelf and auto-formatelf read from it where the loader and the libc are. */
export function makeBintools(world: World): string {
  const folder = join(world.root, 'bintools')
  const support = join(folder, 'nix-support')
  const loader = readdirSync(world.libs.glibc).find(name => /^ld-linux.*\.so\.\d+$/.test(name)) ?? ''
  mkdirSync(support, { recursive: true })
  writeFileSync(join(support, 'dynamic-linker'), `${join(world.libs.glibc, loader)}\n`)
  writeFileSync(join(support, 'orig-libc'), `${dirname(world.libs.glibc)}\n`)
  return folder
}

/** The dynamic objects of a venv. Both wheelfix and a loop over `find` examine these. */
export function dynamicObjects(venv: string): string[] {
  return files(venv).filter(path =>
    withSource(path, source => source.size >= 64 && isElf(source.read(0, 4)) && readElf(source).dynamic !== null),
  )
}

export function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
}
