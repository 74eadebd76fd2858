// The comparison with the real loader over a venv with packages in it, from unpatched to patched, moved, copied and
// patched again from another order of directory listings.
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isElf } from '../../src/elf/read.ts'
import { withSource } from '../../src/io/source.ts'
import { listDirectory } from '../../src/io/path.ts'
import { runWell } from '../support/run.ts'
import { hashFile } from '../support/tree.ts'
import { wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { compareVenv, type Comparison } from './compare.ts'

/** What was compared, in the order in which it is done. */
export interface Stage {
  readonly name: 'before' | 'patched' | 'moved' | 'copied'
  readonly comparison: Comparison
}

/** Takes the venv through all stages; `done` gets each one's result. The venv is at its first place again afterwards, patched. */
export function compareStages(world: World, venv: string, libs: readonly string[], done: (stage: Stage) => void): void {
  const compare = (name: Stage['name'], root: string) => done({ name, comparison: compareVenv(root, world.env) })
  compare('before', venv)
  patch(world, venv, libs)
  compare('patched', venv)
  const other = `${venv}-moved`
  renameSync(venv, other)
  compare('moved', other)
  runWell('cp', ['-a', other, venv])
  rmSync(other, { recursive: true })
  compare('copied', venv)
}

function patch(world: World, venv: string, libs: readonly string[], env: NodeJS.ProcessEnv = {}): void {
  const flags = libs.flatMap(directory => ['--libs', directory])
  const { status, stderr } = wheelfix(world, ['venv', '--quiet', '--no-scan', ...flags, venv], env)
  if (status === 2) throw new Error(stderr)
}

/** node:fs with every listing the other way round. */
const REVERSED = `
const fs = require('node:fs'); const { readdirSync } = fs
fs.readdirSync = (...args) => readdirSync(...args).reverse()
`

/** The objects whose bytes depend on the order in which the disk lists directories. */
export function orderDependent(world: World, venv: string, libs: readonly string[]): string[] {
  const hook = join(world.root, 'reversed.cjs')
  writeFileSync(hook, REVERSED)
  const run = (env: NodeJS.ProcessEnv) => {
    wheelfix(world, ['restore', venv])
    patch(world, venv, libs, env)
    return hashesOf(venv)
  }
  const forwards = run({})
  const backwards = run({ NODE_OPTIONS: `--require=${hook}` })
  return [...forwards].filter(([path, hash]) => backwards.get(path) !== hash).map(([path]) => path)
}

function hashesOf(folder: string, into = new Map<string, string>()): Map<string, string> {
  for (const { name, kind } of listDirectory(folder)) {
    const path = `${folder}/${name}`
    if (kind === 'directory' && name !== '.wheelfix') hashesOf(path, into)
    else if (kind === 'file' && isObject(path)) into.set(path, hashFile(path))
  }
  return into
}

function isObject(path: string): boolean {
  return withSource(path, source => isElf(source.read(0, Math.min(4, source.size))))
}
