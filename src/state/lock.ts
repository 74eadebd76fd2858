// One writer at a time for a venv. Readers need no lock: every change is one rename or one header.
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { isAlive } from '../io/alive.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import type { Place } from '../python/environment.ts'

/** Where Nix is to link the library set that it builds for an environment. */
export function builtSetLink({ stateFolder }: Place): string {
  return `${stateFolder}/libs`
}

/** Another run of a large venv takes seconds, a first one over a slow disk more. */
const PATIENCE_MS = 60_000

export interface Lock {
  /** Another run held it first: what was read before may have changed. */
  readonly waited: boolean
  release(): void
}

/**
 * Takes the lock of a venv, waiting for another run to end; a lock whose process is gone is taken over.
 * @throws WheelfixError `BUSY` when the other run does not end, `IO` when the venv cannot be written
 */
export function lockVenv({ root, stateFolder: folder }: Place): Lock {
  const path = `${folder}/lock`
  const deadline = Date.now() + PATIENCE_MS
  let waited = false
  for (;;) {
    try {
      mkdirSync(fsPath(folder), { recursive: true })
      claim(path)
      return { waited, release: () => rmSync(fsPath(path), { force: true }) }
    } catch (error) {
      const errno = errnoOf(error)
      if (errno !== 'EEXIST' && errno !== 'ENOENT') throw notWritable(errno, root, error)
    }
    const holder = holderOf(path)
    if (holder === 'gone') removeStale(path)
    else if (Date.now() > deadline) {
      const who = holder === 'unknown' ? 'another run' : `process ${holder}`
      throw new WheelfixError('BUSY', `${who} is working on ${root}; if that is not so, remove ${path}`, path)
    } else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
    waited = true
  }
}

function claim(path: string): void {
  const fd = openSync(fsPath(path), 'wx')
  try {
    writeSync(fd, `${process.pid}\n`)
  } catch (error) {
    rmSync(fsPath(path), { force: true })
    throw error
  } finally {
    closeSync(fd)
  }
}

function notWritable(errno: string | undefined, venvRoot: string, error: unknown): unknown {
  if (errno === undefined) return error
  const why = errno === 'EROFS' ? 'is on a read-only file system' : `cannot be written (${errno})`
  const advice = errno === 'EACCES' || errno === 'EPERM' ? '; run as its owner' : ''
  return new WheelfixError('IO', `the venv ${venvRoot} ${why}: nothing was changed${advice}`, venvRoot)
}

/** A run writes its number right after it made the file: one without a number for so long was killed in between. */
const UNSIGNED_MS = 2000

/** Removes a lock whose process is gone, and not the one that another run has put in its place since. */
function removeStale(path: string): void {
  const aside = `${path}.${process.pid}`
  try {
    renameSync(fsPath(path), fsPath(aside))
    if (holderOf(aside) !== 'gone') linkSync(fsPath(aside), fsPath(path))
  } catch (error) {
    // another run was quicker
    if (errnoOf(error) === undefined) throw error
  } finally {
    rmSync(fsPath(aside), { force: true })
  }
}

/** The process that holds the lock, `gone` where it does not exist any more. */
function holderOf(path: string): number | 'unknown' | 'gone' {
  try {
    const text = readFileSync(fsPath(path), 'utf8')
    const pid = Number.parseInt(text, 10)
    if (text.endsWith('\n') && Number.isSafeInteger(pid) && pid > 0) return isAlive(pid) ? pid : 'gone'
    return Date.now() - statSync(fsPath(path)).mtimeMs > UNSIGNED_MS ? 'gone' : 'unknown'
  } catch (error) {
    // it was released just now: the next try takes it
    if (errnoOf(error) === undefined) throw error
    return 'unknown'
  }
}
