// Links to store paths that belong to root or to the user. Root or the user installed what such a link leads to, and the
// user trusts both. Any user may have the daemon register a link (gcroots/auto), so the owner and the place of the link
// count.
import { lstatSync, statfsSync } from 'node:fs'
import { userInfo } from 'node:os'
import { basename, dirname, isAbsolute, join } from 'node:path'
import { errnoOf } from '../../io/error.ts'
import { fsPath, isInside, namesIn, readLink, readLinkOrNull, realPath } from '../../io/path.ts'
import { stateDirectory, storeDirectory, storePathOf } from '../store.ts'

/** The places of these links. They are parameters, so that tests can have their own system. */
export interface AnchorPlaces {
  /** NixOS's link to the running system. */
  readonly system: string
  /** Home folders: the user's and root's. */
  readonly homes: readonly string[]
}

/** The places of this machine. The home comes from the user database, because HOME may be another user's (sudo). */
export function usualPlaces(env: NodeJS.ProcessEnv): AnchorPlaces {
  return { system: '/run/current-system', homes: [...new Set([homeFolder(env), '/root'])] }
}

function homeFolder(env: NodeJS.ProcessEnv): string {
  try {
    return userInfo().homedir
  } catch {
    // a user whom the user database does not know
    return env['HOME'] ?? '/'
  }
}

/** The store paths of the running system, and of the profiles of root and of the user. */
export function profilePaths(env: NodeJS.ProcessEnv, { system, homes }: AnchorPlaces): string[] {
  const profiles = `${stateDirectory(env)}/profiles`
  const state = env['XDG_STATE_HOME'] ?? ''
  const folders = [
    profiles,
    ...namesIn(`${profiles}/per-user`).map(name => `${profiles}/per-user/${name}`),
    ...homes.map(home => `${home}/.local/state/nix/profiles`),
    ...(isAbsolute(state) ? [`${state}/nix/profiles`] : []),
  ]
  const links = [system, ...homes.map(home => `${home}/.nix-profile`), ...folders.flatMap(linksIn)]
  return targets(links, env)
}

/** A root that wheelfix made only keeps the choice of an earlier run, so it proves nothing. */
const OWN_ROOT = /\/\.wheelfix\/|\/wheelfix\/(?:.*\/)?roots\/[^/]+$/

/** The store paths to which registered links of root and of the user lead: builds, shells, projects. */
export function registeredPaths(env: NodeJS.ProcessEnv): string[] {
  const links = linksIn(`${stateDirectory(env)}/gcroots/auto`).flatMap(registration => {
    const link = readLinkOrNull(registration)
    return link === null || OWN_ROOT.test(link) ? [] : [link]
  })
  return targets(links, env)
}

/** The folders whose links decide. A new link may make a path trusted. */
export function anchorFolders(env: NodeJS.ProcessEnv): string[] {
  return [`${stateDirectory(env)}/profiles`, `${stateDirectory(env)}/gcroots/auto`]
}

function linksIn(folder: string): string[] {
  return namesIn(folder).map(name => `${folder}/${name}`)
}

function targets(links: readonly string[], env: NodeJS.ProcessEnv): string[] {
  const store = storeDirectory(env)
  return [...new Set(links.flatMap(link => ownedTarget(link, store) ?? []))]
}

/** The most steps of a link chain. A profile is a link to a generation, which is a link to the store. */
const MOST_STEPS = 16

/**
 * The store path to which a link leads. Each link on the way must belong to root or the user, and be in a place that shows
 * its true owner. A link inside the store belongs to root too, but any user may have written its content. So no link inside
 * the store may be on the way.
 */
function ownedTarget(link: string, store: string): string | null {
  try {
    let path = link
    for (let step = 0; step < MOST_STEPS; step++) {
      const folder = realPath(dirname(path))
      const place = join(folder, basename(path))
      if (isInside(folder, realPath(store)) || !showsTrueOwners(folder)) return null
      const status = lstatSync(fsPath(place))
      if (!status.isSymbolicLink() || !isTrustedOwner(status.uid)) return null
      const target = readLink(place)
      path = isAbsolute(target) ? target : join(folder, target)
      const storePath = storePathOf(path, store)
      if (storePath !== null) return storePath
    }
    return null
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

function isTrustedOwner(uid: number): boolean {
  return uid === 0 || uid === process.getuid?.()
}

/** File systems on which another user can choose the owner of a link (linux/magic.h; a FUSE server reports any owner). */
const PROC_SUPER_MAGIC = 0x9fa0
const FUSE_SUPER_MAGIC = 0x65735546

/**
 * Does the folder show the true owners of links? /proc/PID/cwd of a program that runs as root belongs to root, and leads to
 * a folder that the user who started it chose.
 */
function showsTrueOwners(folder: string): boolean {
  const { type } = statfsSync(fsPath(folder))
  return type !== PROC_SUPER_MAGIC && type !== FUSE_SUPER_MAGIC
}
