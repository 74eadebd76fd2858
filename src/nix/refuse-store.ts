// Files of the Nix store never change: Nix identifies each package by the hash of its content, and other users share it.
import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { WheelfixError } from '../io/error.ts'
import { fsPath, isInside, realPathOrNull } from '../io/path.ts'
import { storeDirectory, storePathOf } from './store.ts'

/**
 * Refuses to write into the store, into a folder of it, or into a folder that holds it. The exception is a build that makes
 * the folder. The folder is then one of the outputs that Nix names in the builder's environment.
 * @throws WheelfixError `IO`
 */
export function refuseStore(root: string, env: NodeJS.ProcessEnv): void {
  refuse(
    root,
    env,
    true,
    'make an environment outside the store, or have Nix make one that is patched (fixVenv of the flake)',
  )
}

/**
 * Refuses to write files into a folder of the store, with the same exception.
 * @param advice the second half of the sentence
 * @throws WheelfixError `IO`
 */
export function refuseStoreOutput(folder: string, env: NodeJS.ProcessEnv, advice: string): void {
  refuse(folder, env, false, advice)
}

function refuse(root: string, env: NodeJS.ProcessEnv, orHolding: boolean, advice: string): void {
  const roots = withTarget(root)
  const stores = [...withTarget(storeDirectory(env)), ...roots.flatMap(otherStore)]
  const place = roots.some(root => stores.includes(root))
    ? 'is the Nix store'
    : roots.some(root => stores.some(store => isInside(root, store)))
      ? 'is in the Nix store'
      : orHolding && roots.some(root => stores.some(store => isInside(store, root)))
        ? 'holds the Nix store'
        : null
  if (place === null || isOutput(roots, stores, env)) return
  throw new WheelfixError('IO', `${root} ${place}, whose files do not change: ${advice}`, root)
}

function isOutput(roots: readonly string[], stores: readonly string[], env: NodeJS.ProcessEnv): boolean {
  if (env['NIX_BUILD_TOP'] === undefined) return false
  const values = new Set(Object.values(env))
  return roots.some(root =>
    stores.some(store => {
      const storePath = storePathOf(root, store)
      return storePath !== null && values.has(storePath)
    }),
  )
}

/**
 * The store that a path is in, although no variable names it, such as that of a user without root
 * (~/.local/share/nix/root/nix/store).
 */
function otherStore(path: string): string[] {
  const store = /^.*\/nix\/store(?=$|\/)/.exec(path)?.[0]
  return store === undefined || !isStore(store) ? [] : [store]
}

/**
 * Is the folder a Nix store, by its name and by the state of Nix beside it? The name alone proves nothing: pre-commit calls a
 * folder py_env-/nix/store/… after the Python of an environment.
 */
export function isStore(directory: string): boolean {
  return directory.endsWith('/nix/store') && existsSync(fsPath(join(dirname(directory), 'var/nix')))
}

/** The path, and the path that its links lead to. */
function withTarget(path: string): string[] {
  return [path, realTarget(path)]
}

/** The path without links. The end of it need not exist yet. */
function realTarget(path: string): string {
  const real = realPathOrNull(path)
  if (real !== null) return real
  return path === dirname(path) ? path : join(realTarget(dirname(path)), basename(path))
}
