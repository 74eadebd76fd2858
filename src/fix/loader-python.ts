// The venv's bin/python as a copy of the real interpreter that the private loader starts, and back again. A copy carries
// what stood in its place in its own undo note, so that nothing else is needed to bring it back.
//
// All names of one interpreter are hard links to one copy, none is a symbolic link: CPython (Modules/getpath.py) takes a
// Python that is a link for its own base, and a venv made with it would have this venv as its home.
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  ftruncateSync,
  linkSync,
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
import { verifyGraft } from '../elf/verify.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
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
  /** A link, a file of the venv's own, or a copy that wheelfix made in the place of either. */
  readonly kind: 'link' | 'file' | 'copy'
  /** What stands there without wheelfix. */
  readonly replaced: Replaced
}

/** The note of a copy: the names that it serves, with the link that each was, or null for a file. */
type Record = ReadonlyMap<string, string | null>

const RECORD = 'interpreter '

function encodeRecord(record: Record): string {
  return RECORD + JSON.stringify(Object.fromEntries(record))
}

function decodeRecord(undo: Undo | null): Record | null {
  if (undo?.record?.startsWith(RECORD) !== true) return null
  const value: unknown = JSON.parse(undo.record.slice(RECORD.length))
  if (typeof value !== 'object' || value === null) return null
  return new Map(Object.entries(value).map(([name, link]) => [name, typeof link === 'string' ? link : null]))
}

/** Is this the note of an interpreter's copy? */
export function isInterpreterCopy(undo: Undo | null): boolean {
  return undo?.record?.startsWith(RECORD) === true
}

/** The names of bin/ that start Python, in byte order. */
export function pythonNames(venv: Venv): PythonName[] {
  const names: PythonName[] = []
  for (const { name, kind } of list(venv.bin)) {
    if (!/^(?:python|pypy)(?:\d+(?:\.\d+)?t?)?$/.test(name)) continue
    const path = join(venv.bin, name)
    if (kind === 'symlink') names.push({ name, path, kind: 'link', replaced: { link: readLink(path) } })
    else if (kind === 'file') {
      const record = decodeRecord(undoOf(path))
      const link = record?.get(name) ?? null
      names.push({ name, path, kind: record === null ? 'file' : 'copy', replaced: link === null ? 'file' : { link } })
    }
  }
  return names
}

function list(folder: string) {
  try {
    return listDirectory(folder)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return []
  }
}

function undoOf(path: string): Undo | null {
  try {
    return withSource(path, source => (isElf(source.read(0, Math.min(4, source.size))) ? readUndo(source) : null))
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return null
    throw error
  }
}

/** Where a name leads without wheelfix: a path outside of the venv, or the name's own for a file; null for a circle. */
function plainTarget(start: PythonName, names: readonly PythonName[]): string | null {
  let entry = start
  for (let steps = 0; steps <= names.length; steps++) {
    if (entry.replaced === 'file') return entry.path
    const { link } = entry.replaced
    const folder = dirname(entry.path)
    const target = isAbsolute(link) ? link : join(folder, link)
    const next = names.find(({ path }) => path === target)
    if (next === undefined) return target
    entry = next
  }
  return null
}

/**
 * The interpreter that this venv has without wheelfix.
 * @throws what `findInterpreter` throws
 */
