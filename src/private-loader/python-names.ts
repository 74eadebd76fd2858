// The names of bin/ that start Python, and what was in the place of a copy before. The copy's own undo note records this,
// and a restore needs only this note.
import { dirname, isAbsolute, join } from 'node:path'
import { ElfError } from '../elf/error.ts'
import type { FileEdit } from '../elf/edit/file-edit.ts'
import { graftedSource, makeGraft } from '../elf/graft/graft.ts'
import { isElf, readElf } from '../elf/read.ts'
import { type ByteSource } from '../elf/source.ts'
import { originalSource, type Owner, readUndo, type Undo } from '../elf/graft/undo-note.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { entriesIn, readLink } from '../io/path.ts'
import { withSource } from '../io/source.ts'
import { findInterpreter, type Interpreter } from '../python/interpreter.ts'
import type { Environment, PythonEnvironment } from '../python/environment.ts'
import { COPY_MARKS } from '../elf/graft/owners.ts'

/**
 * The owner of a copy: a venv, or an installed Python that got a loader from `wheelfix python`. Python's own `venv --copies`
 * also copies the note of such a Python. In the new venv that copy is a file like any other.
 */
export type CopyOwner = 'venv' | 'standalone'

/**
 * What was in the place of a copy: a link with this text, or a file (of a venv made with --copies) that the note restores.
 */
type Replaced = { readonly link: string } | 'file' | Standalone

/**
 * A file that is a copy of an installed Python with a loader from wheelfix. With these fields wheelfix makes the file again
 * from its original bytes.
 */
interface Standalone {
  readonly interpreter: string
  readonly record: string
}

/** One name in bin/ that starts the venv's Python. */
export interface PythonName {
  readonly name: string
  readonly path: string
  /** A link, a file of the venv, or a copy by wheelfix that replaced one of them. */
  readonly kind: 'link' | 'file' | 'copy'
  readonly owner: CopyOwner
  /** What is there without wheelfix. */
  readonly replaced: Replaced
}

/** The note of a copy: its names, and what each name was before. */
export type CopyNote = ReadonlyMap<string, Replaced>

/** The name of each owner in an undo note. */
export const NOTE_OWNERS = { venv: 'python', standalone: 'standalone' } as const satisfies {
  [owner in CopyOwner]: Owner
}

/** The note of a copy as the record of an undo note: the mark of the owner, then JSON. */
export function encodeRecord({ owner, record }: { readonly owner: CopyOwner; readonly record: CopyNote }): string {
  const rows = [...record].map(([name, was]) => [name, was === 'file' ? null : 'link' in was ? was.link : was])
  return COPY_MARKS[NOTE_OWNERS[owner]] + JSON.stringify(Object.fromEntries(rows))
}

function decodeCopyNote(undo: Undo | null, owner: CopyOwner): CopyNote | null {
  if (undo?.record?.startsWith(COPY_MARKS[NOTE_OWNERS[owner]]) !== true) return null
  const value: unknown = JSON.parse(undo.record.slice(COPY_MARKS[NOTE_OWNERS[owner]].length))
  if (typeof value !== 'object' || value === null) return null
  return new Map(Object.entries(value).map(([name, was]) => [name, decodeReplaced(was)]))
}

function decodeReplaced(value: unknown): Replaced {
  if (typeof value === 'string') return { link: value }
  if (typeof value !== 'object' || value === null || !('interpreter' in value) || !('record' in value)) return 'file'
  const { interpreter, record } = value
  return typeof interpreter === 'string' && typeof record === 'string' ? { interpreter, record } : 'file'
}

/** The names of bin/ that start Python, in byte order. */
export function pythonNames(venv: Environment, owner: CopyOwner = 'venv'): PythonName[] {
  const names: PythonName[] = []
  for (const { name, kind } of entriesIn(venv.bin)) {
    if (!/^(?:python|pypy)(?:\d+(?:\.\d+)?t?)?$/.test(name)) continue
    const path = join(venv.bin, name)
    if (kind === 'symlink') names.push({ name, path, kind: 'link', owner, replaced: { link: readLink(path) } })
    else if (kind === 'file') {
      const undo = undoOf(path)
      const record = decodeCopyNote(undo, owner)
      const replaced = record === null ? originalFile(path, undo, owner) : (record.get(name) ?? 'file')
      names.push({ name, path, kind: record === null ? 'file' : 'copy', owner, replaced })
    }
  }
  return names
}

