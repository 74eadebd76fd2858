// The ways to make the wheels of a venv find their libraries, each as a command line: wheelfix, and its peers on PATH. A
// newer patchelf has the name patchelf-newest there.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { isElf, readElf } from '../src/elf/read.ts'
import { withSource } from '../src/io/source.ts'
import { which } from '../test/support/requires.ts'
import { runWell } from '../test/support/run.ts'
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
function patchelfLoop(patchelf: string): Contender {
  return {
    name: `${runWell(patchelf, ['--version']).trim()} in a loop, ${JOBS} at a time`,
    command: (world, venv) => [
      '/bin/sh',
      '-c',
      `printf '%s\\0' "$@" | xargs -0 -P ${JOBS} -n 1 ${patchelf} --force-rpath --set-rpath ${world.libs.gcc}:${world.libs.zlib}`,
      'sh',
      ...dynamicObjects(venv),
    ],
  }
}

/** auto-patchelf and auto-formatelf, which understand the same options. */
function hook(program: string): Contender {
  return {
    name: basename(program),
    command: ({ libs }, venv) => [program, '--paths', venv, '--libs', libs.gcc, libs.zlib, '--ignore-missing=*'],
  }
}

const PEERS: Readonly<Record<string, (program: string) => Contender>> = {
  patchelf: patchelfLoop,
  'patchelf-newest': patchelfLoop,
  'auto-patchelf': hook,
  'auto-formatelf': hook,
}

/**
 * wheelfix comes first, because the others are compared with it.
 * @param chosen names of peers; null for all that are on PATH
 * @throws Error if a chosen peer is unknown or not on PATH
 */
export function contenders(chosen: readonly string[] | null): Contender[] {
  const names = chosen ?? Object.keys(PEERS)
  const peers = names.flatMap(name => {
    const contender = PEERS[name]
    if (contender === undefined) throw new Error(`no peer ${name}: the peers are ${Object.keys(PEERS).join(', ')}`)
    const program = which(name)
    if (program !== undefined) return [contender(program)]
    if (chosen !== null) throw new Error(`${name} is not on PATH`)
    console.error(`${name} is not on PATH, so it is not measured`)
    return []
  })
  return [WHEELFIX_VENV, ...peers, LIBRARY_PATH]
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
