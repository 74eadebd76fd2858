// The objects that the tests of the ELF core read and edit: the prebuilt ones of fixtures/elf, and copies of them with
// some fields changed.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { ElfEdit } from '../../src/elf/edit/edit.ts'
import { graftedSource, type GraftOptions, makeGraft } from '../../src/elf/graft/graft.ts'
import { type Field, type FieldName, type Format, formatOf, getNumber, put } from '../../src/elf/layout.ts'
import { readElf } from '../../src/elf/read.ts'
import { type ByteSource, bytesSource } from '../../src/elf/source.ts'
import { originalSource, readUndo } from '../../src/elf/graft/undo-note.ts'

const folder = join(import.meta.dirname, '../../../fixtures/elf')

/** The names of all prebuilt objects, such as `s390x.so`. */
export const objectNames: readonly string[] = readdirSync(folder)
  .filter(name => name.endsWith('.gz'))
  .map(name => name.slice(0, -3))
  .sort()

/** A fresh copy of a prebuilt object's bytes. */
export function objectBytes(name: string): Buffer {
  return gunzipSync(readFileSync(join(folder, `${name}.gz`)))
}

/** All bytes of a source. */
export function bytesOf(source: ByteSource): Buffer {
  return Buffer.from(source.read(0, source.size))
}

/** The bytes after an edit; the same bytes where it changes nothing. */
export function edited(bytes: Uint8Array, edit: ElfEdit, options: GraftOptions = {}): Buffer {
  const source = bytesSource(bytes)
  const graft = makeGraft(source, edit, options)
  return graft === null ? Buffer.from(bytes) : bytesOf(graftedSource(source, graft))
}

/** The bytes without a graft of ours. @throws Error where there is none */
export function restored(bytes: Uint8Array): Buffer {
  const source = bytesSource(bytes)
  const undo = readUndo(source)
  if (undo === null) throw new Error('there is no undo record')
  return bytesOf(originalSource(source, undo))
}

/** A field of the ELF header or of a program header, to be changed in a copy. */
export type Poke =
  | { readonly ehdr: FieldName<Format['ehdr']>; readonly value: number | bigint }
  | {
      readonly phdr: FieldName<Format['phdr']>
      /** The first program header of this type. */
      readonly type: number
      readonly value: number | bigint
    }

/** A copy with some header fields changed. */
export function poked(bytes: Uint8Array, ...pokes: readonly Poke[]): Buffer {
  const copy = Buffer.from(bytes)
  const { header, programHeaders } = readElf(bytesSource(bytes))
  const format = formatOf(header)
  for (const poke of pokes) {
    if ('ehdr' in poke) put(format, copy, 0, format.ehdr[poke.ehdr], poke.value)
    else {
      const index = programHeaders.findIndex(({ type }) => type === poke.type)
      if (index < 0) throw new Error(`no program header of type ${poke.type}`)
      put(format, copy, header.phoff + index * format.phdr.bytes, format.phdr[poke.phdr], poke.value)
    }
  }
  return copy
}

/** Reads a field of an object that lies in memory. */
export function fieldOf(bytes: Uint8Array, start: number, select: (format: Format) => Field): number {
  const format = formatOf(readElf(bytesSource(bytes)).header)
  return getNumber(format, bytes, start, select(format))
}

export function formatOfBytes(bytes: Uint8Array): Format {
  return formatOf(readElf(bytesSource(bytes)).header)
}
