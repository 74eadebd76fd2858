// Makes the venv's bin/python a copy of the real interpreter that the private loader starts, and restores it. The undo note
// of a copy says what was in its place before, and a restore needs only this note.
//
// All names of one interpreter are hard links to one copy, and none is a symbolic link. CPython (Modules/getpath.py) takes a
// Python that is a link to be its own base. A venv made with such a Python would have this venv as its home.
import {
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  linkSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { dirname } from 'node:path'
import type { ElfEdit } from '../elf/edit/edit.ts'
import { ElfError } from '../elf/error.ts'
import type { FileEdit } from '../elf/edit/file-edit.ts'
import { graftedSource, makeGraft } from '../elf/graft/graft.ts'
import { joined, type Layers, layersOf } from '../elf/graft/layers.ts'
import { readElf } from '../elf/read.ts'
import { type ByteSource, bytesSource } from '../elf/source.ts'
import { encodeText } from '../elf/text.ts'
import type { ElfObject } from '../elf/types.ts'
import { originalSource } from '../elf/graft/undo-note.ts'
import { verifyGraft } from '../elf/rules/verify.ts'
import { errnoOf } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { writeEdited, writeFully } from '../io/write/content.ts'
import { withFolders } from '../io/write/folder.ts'
import { createFile, replaceFile, replaceLink, temporaryOf } from '../io/write/replace.ts'
import { type FileSource, withSource } from '../io/source.ts'
import { syncFile } from '../io/write/sync.ts'
import { type Interpreter } from '../python/interpreter.ts'
import { ownerOf } from '../elf/graft/owners.ts'
import {
  type CopyOwner,
  type PythonName,
  type CopyNote,
  NOTE_OWNERS,
  encodeRecord,
  undoOf,
  isLink,
  plainTarget,
  plainSource,
  standaloneGraft,
} from './python-names.ts'

/** A file to copy, or to edit in its place. */
export interface PythonCopy {
  /** The paths of the copy. All of them are one file. */
  readonly paths: readonly string[]
  /** The source of the copy: the interpreter, or the compiled wrapper that starts it. */
  readonly source: string
  readonly loader: string
  readonly owner: CopyOwner
  /** For a wrapper: the path that it starts now, and the path that it must start. */
  readonly redirect: { readonly from: string; readonly to: string } | null
  readonly record: CopyNote
}

/**
 * The copies that a venv needs: one for all links that lead out of the venv, and one for each file. A compiled wrapper sets
 * environment variables that must stay. So the names become copies of the wrapper, and the interpreter's own copy is at
 * `hidden`.
 * @param hidden possible paths of the interpreter's copy; the first that fits into the wrapper is taken
 * @throws ElfError `REFUSED` when the way to the interpreter leads through something that cannot be copied
 */
export function copiesOf(
  names: readonly PythonName[],
  { chain, program }: Interpreter,
  loader: string,
  hidden: readonly string[],
): PythonCopy[] {
  const script = chain.find(({ how }) => how === 'script')
  if (script !== undefined) {
    throw new ElfError('REFUSED', `${script.path} is a script that starts it, and its settings would be lost`)
  }
  const leaving = names.filter(name => {
    const target = isLink(name.replaced) ? plainTarget(name, names) : null
    return target !== null && !names.some(({ path }) => path === target)
  })
  const files = names.filter(({ replaced }) => !isLink(replaced))
  const owner = names[0]?.owner ?? 'venv'
  const recordOf = (some: readonly PythonName[]) => new Map(some.map(({ name, replaced }) => [name, replaced]))
  const of = (source: string, some: readonly PythonName[], redirect: PythonCopy['redirect']): PythonCopy => {
    return { paths: some.map(({ path }) => path), source, loader, owner, redirect, record: recordOf(some) }
  }

  const wrapperAt = chain.findIndex(({ how }) => how === 'wrapper')
  const wrapper = chain[wrapperAt]
  if (wrapper === undefined) {
    return [
      ...(leaving.length === 0 ? [] : [of(program, leaving, null)]),
      ...files.map(file => of(file.path, [file], null)),
    ]
  }
  if (files.length > 0 || chain.slice(wrapperAt + 1).some(({ how }) => how === 'wrapper')) {
    throw new ElfError('REFUSED', `${wrapper.path} is itself a copied wrapper, or starts a second wrapper`)
  }
  const from = chain[wrapperAt + 1]?.path ?? program
  const to = hidden.find(path => encodeText(path).length <= encodeText(from).length)
  if (to === undefined) throw new ElfError('REFUSED', `no path is short enough for ${wrapper.path}, which starts it`)
  return [
    { paths: [to], source: program, loader, owner, redirect: null, record: new Map() },
    of(wrapper.path, leaving, { from, to }),
  ]
}

/** Is every name already equal to the planned copy, byte for byte? */
export function isUpToDate(copy: PythonCopy): boolean {
  try {
    if (!copy.paths.every(path => lstatSync(fsPath(path)).isFile())) return false
    return withSource(copy.source, source => {
      const { base, graft } = graftOf(copy, source)
      const wanted = graftedSource(base, graft)
      return copy.paths.every(path => withSource(path, there => sameBytes(there, wanted)))
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

/** A file without wheelfix's changes, except changes that somebody made with `wheelfix elf`. */
function withoutPlanned(source: ByteSource): Layers {
  return layersOf(source, undo => ownerOf(undo, () => true) !== 'elf')
}

/**
 * The graft, and its base: the bytes without any graft except one of `wheelfix elf`. The search path of another graft is
 * kept.
 * @throws ElfError when this interpreter cannot be edited safely
 */
function graftOf(copy: PythonCopy, source: ByteSource): { base: ByteSource; graft: FileEdit; edit: ElfEdit } {
  const plain = plainSource(source, copy.owner)
  const whole = withoutPlanned(plain).base
  const base = copy.redirect === null ? whole : redirected(whole, copy.redirect)
  const edit = copyEdit(readElf(plain), readElf(base), copy)
  const graft = makeGraft(base, edit, { owner: NOTE_OWNERS[copy.owner], record: encodeRecord(copy) })
  if (graft === null) throw new ElfError('REFUSED', `${copy.source} already has ${copy.loader} as its loader`)
  return { base, graft, edit }
}

/** The wrapper, changed to start another path. */
function redirected(source: ByteSource, { from, to }: NonNullable<PythonCopy['redirect']>): ByteSource {
  const bytes = Buffer.from(source.read(0, source.size))
  const old = Buffer.concat([Buffer.from([0]), encodeText(from), Buffer.from([0])])
  const found: number[] = []
  for (let at = bytes.indexOf(old); at >= 0; at = bytes.indexOf(old, at + 1)) found.push(at + 1)
  if (found.length === 0) throw new ElfError('REFUSED', `the wrapper does not hold the path that it starts (${from})`)
  for (const at of found) bytes.fill(0, at, at + old.length - 2).set(encodeText(to), at)
  return bytesSource(bytes)
}

/**
 * The edit of a copy: the loader, and absolute paths instead of paths that are relative to the interpreter's own place,
 * because the copy is elsewhere.
 */
function copyEdit(plain: ElfObject, base: ElfObject, { paths, source, loader }: PythonCopy): ElfEdit {
  const value = plain.runpath ?? plain.rpath
  const isCopied = paths.some(path => path !== source)
  const absolute = isCopied ? value?.replaceAll(/\$(?:ORIGIN\b|\{ORIGIN\})/g, () => dirname(source)) : value
  const tag = plain.runpath === null ? 'DT_RPATH' : 'DT_RUNPATH'
  const before = tag === 'DT_RPATH' ? base.rpath : base.runpath
  if (absolute == null || absolute === before) return { interpreter: loader }
  return { interpreter: loader, searchPath: { tag, value: absolute } }
}

/**
 * Tries and verifies the edit, and writes nothing.
 * @param interp the loader of the interpreter; a wrapper with another loader may need another libc
 * @throws ElfError when this interpreter cannot be edited safely
 */
export function tryCopy(copy: PythonCopy, interp: string): void {
  withSource(copy.source, source => {
    const { base, graft, edit } = graftOf(copy, source)
    if (copy.redirect !== null && readElf(base).ptInterp !== interp) {
      throw new ElfError('REFUSED', `${copy.source}, which starts it, has another loader`)
    }
    verifyGraft(base, graftedSource(base, graft), edit)
  })
}

/**
 * Puts a copy in its place. Each name changes by one rename, so a program that starts the venv's Python meanwhile gets the
 * old file or the new one.
 * @throws ElfError, or the errors of open(2), write(2) and rename(2); each name is then either unchanged or done
 */
export function writeCopy(copy: PythonCopy): void {
  withSource(copy.source, source => {
    const { base, graft } = graftOf(copy, source)
    const [first, ...others] = copy.paths
    if (first === undefined) return
    if (first === copy.source) {
      replaceFile(first, {
        ...graft,
        patches: [...(joined(withoutPlanned(source).own)?.patches ?? []), ...graft.patches],
      })
      return
    }
    putCopy([first, ...others], fd => {
      if (copy.redirect === null) writeCopied(fd, source, graft)
      else {
        const whole = graftedSource(base, graft)
        writeFully(fd, whole.read(0, whole.size), 0)
      }
    })
  })
}

/** Puts one new file at several paths. @throws the errors of open(2), write(2) and rename(2) */
function putCopy(paths: readonly [string, ...string[]], write: (fd: number) => void): void {
  withFolders(({ at }) => {
    const written = at(temporaryOf(paths[0]))
    const names = paths.map((path, index) => ({
      path: at(path),
      temporary: index === 0 ? written : at(temporaryOf(path)),
    }))
    try {
      const fd = createFile(written)
      try {
        write(fd)
        fchmodSync(fd, 0o755)
      } finally {
        closeSync(fd)
      }
      // the names in bin/ are still links or other copies, and a file system may replace them before these bytes are on the
      // disk
      syncFile(written)
      for (const { temporary } of names.slice(1)) linkOrCopy(written, temporary)
      for (const { path, temporary } of names) renameSync(fsPath(temporary), fsPath(path))
    } catch (error) {
      for (const { temporary } of names) rmSync(fsPath(temporary), { force: true })
      throw error
    }
  })
}

function writeCopied(fd: number, source: FileSource, graft: FileEdit): void {
  // the copy leaves out a graft that wheelfix made in the interpreter itself
  writeEdited(fd, source, {
    ...graft,
    patches: [...(joined(withoutPlanned(source).own)?.patches ?? []), ...graft.patches],
  })
}

/** Links a file, or copies it, because some file systems have no hard links. */
function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(fsPath(from), fsPath(to))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    copyFileSync(fsPath(from), fsPath(to), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
    const fd = openSync(fsPath(to), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      fchmodSync(fd, 0o755)
    } finally {
      closeSync(fd)
    }
  }
}

/**
 * Restores what a copy replaced.
 * @throws the errors of symlink(2), open(2), write(2) and rename(2)
 */
export function restoreName({ path, kind, replaced }: PythonName): void {
  if (kind !== 'copy') return
  if (!isLink(replaced)) {
    const undo = undoOf(path)
    if (undo === null) return
    const bare = { baseSize: undo.originalSize, tail: [], patches: undo.patches, header: undo.header }
    const graft = withSource(path, source => standaloneGraft(originalSource(source, undo), replaced))
    replaceFile(path, graft === null ? bare : { ...graft, patches: [...undo.patches, ...graft.patches] })
    return
  }
  replaceLink(path, replaced.link)
}
