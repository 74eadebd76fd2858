// The garbage collector's roots of a venv: a link for each store path that it depends on, below .wheelfix/roots/, made
// known to Nix as indirect roots, so that a collection keeps what the venv needs. Where there is no Nix nothing is
// made. Knows links, not why the venv needs a path.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, renameSync, rmdirSync, rmSync, symlinkSync } from 'node:fs'
import { encodeText } from '../elf/text.ts'
import { errnoOf } from '../io/error.ts'
import { directoryOf, fileNameOf, fsPath, isWritable, makeFolders, namesIn, readLink, realFolder } from '../io/path.ts'
import { nixBase32 } from './daemon/base32.ts'
import { invalidPaths, knowsItsState } from './daemon/database.ts'
import { askDaemon, callDaemon, daemonSocket } from './daemon/daemon.ts'
import { runNixStore } from './program.ts'
import { parseStoreName, stateDirectory, storeDirectory, storePathOf } from './store.ts'

/** One store path and its link. */
interface Root {
  /** The link, absolute: `<venv>/.wheelfix/roots/zlib-1.3.1` */
  readonly link: string
  readonly storePath: string
  /** Nix's own link to it. */
  readonly registration: string
  /** `rooted`; `unregistered`: Nix does not know the link (the venv was moved or copied); `dead`: the path is gone. */
  readonly state: 'rooted' | 'unregistered' | 'dead' | 'absent'
}

export interface RootsReport {
  /** One for each store path asked for, in the order of their names; `absent` where no link could be made. */
  readonly roots: readonly Root[]
  /** Links that were made, registered again or removed by this call. */
  readonly changed: number
  /** A sentence about why some are not rooted; null when all are. */
  readonly problem: string | null
  /** Is there any Nix on this machine? Without one nothing is ever collected, and a problem is no news. */
  readonly hasNix: boolean
}

/**
 * Makes the venv's roots those of `paths` (store paths or anything below them; what is not in the store is left out):
 * makes and registers what is lacking, drops what is not in use. Changes nothing when nothing has to change.
 */
export function addRoots(stateFolder: string, paths: readonly string[], env: NodeJS.ProcessEnv): RootsReport {
  const before = checkRoots(stateFolder, paths, env)
  const lacking = before.roots.filter(root => root.state === 'absent' || root.state === 'unregistered')
  if (lacking.length === 0) {
    const changed = dropUnused(stateFolder, paths, env)
    return { ...checkRoots(stateFolder, paths, env), changed }
  }
  const invalid = invalidPaths(
    lacking.map(root => root.storePath),
    env,
  )
  const valid = lacking.filter(root => !invalid.has(root.storePath))
  let problem = valid.length === 0 ? null : register(valid, env)
  // behind the new ones: a link may only get another name, and a collection may be under way
  let changed = dropUnused(stateFolder, paths, env)
  for (const { link } of lacking) {
    if (isRegistered(link, env)) changed++
    // a link that nobody knows keeps nothing alive
    else rmSync(fsPath(link), { force: true })
  }
  removeEmpty(rootsFolder(stateFolder))
  const [first] = invalid
  if (first !== undefined) problem ??= `${first} is not in Nix's database, so nothing can protect it`
  const after = checkRoots(stateFolder, paths, env)
  return { ...after, changed, problem: problem ?? after.problem }
}

/** For a run over a venv without roots, which is going to add some: the end need not wait for what asking Nix takes. */
export function prepareRoots(stateFolder: string, env: NodeJS.ProcessEnv): void {
  const socket = knowsItsState(env) && namesIn(rootsFolder(stateFolder)).length === 0 ? daemonSocket(env) : null
  if (socket !== null) callDaemon(socket)
}

/** What is rooted, without changing anything; with the links of earlier runs whose store path is gone. */
export function checkRoots(stateFolder: string, paths: readonly string[], env: NodeJS.ProcessEnv): RootsReport {
  const folder = rootsFolder(stateFolder)
  const links = namesIn(folder)
  const wanted = nameLinks(paths, env).map(({ name, storePath }): Root => {
    const link = `${folder}/${name}`
    return { link, storePath, registration: registration(link, env), state: stateOf(link, storePath, env) }
  })
  const lost = links
    .map((name): Root => {
      const link = `${folder}/${name}`
      return { link, storePath: targetOf(link) ?? '', registration: registration(link, env), state: 'dead' }
    })
    .filter(({ link, storePath }) => !existsSync(fsPath(storePath)) && !wanted.some(root => root.link === link))
  const roots = [...wanted, ...lost]
  const dead = roots.find(root => root.state === 'dead')
  // a venv that wheelfix has no part in yet need not have any
  const isOurs = existsSync(fsPath(stateFolder))
  const open = wanted.filter(({ state }) => state === 'unregistered' || (state === 'absent' && isOurs)).length
  const problem =
    dead !== undefined
      ? `${dead.storePath} is gone from the store: run wheelfix venv, which takes what is there`
      : open > 0
        ? `${open} of ${wanted.length} store paths are not protected from nix-collect-garbage: run wheelfix venv`
        : null
  return { roots, changed: 0, problem, hasNix: hasNix(env) }
}

