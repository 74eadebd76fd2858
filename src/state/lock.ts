// One writer at a time for a venv. Readers need no lock: every change is one rename or one header.
//
// The lock is a file that names its holder. Where flock(1) exists, the holder also has a kernel lock on that file. The
// kernel lock ends with the holder's process, in any container. Without flock(1) only the text of the file counts. A holder
// writes into the file after it has the kernel lock, so what the file says about the kernel lock is true.
import {
  closeSync,
  constants,
  fstatSync,
  linkSync,
  lstatSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { isAlive, isRunning, ownIdentity, type ProcessIdentity } from '../io/alive.ts'
import { errnoOf, systemReason, WheelfixError } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { fenceIn, makeFolders, openFolders, removeEmptyFolder } from '../io/write/folder.ts'
import type { Place } from '../python/environment.ts'

/** The path at which Nix links the library set that it builds for an environment. */
export function builtSetLink({ stateFolder }: Place): string {
  return `${stateFolder}/libs`
}

/** How long to wait for another run: it takes seconds on a large venv, and longer for a first run over a slow disk. */
const PATIENCE_MS = 60_000

interface Lock {
  /** Another run held the lock first, so what was read before may have changed. */
  readonly waited: boolean
  /** @param isFailed the run could do nothing: a state folder in which nothing is left is removed, too */
  release(isFailed?: boolean): void
}

/**
 * Takes the lock of a venv. Waits up to `patience` milliseconds for another run to end, and takes over a lock whose process
 * is gone.
 * @throws WheelfixError `BUSY` when the other run does not end, `IO` when the venv cannot be written
 */
export function lockVenv(place: Place, patience = PATIENCE_MS): Lock {
  const { root, stateFolder } = place
  const path = `${stateFolder}/lock`
  const deadline = Date.now() + patience
  let waited = false
  for (;;) {
    const folders = openFolders()
    let isOurs = false
    try {
      makeStateFolder(place)
      const at = folders.at(path)
      const claim = tryToClaim(at)
      if (typeof claim === 'number') {
        isOurs = true
        const end = (isFailed = false): void => {
          release(at, claim)
          folders.close()
          // another run that waits for the lock makes the folder again
          if (isFailed) removeEmptyFolder(stateFolder)
        }
        return { waited, release: end }
      }
      if (Date.now() > deadline) {
        throw new WheelfixError(
          'BUSY',
          `${claim} is working on ${root}: run wheelfix again when it has ended; if there is no other run, remove ${path}`,
          path,
        )
      }
    } catch (error) {
      const errno = errnoOf(error)
      if (errno !== 'ENOENT') throw notWritable(errno, root, error)
    } finally {
      if (!isOurs) folders.close()
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
    waited = true
  }
}

/** Removes the lock of a killed run, without waiting. For a run that has nothing to write. */
export function dropStaleLock(place: Place): void {
  if (lstatSync(fsPath(`${place.stateFolder}/lock`), { throwIfNoEntry: false }) === undefined) return
  try {
    lockVenv(place, 0).release()
  } catch (error) {
    // another run is working, or this user may not write here
    if (!(error instanceof WheelfixError)) throw error
  }
}

/** @throws WheelfixError `VENV_NOT_FOUND`, the errors of mkdir(2) */
function makeStateFolder({ root, stateFolder }: Place): void {
  try {
    fenceIn(root)
    makeFolders(stateFolder, root)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    throw new WheelfixError('VENV_NOT_FOUND', `${root} was deleted during this run`, root)
  }
}

function notWritable(errno: string | undefined, venvRoot: string, error: unknown): unknown {
  if (errno === undefined) return error
  const why =
    errno === 'EACCES'
      ? `cannot be written (${errno}): nothing was changed; ${waysToWrite(venvRoot)}`
      : `was not changed: ${systemReason(errno)}`
  return new WheelfixError('IO', `${venvRoot} ${why}`, venvRoot)
}

/** What lets this user write: the owner of a read-only environment needs its write bits, not another user's rights. */
function waysToWrite(venvRoot: string): string {
  const isOwner = statSync(fsPath(venvRoot), { throwIfNoEntry: false })?.uid === process.geteuid?.()
  return isOwner ? 'make it writable first (chmod -R u+w)' : 'run wheelfix as its owner'
}

/**
 * Makes the lock file. If the file exists, finds its holder, and removes the file of a killed run.
 * @returns the open file, or the holder as the subject of a sentence when the next try may do better
 */
function tryToClaim(path: string): number | string {
  const fresh = createLockFile(path)
  const fd = fresh ?? openSync(fsPath(path), READ)
  let isOurs = false
  try {
    const kernel = lockInKernel(fd, fresh === null ? 0 : UNSIGNED_MS)
    if (kernel === 'busy') return holderOf(fd, false) ?? SOMEBODY
    // the lock was released or taken over between the look at its name and the kernel lock
    if (!isStillAt(path, fd)) return SOMEBODY
    const holder = fresh === null ? holderOf(fd, kernel === 'held') : null
    if (holder !== null) return holder
    if (fresh === null) {
      if (kernel === 'held') rmSync(fsPath(path), { force: true })
      else removeStale(path)
      return SOMEBODY
    }
    sign(path, fd, kernel === 'held')
    isOurs = true
    return fd
  } finally {
    if (!isOurs) closeSync(fd)
  }
}

const SOMEBODY = 'another run'

/** A user who may not write another user's file can still wait for its kernel lock. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** Creates the file; null when it exists. */
function createLockFile(path: string): number | null {
  try {
    return openSync(fsPath(path), constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o644)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    return null
  }
}

let isFlockAbsent = false

/**
 * Takes the kernel lock on an open file by flock(1). The lock belongs to the open file, so it outlives the flock process and
 * ends with this process. Takes 3 ms.
 * @param patience how long to wait, in milliseconds: other runs lock a new file for a moment to read its holder
 * @returns `absent` when flock(1) does not exist, or when this file system has no such lock
 */
function lockInKernel(fd: number, patience: number): 'held' | 'busy' | 'absent' {
  for (const deadline = Date.now() + patience; !isFlockAbsent;) {
    // loaded on use: it takes as long to load as a whole run with nothing to do
    const { spawnSync } = process.getBuiltinModule('node:child_process')
    const { status } = spawnSync('flock', ['-n', '3'], {
      stdio: ['ignore', 'ignore', 'ignore', fd],
      timeout: 5000,
      killSignal: 'SIGKILL',
    })
    if (status === 0) return 'held'
    if (status !== 1) isFlockAbsent = true
    else if (Date.now() > deadline) return 'busy'
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
  }
  return 'absent'
}

function isStillAt(path: string, fd: number): boolean {
  const [open, named] = [fstatSync(fd), statSync(fsPath(path), { throwIfNoEntry: false })]
  return named !== undefined && open.ino === named.ino && open.dev === named.dev
}

/** The content of a lock file. */
interface Signature extends ProcessIdentity {
  /** The holder has the kernel lock on this file. */
  readonly kernel: boolean
}

function sign(path: string, fd: number, kernel: boolean): void {
  try {
    writeSync(fd, `${JSON.stringify({ ...ownIdentity(), kernel } satisfies Signature)}\n`, 0)
  } catch (error) {
    rmSync(fsPath(path), { force: true })
    throw error
  }
}

function release(path: string, fd: number): void {
  // the name first: a run that gets the kernel lock then finds another file there, or none
  if (isStillAt(path, fd)) rmSync(fsPath(path), { force: true })
  closeSync(fd)
}

/** A run signs the file right after it made it. A file without a signature for this long belongs to a killed run. */
const UNSIGNED_MS = 2000

/** The holder of the lock, as the subject of a sentence; null when nobody holds it any more. */
function holderOf(fd: number, hasKernelLock: boolean): string | null {
  const bytes = Buffer.alloc(4096)
  const text = bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, 0))
  const signature = parseSignature(text)
  if (signature === null) return Date.now() - fstatSync(fd).mtimeMs > UNSIGNED_MS ? null : SOMEBODY
  if (typeof signature === 'number') return isAlive(signature) ? `process ${signature}` : null
  // we could take the kernel lock, so a holder that signed with one is gone
  if (signature.kernel && hasKernelLock) return null
  const running = isRunning(signature)
  if (running === false) return null
  return `process ${signature.pid}${running === null ? ' of another container or machine' : ''}`
}

