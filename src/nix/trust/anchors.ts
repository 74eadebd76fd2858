// Links of root's and of one's own to store paths: what they lead to was installed by somebody whom the user trusts anyway.
// Anybody may have the daemon register a link (gcroots/auto), so what counts is whose the link is, and where it is.
import { lstatSync, statfsSync } from 'node:fs'
import { userInfo } from 'node:os'
import { basename, dirname, isAbsolute, join } from 'node:path'
import { errnoOf } from '../../io/error.ts'
import { fsPath, isInside, namesIn, readLink, realPath } from '../../io/path.ts'
import { stateDirectory, storeDirectory, storePathOf } from '../store.ts'

/** Where links are looked for; named, so that tests can have a system of their own. */
export interface AnchorPlaces {
  /** NixOS's link to the system that runs. */
  readonly system: string
  /** Home folders: one's own and root's. */
  readonly homes: readonly string[]
}

/** Those of this machine. The home is that of the user database, since HOME may be another user's (sudo). */
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

/** The store paths of the running system and of root's and one's own profiles. */
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

/** A root that wheelfix made keeps what an earlier run chose: it proves nothing. */
const OWN_ROOT = /\/\.wheelfix\/|\/wheelfix\/(?:.*\/)?roots\/[^/]+$/

/** The store paths that registered links of root's and one's own lead to: builds, shells, projects. */
export function registeredPaths(env: NodeJS.ProcessEnv): string[] {
  const links = linksIn(`${stateDirectory(env)}/gcroots/auto`).flatMap(registration => {
    const link = readLinkOrNull(registration)
    return link === null || OWN_ROOT.test(link) ? [] : [link]
  })
  return targets(links, env)
}

/** The folders whose links decide: a new link may make trusted what was not. */
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

/** A profile is a link to a generation, which is a link to the store; more steps than these lead nowhere. */
const MOST_STEPS = 16

/**
 * The store path that a link leads to, if each link on the way is root's or one's own and lies where its owner can be
 * believed. A link inside the store is root's, too, but its content is anybody's: the way must not lead over one.
 */
function ownedTarget(link: string, store: string): string | null {
  try {
    let path = link
    for (let step = 0; step < MOST_STEPS; step++) {
      const folder = realPath(dirname(path))
      const place = join(folder, basename(path))
      if (isInside(folder, realPath(store)) || !tellsOwners(folder)) return null
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

/** File systems whose links have owners that another user can choose (linux/magic.h; a FUSE server says what it likes). */
const PROC_SUPER_MAGIC = 0x9fa0
const FUSE_SUPER_MAGIC = 0x65735546

/** /proc/PID/cwd of a program that runs as root is root's, and leads where its starter was. */
function tellsOwners(folder: string): boolean {
  const { type } = statfsSync(fsPath(folder))
  return type !== PROC_SUPER_MAGIC && type !== FUSE_SUPER_MAGIC
}

function readLinkOrNull(path: string): string | null {
  try {
    return readLink(path)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}
