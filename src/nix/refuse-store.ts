// Files of the Nix store never change: Nix identifies each package by the hash of its content, and other users share it.
import { errnoOf, WheelfixError } from '../io/error.ts'
import { realPath } from '../io/path.ts'
import { storeDirectory, storePathOf } from './store.ts'

/**
 * Refuses to write into a folder of the store. The exception is a build that makes the folder. The folder is then one of the
 * outputs that Nix names in the builder's environment.
 * @throws WheelfixError `IO`
 */
export function refuseStore(root: string, env: NodeJS.ProcessEnv): void {
  const storePath = inStore(root, env)
  if (storePath === null) return
  const isOutput = env['NIX_BUILD_TOP'] !== undefined && Object.values(env).includes(storePath)
  if (isOutput) return
  throw new WheelfixError(
    'IO',
    `${root} is in the Nix store, whose files do not change: make an environment outside the store, or have Nix make one that is ` +
      'patched (fixVenv of the flake)',
    root,
  )
}

/** The store path that holds a folder, by the folder's name or by the target of its links. */
function inStore(root: string, env: NodeJS.ProcessEnv): string | null {
  const store = storeDirectory(env)
  try {
    return (
      storePathOf(root, store) ?? storePathOf(realPath(root), store) ?? storePathOf(realPath(root), realPath(store))
    )
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}
