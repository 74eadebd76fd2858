// Changes or restores one object on disk for `wheelfix elf`. A file that `wheelfix elf` edited before is edited again from
// its original. So its grafts never stack, and an edit back to the first state restores the same bytes. The changes of
// `wheelfix venv` come on top, as if they were made after the edit.
import {
  accessSync,
  fchmodSync,
  closeSync,
  constants,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { ElfError } from '../elf/error.ts'
import type { FileEdit } from '../elf/edit/file-edit.ts'
import type { GraftOptions } from '../elf/graft/graft.ts'
import { type Layers, layersOf } from '../elf/graft/layers.ts'
import { regraft } from '../elf/graft/regraft.ts'
import { readBySections } from '../elf/read.ts'
import type { ByteSource } from '../elf/source.ts'
import { changedFields, type ElfState, stateOf } from '../elf/edit/state.ts'
import type { ElfObject } from '../elf/types.ts'
import type { Owner, Undo } from '../elf/graft/undo-note.ts'
import { fsPath, realPath } from '../io/path.ts'
import { removeOldTemporaries } from '../io/write/leftovers.ts'
import { replaceFile, temporaryOf } from '../io/write/replace.ts'
import { withSource } from '../io/source.ts'
import { ownerOf } from '../elf/graft/owners.ts'
import { ordersReplacement, syncFile } from '../io/write/sync.ts'
import { type ProgramUndos, programUndos } from './undos.ts'

/** The result for a file. */
export interface Rewrite {
  readonly before: ElfState
  readonly after: ElfState
  /** The fields of the state that changed. */
  readonly changed: readonly (keyof ElfState)[]
}

export interface RewriteOptions extends Omit<GraftOptions, 'record' | 'inPlace' | 'owner'> {
  /** The path of the result; null for the file itself. An output file is written even when nothing changes. */
  readonly output?: string | null
  /** Only find out what would change, and write nothing. */
  readonly dryRun?: boolean
  /** The environment variables. They say where the undo of a program that is edited in place is kept. */
  readonly env?: NodeJS.ProcessEnv
}

type RestoreOptions = Pick<RewriteOptions, 'dryRun' | 'env'>

/** Does the undo belong to `wheelfix elf`? For a single file, nothing says whether a RECORD lists it. */
function isElfs(undo: Undo): boolean {
  return ownerOf(undo, () => true) === 'elf'
}

function liftedOwner(undo: Undo): Owner | null {
  const owner = ownerOf(undo, () => true)
  return owner === 'elf' ? null : owner
}

/**
 * Edits one object. If the path is a link, its target is changed.
 * @param change returns the wanted state for the present state. The present state excludes what others changed on top. The
 * function may first print facts about the present object
 * @throws ElfError, and the errors of node:fs; the file is then unchanged
 */
export function rewriteObject(
  path: string,
  change: (object: ElfObject, state: ElfState) => ElfState,
  options: RewriteOptions = {},
): Rewrite {
  const { output = null, dryRun = false, env = {}, ...graftOptions } = options
  return withSource(path, source => {
    const object = readBySections(source)
    const undos = programUndos(path, env)
    const known = layersOrError(source, undos)
    const old = known instanceof ElfError ? stateOf(object) : stateBelow(known, object)
    const wanted = change(object, old)
    const isChanged = changedFields(old, wanted).length > 0
    if (known instanceof ElfError) {
      if (isChanged) throw known
      if (output !== null && !dryRun) writeOutput(source, output)
      return { before: old, after: old, changed: [] }
    }
    const { edit, inPlace, after } = isChanged
      ? regraft(known, () => wanted, { ...graftOptions, inPlace: true, owner: 'elf' })
      : { edit: null, inPlace: [], after: source }
    const states = { before: stateOf(object), after: isChanged ? stateOf(readBySections(after)) : stateOf(object) }
    const changed = changedFields(states.before, states.after)
    if (dryRun) return { ...states, changed }
    undos.keep(inPlace)
    if (output !== null) writeOutput(after, output)
    else if (edit !== null) replaceWritable(path, edit)
    return { ...states, changed }
  })
}

/** The layers of a file, or the error: a file that a newer wheelfix has changed can still be read. */
function layersOrError(source: ByteSource, undos: ProgramUndos): Layers | ElfError {
  try {
    return layersOf(source, isElfs, liftedOwner, undos.of)
  } catch (error) {
    if (error instanceof ElfError) return error
    throw error
  }
}

/** The state of an object without what others changed on top. */
function stateBelow({ above, own, base }: Layers, object: ElfObject): ElfState {
  return stateOf(above.length === 0 ? object : readBySections(own[0]?.source ?? base))
}

/**
 * Takes back what `wheelfix elf` changed. What others changed on top stays. If `wheelfix elf` changed nothing, the topmost
 * graft is removed, no matter who made it, because the user named the file.
 * @returns whether there was a graft
 * @throws the errors of node:fs; ElfError `REFUSED` when the record is of another version
 */
export function restoreObject(path: string, { dryRun = false, env = {} }: RestoreOptions = {}): boolean {
  return withSource(path, source => {
    const undos = programUndos(path, env)
    const elfs = layersOf(source, isElfs, liftedOwner, undos.of)
    const { above, own } = elfs
    const top = above.slice(0, 1)
    const layers = own.length > 0 ? elfs : { above: [], own: top, base: above[1]?.source ?? elfs.base, headers: null }
    const { edit, inPlace } = regraft(layers, null)
    if (edit !== null && !dryRun) {
      undos.keep(inPlace)
      replaceWritable(path, edit)
    }
    return edit !== null
  })
}

/**
 * Replaces a file only when it is writable. A rename needs no write permission on the file, but a user who removed that
 * permission does not want a change.
 */
function replaceWritable(path: string, edit: FileEdit): void {
  accessSync(fsPath(path), constants.W_OK)
  const target = realPath(path)
  removeOldTemporaries(target)
  replaceFile(target, edit)
}

const CHUNK = 1 << 20

/**
 * Writes the result somewhere else: by a rename when the path is a file or nothing yet, directly when it is a device. A new
 * file may be executed and written, whatever the permissions of the first file. A file of a Nix store is read-only, and its
 * copy must be writable.
 */
function writeOutput(result: ByteSource, output: string): void {
  const old = statSync(fsPath(output), { throwIfNoEntry: false })
  if (old !== undefined && !old.isFile()) {
    writeAll(result, fsPath(output), 'w')
    return
  }
  if (old !== undefined) accessSync(fsPath(output), constants.W_OK)
  const target = old === undefined ? output : realPath(output)
  const temporary = temporaryOf(target)
  try {
    removeOldTemporaries(target)
    writeAll(result, fsPath(temporary), 'wx', old === undefined ? null : old.mode & 0o7777)
    if (old === undefined || !ordersReplacement(temporary)) syncFile(temporary)
    renameSync(fsPath(temporary), fsPath(target))
  } catch (error) {
    rmSync(fsPath(temporary), { force: true })
    throw error
  }
}

function writeAll(source: ByteSource, path: string | Buffer, flags: 'w' | 'wx', mode: number | null = null): void {
  const fd = openSync(path, flags, 0o777)
  try {
    for (let at = 0; at < source.size; at += CHUNK) {
      const bytes = source.read(at, Math.min(CHUNK, source.size - at))
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done)
    }
    if (mode !== null) fchmodSync(fd, mode)
  } finally {
    closeSync(fd)
  }
}