/** Reads a lock file. wheelfix 0.1 wrote only the process number. */
function parseSignature(text: string): Signature | number | null {
  if (/^[1-9]\d{0,9}\n$/.test(text)) return Number(text)
  try {
    const value: unknown = text.endsWith('\n') ? JSON.parse(text) : null
    return isSignature(value) ? value : null
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return null
  }
}

function isSignature(value: unknown): value is Signature {
  if (typeof value !== 'object' || value === null) return false
  const { pid, namespace, boot, host, start, kernel } = value as Partial<Record<string, unknown>>
  const texts = [namespace, boot, start].every(text => text === null || typeof text === 'string')
  return (
    Number.isSafeInteger(pid) && Number(pid) > 0 && texts && typeof host === 'string' && typeof kernel === 'boolean'
  )
}

/** Removes a lock whose process is gone, but not a lock that another run has put in its place since. */
function removeStale(path: string): void {
  const aside = `${path}.${process.pid}`
  try {
    renameSync(fsPath(path), fsPath(aside))
    const fd = openSync(fsPath(aside), READ)
    try {
      if (holderOf(fd, false) !== null) linkSync(fsPath(aside), fsPath(path))
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    // another run removed it first
    if (errnoOf(error) === undefined) throw error
  } finally {
    rmSync(fsPath(aside), { force: true })
  }
}