export function plainInterpreter(venv: Venv, names: readonly PythonName[]): Interpreter {
  const entry = names.find(({ path }) => path === venv.python)
  const target = entry === undefined ? null : plainTarget(entry, names)
  if (entry?.kind !== 'copy' || target === null) return findInterpreter(venv)
  try {
    const interpreter = findInterpreter({ ...venv, python: target })
    const object = withSource(interpreter.program, source => readElf(plainSource(source)))
    return { ...interpreter, executable: venv.python, object, interp: object.interpreter ?? interpreter.interp }
  } catch (error) {
    if (!(error instanceof WheelfixError) || error.code !== 'PYTHON_NOT_FOUND') throw error
    throw new WheelfixError(
      error.code,
      `${venv.python} is a copy of the Python at ${target}, which is not there any more: it was upgraded, removed or ` +
        'garbage-collected. Make the venv anew, or give it the new one with python3 -m venv --upgrade after wheelfix restore',
      venv.python,
    )
  }
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

/** A file as it is before it was made a copy; any other change of it, by wheelfix too, is left in. */
function plainSource(source: ByteSource): ByteSource {
  const undo = readUndo(source)
  return undo === null || !isInterpreterCopy(undo) ? source : originalSource(source, undo)
}

/** An interpreter that is to be copied, or edited in its place: the same for all of `names`. */
export interface PythonCopy {
  /** The names in bin/ that are to be this copy, and what they are without wheelfix. */
  readonly names: readonly PythonName[]
  /** The interpreter; for a file of the venv its own path. */
  readonly program: string
  readonly loader: string
}

/** The copies that a venv needs: one for all links that lead out of it, one for each file. */
export function copiesOf(names: readonly PythonName[], program: string, loader: string): PythonCopy[] {
  const leaving = names.filter(name => {
    const target = name.replaced === 'file' ? null : plainTarget(name, names)
    return target !== null && !names.some(({ path }) => path === target)
  })
  const files = names.filter(({ replaced }) => replaced === 'file')
  return [
    ...(leaving.length === 0 ? [] : [{ names: leaving, program, loader }]),
    ...files.map(file => ({ names: [file], program: file.path, loader })),
  ]
}

/** Is every name already what the copy is to be, byte for byte? */
export function isUpToDate(copy: PythonCopy): boolean {
  try {
    if (!copy.names.every(({ path }) => lstatSync(fsPath(path)).isFile())) return false
    return withSource(copy.program, source => {
      const { base, graft } = graftOf(copy, source)
      const wanted = graftedSource(base, graft)
      return copy.names.every(({ path }) => withSource(path, there => sameBytes(there, wanted)))
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

/**
 * The graft, and the bytes that it is made for: those without any graft of ours, whose search path then comes along.
 * @throws ElfError when this interpreter cannot be edited safely
 */
function graftOf(copy: PythonCopy, source: ByteSource): { base: ByteSource; graft: Graft; edit: ElfEdit } {
  const plain = plainSource(source)
  const undo = readUndo(plain)
  const base = undo === null ? plain : originalSource(plain, undo)
  const edit = editOf(readElf(plain), readElf(base), copy)
  const record = new Map(copy.names.map(({ name, replaced }) => [name, replaced === 'file' ? null : replaced.link]))
  const graft = makeGraft(base, edit, { record: encodeRecord(record) })
  if (graft === null) throw new ElfError('REFUSED', `${copy.program} has ${copy.loader} as its loader already`)
  return { base, graft, edit }
}

/** The loader, and what is relative to the interpreter's own place made absolute, as a copy stands elsewhere. */
function editOf(plain: ElfObject, base: ElfObject, { names, program, loader }: PythonCopy): ElfEdit {
  const value = plain.runpath ?? plain.rpath
  const isCopied = names.some(({ path }) => path !== program)
  const absolute = isCopied ? value?.replaceAll(/\$(?:ORIGIN\b|\{ORIGIN\})/g, () => dirname(program)) : value
  const tag = plain.runpath === null ? 'DT_RPATH' : 'DT_RUNPATH'
  const before = tag === 'DT_RPATH' ? base.rpath : base.runpath
  if (absolute == null || absolute === before) return { interpreter: loader }
  return { interpreter: loader, searchPath: { tag, value: absolute } }
}

/** Tries and verifies the edit without writing. @throws ElfError when this interpreter cannot be edited safely */
export function tryCopy(copy: PythonCopy): void {
  withSource(copy.program, source => {
    const { base, graft, edit } = graftOf(copy, source)
    verifyGraft(base, graftedSource(base, graft), edit)
  })
}

/**
 * Puts a copy in its place, each name by one rename: who starts the venv's Python meanwhile gets the one or the other.
 * @throws ElfError, or the errors of open(2), write(2) and rename(2); each name is as it was, or is done
 */
export function writeCopy(copy: PythonCopy): void {
  withSource(copy.program, source => {
    const { graft } = graftOf(copy, source)
    const [first, ...others] = copy.names
    if (first === undefined) return
    if (first.replaced === 'file') {
      replaceFile(first.path, { ...graft, patches: [...(readUndo(source)?.patches ?? []), ...graft.patches] })
      return
    }
    const temporaries = copy.names.map(({ path }) => temporaryOf(path))
    for (const temporary of temporaries) rmSync(fsPath(temporary), { force: true })
    const written = temporaryOf(first.path)
    try {
      writeCopied(copy.program, written, source, graft)
      for (const { path } of others) linkOrCopy(written, temporaryOf(path))
      for (const { path } of copy.names) renameSync(fsPath(temporaryOf(path)), fsPath(path))
    } catch (error) {
      for (const temporary of temporaries) rmSync(fsPath(temporary), { force: true })
      throw error
    }
  })
}

function writeCopied(program: string, path: string, source: ByteSource, graft: Graft): void {
  copyFileSync(fsPath(program), fsPath(path), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
  chmodSync(fsPath(path), 0o755)
  const fd = openSync(fsPath(path), 'r+')
  try {
    ftruncateSync(fd, graft.baseSize)
    // where the interpreter itself carries a graft of ours, that one is taken off
    for (const { offset, bytes } of readUndo(source)?.patches ?? []) writeFully(fd, bytes, offset)
    writePieces(fd, graft.tail, graft.baseSize)
    for (const { offset, bytes } of graft.patches) writeFully(fd, bytes, offset)
    writeFully(fd, graft.header, 0)
  } finally {
    closeSync(fd)
  }
}

/** Some file systems have no hard links. */
function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(fsPath(from), fsPath(to))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    copyFileSync(fsPath(from), fsPath(to), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
    chmodSync(fsPath(to), 0o755)
  }
}

/** Brings back what a copy replaced. @throws the errors of symlink(2), open(2), write(2) and rename(2) */
export function restoreName({ path, kind, replaced }: PythonName): void {
  if (kind !== 'copy') return
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
