// One object on disk, changed or given back: what `wheelfix elf` does to a file. A file that already carries a graft is
// edited from its original, so that grafts never stack and an edit that leads back gives back the very same bytes.
import { accessSync, chmodSync, closeSync, constants, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { ElfError } from '../elf/error.ts'
import { type Graft, type GraftOptions, graftedSource, graftTo } from '../elf/graft/graft.ts'
import { readBySections } from '../elf/read.ts'
import type { ByteSource } from '../elf/source.ts'
import { differences, type ElfState, stateOf } from '../elf/state.ts'
import type { ElfObject } from '../elf/types.ts'
import { originalSource, readUndo, type Undo } from '../elf/graft/undo-note.ts'
import { verifyState } from '../elf/rules/verify.ts'
import { fsPath, realPath } from '../io/path.ts'
import { type FileEdit, replaceFile, temporaryOf } from '../io/replace.ts'
import { type FileSource, withSource } from '../io/source.ts'

/** What became of a file. */
export interface Rewrite {
  readonly before: ElfState
  readonly after: ElfState
  /** The fields of the state that differ. */
  readonly changed: readonly (keyof ElfState)[]
}

export interface RewriteOptions extends Omit<GraftOptions, 'record' | 'inPlace'> {
  /** Where the result goes; null: into the file itself. It is written even when nothing changes. */
  readonly output?: string | null
  /** Write nothing. */
  readonly dryRun?: boolean
}

/**
 * Edits one object. A link is followed: its target is changed.
 * @param change gives the wanted state, and may print something about the present one first
 * @throws ElfError and the errors of node:fs; the file is as it was then
 */
export function rewriteObject(
  path: string,
  change: (object: ElfObject, state: ElfState) => ElfState,
  options: RewriteOptions = {},
): Rewrite {
  const { output = null, dryRun = false, ...graftOptions } = options
  return withSource(path, source => {
    const object = readBySections(source)
    const before = stateOf(object)
    const after = change(object, before)
    const changed = differences(before, after)
    if (changed.length === 0 && output === null) return { before, after, changed }

    const undo = readUndo(source)
    const original = undo === null ? source : originalSource(source, undo)
    const record = undo?.record ?? null
    const old = undo === null ? object : readBySections(original)
    const graft =
      changed.length === 0
        ? null
        : graftTo(original, old, after, { ...graftOptions, inPlace: true, ...(record === null ? {} : { record }) })
    if (graft !== null) verifyState(original, old, graftedSource(original, graft), after, options.pageSize)
    if (dryRun) return { before, after, changed }
    const edit = changed.length === 0 ? null : editOf(undo, graft, source)
    if (output !== null) writeCopy(source, edit, output)
    else if (edit !== null) replaceWritable(path, edit)
    return { before, after, changed }
  })
}

/**
 * Takes the graft of an object off.
 * @returns whether there was one
 * @throws the errors of node:fs; ElfError `REFUSED` where the record is of another version
 */
export function restoreObject(path: string, options: { readonly dryRun?: boolean } = {}): boolean {
  return withSource(path, source => {
    const undo = readUndo(source)
    if (undo === null) return false
    if (options.dryRun !== true) replaceWritable(path, editOf(undo, null, source))
    return true
  })
}

/** The change of the file as it is: first its graft off, then the new one on. */
function editOf(undo: Undo | null, graft: Graft | null, source: ByteSource): FileEdit {
  if (graft === null && undo === null) throw new ElfError('BROKEN', `nothing to write for ${source.size} bytes`)
  return {
    baseSize: graft?.baseSize ?? undo?.originalSize ?? source.size,
    tail: graft?.tail ?? [],
    patches: [...(undo?.patches ?? []), ...(graft?.patches ?? [])],
    header: graft?.header ?? undo?.header ?? new Uint8Array(),
  }
}

/** A rename asks for no permission to write the file, but who took that away does not want it changed. */
function replaceWritable(path: string, edit: FileEdit): void {
  accessSync(fsPath(path), constants.W_OK)
  replaceFile(realPath(path), edit)
}

const CHUNK = 1 << 20

/**
 * Writes the result somewhere else: by a rename where that is a file or nothing yet, straight into a device. A new file
 * may be run and written to, whatever the first one may: that of a Nix store is read-only, and is not to stay it.
 */
function writeCopy(source: FileSource, edit: FileEdit | null, output: string): void {
  const result = edit === null ? source : graftedSource(source, edit)
  const old = statSync(fsPath(output), { throwIfNoEntry: false })
  if (old !== undefined && !old.isFile()) {
    writeAll(result, fsPath(output), 'w')
    return
  }
  if (old !== undefined) accessSync(fsPath(output), constants.W_OK)
  const target = old === undefined ? output : realPath(output)
  const temporary = temporaryOf(target)
  try {
    rmSync(fsPath(temporary), { force: true })
    writeAll(result, fsPath(temporary), 'wx')
    if (old !== undefined) chmodSync(fsPath(temporary), old.mode & 0o7777)
    renameSync(fsPath(temporary), fsPath(target))
  } catch (error) {
    rmSync(fsPath(temporary), { force: true })
    throw error
  }
}

function writeAll(source: ByteSource, path: string | Buffer, flags: 'w' | 'wx'): void {
  const fd = openSync(path, flags, 0o777)
  try {
    for (let at = 0; at < source.size; at += CHUNK) {
      const bytes = source.read(at, Math.min(CHUNK, source.size - at))
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done)
    }
  } finally {
    closeSync(fd)
  }
}