function originalFile(path: string, undo: Undo | null, owner: CopyOwner): Replaced {
  if (owner === 'standalone' || decodeCopyNote(undo, 'standalone') === null) return 'file'
  const interpreter = ptInterpOf(path)
  return interpreter === null || undo?.record == null ? 'file' : { interpreter, record: undo.record }
}

/** The undo note of a file; null if it has none, or cannot be read. */
export function undoOf(path: string): Undo | null {
  try {
    return withSource(path, source => (isElf(source.read(0, Math.min(4, source.size))) ? readUndo(source) : null))
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return null
    throw error
  }
}

/** Was there a symbolic link in the place of a copy? */
export function isLink(replaced: Replaced): replaced is { readonly link: string } {
  return replaced !== 'file' && 'link' in replaced
}

/**
 * The path to which a name leads without wheelfix: a path outside the venv, or the name's own path for a file; null for a
 * circle.
 * @param copies receives the copies on the way
 */
export function plainTarget(start: PythonName, names: readonly PythonName[], copies: PythonName[] = []): string | null {
  let entry = start
  for (let steps = 0; steps <= names.length; steps++) {
    if (entry.kind === 'copy') copies.push(entry)
    if (!isLink(entry.replaced)) return entry.path
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
 * @throws the errors of `findInterpreter`
 */
export function plainInterpreter(venv: PythonEnvironment, names: readonly PythonName[]): Interpreter {
  const entry = names.find(({ path }) => path === venv.python)
  const copies: PythonName[] = []
  const target = entry === undefined ? null : plainTarget(entry, names, copies)
  // a run that is killed while it removes the private loader may leave bin/python as a link to a name that is still a copy
  const [copy] = copies
  if (copy === undefined || target === null) return findInterpreter(venv)
  try {
    const interpreter = findInterpreter({ ...venv, python: target })
    const object = withSource(interpreter.program, source => readElf(plainSource(source, copy.owner)))
    return { ...interpreter, executable: venv.python, object, interp: object.ptInterp ?? interpreter.interp }
  } catch (error) {
    if (!(error instanceof WheelfixError) || error.code !== 'PYTHON_NOT_FOUND') throw error
    throw new WheelfixError(
      error.code,
      `${venv.python} is a copy of the Python at ${target}, which no longer exists: it was upgraded, removed or ` +
        'garbage-collected. Make the environment again, or give it the new Python with python3 -m venv --upgrade after wheelfix restore',
      venv.python,
    )
  }
}

/** PT_INTERP of the program on disk; null when it has none or cannot be read. */
export function ptInterpOf(path: string): string | null {
  try {
    return withSource(path, source => readElf(source).ptInterp)
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return null
    throw error
  }
}

/** The file as it was before this owner made it a copy. Other changes stay, including those of wheelfix. */
export function plainSource(source: ByteSource, owner: CopyOwner): ByteSource {
  const undo = readUndo(source)
  const record = decodeCopyNote(undo, owner)
  if (undo === null || record === null) return source
  const original = originalSource(source, undo)
  // a file has its own copy, with one name
  const [was] = record.values()
  const graft = was === undefined ? null : standaloneGraft(original, was)
  return graft === null ? original : graftedSource(original, graft)
}

/**
 * The graft that makes an installed Python with a loader from wheelfix out of its original bytes; null when `was` is not
 * such a Python.
 */
export function standaloneGraft(original: ByteSource, was: Replaced): FileEdit | null {
  if (was === 'file' || isLink(was)) return null
  return makeGraft(original, { interpreter: was.interpreter }, { owner: 'standalone', record: was.record })
}
