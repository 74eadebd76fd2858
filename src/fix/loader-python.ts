// The venv's bin/python as a copy of the real interpreter that the private loader starts, and back again. A copy carries
// what stood in its place in its own undo note, so that nothing else is needed to bring it back.
import {
  copyFileSync,
  chmodSync,
  closeSync,
  constants,
  ftruncateSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import type { ElfEdit } from '../elf/edit.ts'
import { ElfError } from '../elf/error.ts'
import { type Graft, graftedSource, makeGraft } from '../elf/graft.ts'
import { isElf, readElf } from '../elf/read.ts'
import type { ByteSource } from '../elf/source.ts'
import type { ElfObject } from '../elf/types.ts'
import { originalSource, readUndo, type Undo } from '../elf/undo.ts'
import { errnoOf } from '../io/error.ts'
import { fsPath, listDirectory, readLink } from '../io/path.ts'
import { replaceFile, temporaryOf, writeFully, writePieces } from '../io/replace.ts'
import { withSource } from '../io/source.ts'
import { findInterpreter, type Interpreter } from '../python/interpreter.ts'
import type { Venv } from '../python/venv.ts'

/** What stood where a copy stands: a link with this text, or a file (a venv made with --copies) that the note gives back. */
export type Replaced = { readonly link: string } | 'file'

/** One name in bin/ by which the venv's Python is started. */
export interface PythonName {
  readonly name: string
  readonly path: string
  /**
   * - `inner`: a link to another name in bin/: it stays
   * - `link`: a link that leaves the venv
   * - `copy`: a copy that wheelfix made; `replaced` is what stood there
   * - `file`: the venv's own copy of an interpreter
   */
  readonly kind: 'inner' | 'link' | 'copy' | 'file'
  readonly replaced: Replaced | null
}

const RECORD = 'interpreter '

/** The note of a copy. */
function recordOf(replaced: Replaced): string {
  return RECORD + JSON.stringify(replaced)
}

/** What a copy of an interpreter replaced; null for any other file. */
export function replacedBy(undo: Undo | null): Replaced | null {
  if (undo?.record?.startsWith(RECORD) !== true) return null
  const value: unknown = JSON.parse(undo.record.slice(RECORD.length))
  if (value === 'file') return value
  const isLink = typeof value === 'object' && value !== null && 'link' in value && typeof value.link === 'string'
  return isLink ? { link: String(value.link) } : null
}

/** The names of bin/ that start Python, in byte order. */
export function pythonNames(venv: Venv): PythonName[] {
  const names: PythonName[] = []
  for (const { name, kind } of listDirectory(venv.bin)) {
    if (!/^(?:python|pypy)(?:\d+(?:\.\d+)?t?)?$/.test(name)) continue
    const path = join(venv.bin, name)
    if (kind === 'symlink') {
      const target = readLink(path)
      const inner = dirname(isAbsolute(target) ? target : join(venv.bin, target)) === venv.bin
      names.push({ name, path, kind: inner ? 'inner' : 'link', replaced: { link: target } })
    } else if (kind === 'file') {
      const replaced = replacedBy(undoOf(path))
      names.push({ name, path, kind: replaced === null ? 'file' : 'copy', replaced: replaced ?? 'file' })
    }
  }
  return names
}

function undoOf(path: string): Undo | null {
  try {
    return withSource(path, source => (isElf(source.read(0, Math.min(4, source.size))) ? readUndo(source) : null))
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return null
    throw error
  }
}

/**
 * The venv as it was before: its `python` leads to the interpreter that the copies are copies of. For a venv made with
 * --copies it is the copy itself.
 */
function plainVenv(venv: Venv, names: readonly PythonName[]): Venv {
  let entry = names.find(({ path }) => path === venv.python)
  for (let steps = 0; entry?.kind === 'inner' && steps < names.length; steps++) {
    const { replaced } = entry
    const target = replaced === null || replaced === 'file' ? null : replaced.link
    entry = names.find(({ name }) => target !== null && (target === name || target.endsWith(`/${name}`)))
  }
  if (entry?.kind !== 'copy' || entry.replaced === null || entry.replaced === 'file') return venv
  const { link } = entry.replaced
  return { ...venv, python: isAbsolute(link) ? link : join(venv.bin, link) }
}

/**
 * The interpreter that this venv had before wheelfix gave it another loader.
 * @throws what `findInterpreter` throws
 */
export function plainInterpreter(venv: Venv, names: readonly PythonName[]): Interpreter {
  const interpreter = findInterpreter(plainVenv(venv, names))
  const object = withSource(interpreter.program, source => readElf(plainSource(source)))
  return { ...interpreter, executable: venv.python, object, interp: object.interpreter ?? interpreter.interp }
}

/** PT_INTERP of a program as it stands; null where it has none, or cannot be read. */
export function interpreterOf(path: string): string | null {
  try {
    return withSource(path, source => readElf(source).interpreter)
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return null
    throw error
  }
}

function plainSource(source: ByteSource): ByteSource {
  const undo = readUndo(source)
  return undo === null ? source : originalSource(source, undo)
}

/** The interpreter's edit: the loader, and what is relative to its own place made absolute, as the copy stands elsewhere. */
function editOf(object: ElfObject, program: string, loader: string): ElfEdit {
  const value = object.runpath ?? object.rpath
  if (value === null || !/\$(?:ORIGIN\b|\{ORIGIN\})/.test(value)) return { interpreter: loader }
  const absolute = value.replaceAll(/\$(?:ORIGIN\b|\{ORIGIN\})/g, () => dirname(program))
  const tag = object.runpath === null ? 'DT_RPATH' : 'DT_RUNPATH'
  return { interpreter: loader, searchPath: { tag, value: absolute } }
}

/** A copy of the interpreter that is to be. */
export interface PythonCopy {
  readonly path: string
  readonly replaced: Replaced
  /** The interpreter that it is a copy of. */
  readonly program: string
  readonly loader: string
}

/** The copies that a venv needs: one for each name that leads out of it, or is a file of its own. */
export function copiesOf(names: readonly PythonName[], program: string, loader: string): PythonCopy[] {
  return names.flatMap(({ path, kind, replaced }) =>
    kind === 'inner' || replaced === null
      ? []
      : [{ path, replaced, program: replaced === 'file' ? path : program, loader }],
  )
}

/** Is the file at its place already what the copy is to be, byte for byte? */
export function isUpToDate(copy: PythonCopy): boolean {
  try {
    if (!lstatSync(fsPath(copy.path)).isFile()) return false
    return withSource(copy.program, source => {
      const base = plainSource(source)
      const wanted = graftedSource(base, graftOf(copy, base))
      return withSource(copy.path, there => sameBytes(there, wanted))
    })
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return false
    throw error
  }
}

const CHUNK = 1 << 20

function sameBytes(a: ByteSource, b: ByteSource): boolean {
  if (a.size !== b.size) return false
  for (let at = 0; at < a.size; at += CHUNK) {
    const length = Math.min(CHUNK, a.size - at)
    if (Buffer.compare(a.read(at, length), b.read(at, length)) !== 0) return false
  }
  return true
}

/** @throws ElfError when this interpreter cannot be edited safely */
function graftOf(copy: PythonCopy, base: ByteSource): Graft {
  const edit = editOf(readElf(base), copy.program, copy.loader)
  const graft = makeGraft(base, edit, { record: recordOf(copy.replaced) })
  if (graft === null) throw new ElfError('REFUSED', `${copy.program} has ${copy.loader} as its loader already`)
  return graft
}

/** Tries the edit without writing. @throws ElfError when this interpreter cannot be edited safely */
export function tryCopy(copy: PythonCopy): void {
  withSource(copy.program, source => graftOf(copy, plainSource(source)))
}

/**
 * Puts a copy in its place by one rename: who starts the venv's Python meanwhile gets the one or the other.
 * @throws ElfError, or the errors of open(2), write(2) and rename(2); everything is as it was then
 */
export function writeCopy(copy: PythonCopy): void {
  withSource(copy.program, source => {
    const base = plainSource(source)
    const graft = graftOf(copy, base)
    if (copy.replaced === 'file') {
      replaceFile(copy.path, graft)
      return
    }
    const temporary = temporaryOf(copy.path)
    rmSync(fsPath(temporary), { force: true })
    try {
      copyFileSync(fsPath(copy.program), fsPath(temporary), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
      chmodSync(fsPath(temporary), 0o755)
      const fd = openSync(fsPath(temporary), 'r+')
      try {
        // where the interpreter itself carries a graft of ours, it is taken off
        for (const { offset, bytes } of readUndo(source)?.patches ?? []) writeFully(fd, bytes, offset)
        ftruncateSync(fd, graft.baseSize)
        writePieces(fd, graft.tail, graft.baseSize)
        for (const { offset, bytes } of graft.patches) writeFully(fd, bytes, offset)
        writeFully(fd, graft.header, 0)
      } finally {
        closeSync(fd)
      }
      renameSync(fsPath(temporary), fsPath(copy.path))
    } catch (error) {
      rmSync(fsPath(temporary), { force: true })
      throw error
    }
  })
}

/** Brings back what a copy replaced. @throws the errors of symlink(2), open(2), write(2) and rename(2) */
export function restoreName({ path, kind, replaced }: PythonName): void {
  if (kind !== 'copy' || replaced === null) return
  if (replaced === 'file') {
    const undo = undoOf(path)
    if (undo === null) return
    replaceFile(path, { baseSize: undo.originalSize, tail: [], patches: undo.patches, header: undo.header })
    return
  }
  const temporary = temporaryOf(path)
  rmSync(fsPath(temporary), { force: true })
  symlinkSync(fsPath(replaced.link), fsPath(temporary))
  renameSync(fsPath(temporary), fsPath(path))
}
