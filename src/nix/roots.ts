// The roots of a venv for the garbage collector: a link below .wheelfix/roots/ for each store path that the venv depends on.
// Nix knows these links as indirect roots, so a collection keeps what the venv needs. Without Nix this file makes no links.
// It does not know why the venv needs a path.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { encodeText } from '../elf/text.ts'
import { errnoOf } from '../io/error.ts'
import { directoryOf, fileNameOf, fsPath, isWritable, namesIn, readLinkOrNull, realFolder } from '../io/path.ts'
import { makeFolders, removeEmptyFolder, removeFile } from '../io/write/folder.ts'
import { replaceLink } from '../io/write/replace.ts'
import { agree, count } from '../io/words.ts'
import { nixBase32 } from './daemon/base32.ts'
import { invalidPaths, knowsItsState } from './daemon/database.ts'
import { askDaemon, startDaemonThread, daemonSocket } from './daemon/daemon.ts'
import { runNixStore } from './program.ts'
import { parseStoreName, stateDirectory, storeDirectory, storePathOf } from './store.ts'

/** One store path and its link. */
interface Root {
  /** The link, absolute: `<venv>/.wheelfix/roots/zlib-1.3.1`. */
  readonly link: string
  readonly storePath: string
  /** Nix's own link to this link. */
  readonly registration: string
  /** `rooted`; `unregistered`: Nix does not know the link (the venv was moved or copied); `dead`: the path is gone. */
  readonly state: 'rooted' | 'unregistered' | 'dead' | 'absent'
}

export interface RootsReport {
  /** One root for each requested store path, in the order of their names. `absent`: no link could be made. */
  readonly roots: readonly Root[]
  /** The number of links that this call made, registered again or removed. */
  readonly changed: number
  /** A sentence that says why some paths are not rooted; null when all are. */
  readonly problem: string | null
  /** Does this machine have Nix? Without Nix nothing is ever collected, so a problem is not worth a report. */
  readonly hasNix: boolean
}

/**
 * Makes the roots of the venv equal to `paths`: makes and registers missing roots, and drops unused ones. `paths` may be
 * store paths or anything below them. Other paths are left out. Changes nothing when nothing has to change.
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
  // runs after the new links exist: a link may only get another name, and its path must stay protected from a collection that
  // runs now
  let changed = dropUnused(stateFolder, paths, env)
  for (const { link } of lacking) {
    if (isRegistered(link, env)) changed++
    // a link that Nix does not know keeps nothing alive
    else removeFile(link)
  }
  removeEmptyFolder(rootsFolder(stateFolder))
  const [first] = invalid
  if (first !== undefined) problem ??= `${first} is not in Nix's database, so nothing can protect it`
  const after = checkRoots(stateFolder, paths, env)
  return { ...after, changed, problem: problem ?? after.problem }
}

/**
 * Prepares a run that will add the first roots of a venv. Asks Nix early, so that the end of the run does not wait for the
 * answer.
 */
export function prepareRoots(stateFolder: string, env: NodeJS.ProcessEnv): void {
  const socket = knowsItsState(env) && namesIn(rootsFolder(stateFolder)).length === 0 ? daemonSocket(env) : null
  if (socket !== null) startDaemonThread(socket)
}

/** The rooted paths, and the links of earlier runs whose store path is gone. Changes nothing. */
export function checkRoots(stateFolder: string, paths: readonly string[], env: NodeJS.ProcessEnv): RootsReport {
  const folder = rootsFolder(stateFolder)
  const links = namesIn(folder)
  const wanted = nameLinks(paths, env).map(({ name, storePath }): Root => {
    const link = `${folder}/${name}`
    return { link, storePath, registration: registration(link, env), state: rootState(link, storePath, env) }
  })
  const lost = links
    .map((name): Root => {
      const link = `${folder}/${name}`
      return { link, storePath: readLinkOrNull(link) ?? '', registration: registration(link, env), state: 'dead' }
    })
    .filter(({ link, storePath }) => !existsSync(fsPath(storePath)) && !wanted.some(root => root.link === link))
  const roots = [...wanted, ...lost]
  const dead = roots.find(root => root.state === 'dead')
  // a venv without a state folder needs no roots yet
  const isOurs = existsSync(fsPath(stateFolder))
  const open = wanted.filter(({ state }) => state === 'unregistered' || (state === 'absent' && isOurs)).length
  const problem =
    dead !== undefined
      ? `${dead.storePath} is gone from the store: run wheelfix venv, which chooses from the libraries that exist now`
      : open > 0
        ? `${open} of ${count(wanted.length, 'store path')} ${agree(open, 'is', 'are')} not protected from nix-collect-garbage: ` +
          'run wheelfix venv'
        : null
  return { roots, changed: 0, problem, hasNix: hasNix(env) }
}

