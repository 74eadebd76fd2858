// Stores for tests: folders that play /nix/store and /nix/var/nix, and a real Nix daemon where there is one.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'

/** A folder that is removed behind the test. */
export function scratch(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'wf-nix-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** The hash part of a store path. */
export function storeHash(seed: string): string {
  const digits = '0123456789abcdfghijklmnpqrsvwxyz'
  return [...createHash('sha256').update(seed).digest()].map(byte => digits[byte % 32] ?? '').join('')
}

export interface FakeStore {
  readonly store: string
  readonly env: NodeJS.ProcessEnv
  /** Makes a store path with empty files; `seed` tells two of one name apart. @returns the store path */
  readonly add: (name: string, files: readonly string[], seed?: string) => string
}

/** A store without Nix; with `auto` Nix's folder of registrations is there. */
export function fakeStore(folder: string, options: { readonly auto?: boolean } = {}): FakeStore {
  const store = join(folder, 'store')
  const state = join(folder, 'var')
  mkdirSync(store)
  if (options.auto === true) mkdirSync(join(state, 'gcroots/auto'), { recursive: true })
  return {
    store,
    env: { NIX_STORE_DIR: store, NIX_STATE_DIR: state, PATH: '/nonexistent' },
    add(name, files, seed = '') {
      const path = join(store, `${storeHash(name + seed)}-${name}`)
      mkdirSync(path, { recursive: true })
      for (const file of files) {
        mkdirSync(dirname(join(path, file)), { recursive: true })
        writeFileSync(join(path, file), '')
      }
      return path
    },
  }
}

/** Starts a Nix daemon with a socket of its own. @returns the environment that names it */
export async function startDaemon(t: TestContext, env: NodeJS.ProcessEnv): Promise<NodeJS.ProcessEnv> {
  const socket = join(scratch(t), 'socket')
  const full = { ...env, NIX_DAEMON_SOCKET_PATH: socket }
  const daemon = spawn('nix-daemon', [], { env: full, stdio: 'ignore' })
  t.after(() => daemon.kill())
  for (let left = 200; left > 0 && !existsSync(socket); left--) await setTimeout(25)
  return full
}