/** Removes all roots of a venv, and its folder of links. @returns how many there were */
export function dropRoots(stateFolder: string, env: NodeJS.ProcessEnv): number {
  return dropUnused(stateFolder, [], env)
}

/** The folder of the links; by its real path, for Nix keeps what it is told. */
function rootsFolder(stateFolder: string): string {
  return `${realFolder(stateFolder)}/roots`
}

/** Readable names for the links: as the store path without its hash; the hash's head tells two of one name apart. */
function nameLinks(paths: readonly string[], env: NodeJS.ProcessEnv): { name: string; storePath: string }[] {
  const store = storeDirectory(env)
  const storePaths = new Set(paths.flatMap(path => storePathOf(path, store) ?? []))
  const names = [...storePaths].sort().map(storePath => ({ storePath, name: storePath.slice(store.length + 34) }))
  return names
    .map(({ storePath, name }) => {
      const twins = names.filter(other => other.name === name).length
      const hash = parseStoreName(storePath.slice(store.length + 1))?.hash ?? ''
      return { storePath, name: twins > 1 ? `${name}-${hash.slice(0, 8)}` : name }
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

function stateOf(link: string, storePath: string, env: NodeJS.ProcessEnv): Root['state'] {
  if (!existsSync(fsPath(storePath))) return 'dead'
  if (targetOf(link) !== storePath) return 'absent'
  return isRegistered(link, env) ? 'rooted' : 'unregistered'
}

function targetOf(link: string): string | null {
  try {
    return readLink(link)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

/** Nix's own link to ours, in gcroots/auto. */
function registration(link: string, env: NodeJS.ProcessEnv): string {
  const hash = createHash('sha1').update(encodeText(link)).digest()
  return `${stateDirectory(env)}/gcroots/auto/${nixBase32(hash)}`
}

function isRegistered(link: string, env: NodeJS.ProcessEnv): boolean {
  return targetOf(registration(link, env)) === link
}

/** The folder of registrations comes with Nix. */
function hasNix(env: NodeJS.ProcessEnv): boolean {
  return existsSync(fsPath(`${stateDirectory(env)}/gcroots/auto`))
}

/** Makes the links and tells Nix of them. @returns why it could not, or null */
function register(lacking: readonly Root[], env: NodeJS.ProcessEnv): string | null {
  const nobody = 'nothing protects the libraries from nix-collect-garbage: '
  if (!knowsItsState(env)) return `${nobody}NIX_STORE_DIR is set, NIX_STATE_DIR is not`
  if (!hasNix(env)) return `${nobody}Nix is not installed here`
  const socket = daemonSocket(env)
  for (const root of lacking) replaceLink(root.link, root.storePath)
  if (socket !== null && registerByDaemon(socket, lacking)) return null
  // a store of one's own: what nix-store does, without a process for each
  if (isWritable(`${stateDirectory(env)}/gcroots/auto`)) {
    for (const { link } of lacking) replaceLink(registration(link, env), link)
    return null
  }
  return registerByProgram(lacking, env) ? null : `${nobody}neither the Nix daemon nor nix-store can be asked`
}

function registerByDaemon(socket: string, lacking: readonly Root[]): boolean {
  const answers = askDaemon(socket, { addRoots: lacking.map(root => root.link) })
  return answers !== null && answers.rootsAdded === lacking.length
}

function registerByProgram(lacking: readonly Root[], env: NodeJS.ProcessEnv): boolean {
  return lacking.every(({ link, storePath }) => {
    return runNixStore(['--realise', storePath, '--indirect', '--add-root', fsPath(link).toString()], env) !== null
  })
}

/** Puts a link in the place of what was there, by a rename, so that no moment is without one. */
function replaceLink(link: string, target: string): void {
  if (targetOf(link) === target) return
  // VENV/.wheelfix/roots/NAME; the state of a folder may stand in the user's state folder, which is there or not
  const folder = directoryOf(link)
  const state = directoryOf(folder)
  if (fileNameOf(state) === '.wheelfix') makeFolders(folder, directoryOf(state))
  else mkdirSync(fsPath(folder), { recursive: true })
  const temporary = `${link}.tmp${process.pid}`
  rmSync(fsPath(temporary), { force: true })
  symlinkSync(fsPath(target), fsPath(temporary))
  renameSync(fsPath(temporary), fsPath(link))
}

/** Removes the links that are not for one of `paths`. */
function dropUnused(stateFolder: string, paths: readonly string[], env: NodeJS.ProcessEnv): number {
  const folder = rootsFolder(stateFolder)
  const used = new Set(nameLinks(paths, env).map(({ name }) => `${folder}/${name}`))
  const unused = namesIn(folder)
    .map(name => `${folder}/${name}`)
    .filter(link => !used.has(link))
  for (const link of unused) {
    const known = registration(link, env)
    if (targetOf(link) !== null) rmSync(fsPath(link))
    // Nix drops registrations whose link is gone at its next collection; who may, does it now
    if (targetOf(known) === link) removeIfAllowed(known)
  }
  removeEmpty(folder)
  return unused.length
}

function removeIfAllowed(path: string): void {
  try {
    rmSync(fsPath(path))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

function removeEmpty(folder: string): void {
  try {
    rmdirSync(fsPath(folder))
  } catch (error) {
    // not there, or not empty
    if (errnoOf(error) === undefined) throw error
  }
}