/** Removes all roots of a venv, and its folder of links. @returns the number of roots */
export function dropRoots(stateFolder: string, env: NodeJS.ProcessEnv): number {
  return dropUnused(stateFolder, [], env)
}

/** The folder of the links, by its real path, because Nix keeps the path that it gets. */
function rootsFolder(stateFolder: string): string {
  return `${realFolder(stateFolder)}/roots`
}

/**
 * Readable names for the links: the store path without its hash. The beginning of the hash distinguishes paths of the same
 * name.
 */
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

function rootState(link: string, storePath: string, env: NodeJS.ProcessEnv): Root['state'] {
  if (!existsSync(fsPath(storePath))) return 'dead'
  if (readLinkOrNull(link) !== storePath) return 'absent'
  return isRegistered(link, env) ? 'rooted' : 'unregistered'
}

/** Nix's own link to ours, in gcroots/auto. */
function registration(link: string, env: NodeJS.ProcessEnv): string {
  const hash = createHash('sha1').update(encodeText(link)).digest()
  return `${stateDirectory(env)}/gcroots/auto/${nixBase32(hash)}`
}

function isRegistered(link: string, env: NodeJS.ProcessEnv): boolean {
  return readLinkOrNull(registration(link, env)) === link
}

/** Does this machine have Nix? The folder of registrations comes with Nix. */
function hasNix(env: NodeJS.ProcessEnv): boolean {
  return existsSync(fsPath(`${stateDirectory(env)}/gcroots/auto`))
}

/** Makes the links and registers them with Nix. @returns the reason for a failure, or null */
function register(lacking: readonly Root[], env: NodeJS.ProcessEnv): string | null {
  const nobody = 'nothing protects the libraries from nix-collect-garbage: '
  if (!knowsItsState(env)) return `${nobody}NIX_STORE_DIR is set, but NIX_STATE_DIR is not`
  if (!hasNix(env)) return `${nobody}Nix is not installed here`
  const socket = daemonSocket(env)
  for (const root of lacking) makeLink(root.link, root.storePath)
  if (socket !== null && registerByDaemon(socket, lacking)) return null
  // the user owns the store: this does what nix-store does, without a process for each link
  if (isWritable(`${stateDirectory(env)}/gcroots/auto`)) {
    for (const { link } of lacking) makeRegistration(registration(link, env), link)
    return null
  }
  return registerByProgram(lacking, env) ? null : `${nobody}neither the Nix daemon nor nix-store answers`
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

/** Makes a link. A link to another path is replaced by a rename, so that a link exists at every moment. */
function makeLink(link: string, target: string): void {
  if (readLinkOrNull(link) === target) return
  // VENV/.wheelfix/roots/NAME; the state of a folder may be in the user's state folder, which may not exist
  const folder = directoryOf(link)
  const state = directoryOf(folder)
  if (fileNameOf(state) === '.wheelfix') makeFolders(folder, directoryOf(state))
  else mkdirSync(fsPath(folder), { recursive: true })
  replaceLink(link, target)
}

/**
 * Makes Nix's own link to this link. An existing file with its name leads elsewhere and protects no path of this venv. So no
 * rename is needed, and a killed run leaves no temporary name in the folder.
 */
function makeRegistration(path: string, link: string): void {
  if (readLinkOrNull(path) === link) return
  rmSync(fsPath(path), { force: true })
  symlinkSync(fsPath(link), fsPath(path))
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
    if (readLinkOrNull(link) !== null) removeFile(link)
    // Nix drops registrations without a link at its next collection; a user with permission drops them now
    if (readLinkOrNull(known) === link) removeIfAllowed(known)
  }
  removeEmptyFolder(folder)
  return unused.length
}

function removeIfAllowed(path: string): void {
  try {
    rmSync(fsPath(path))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}
