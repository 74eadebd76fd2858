// The unused bytes behind the segment that holds the dynamic strings. The next segment begins in another page, so the
// rest of the last page is zeros in the file and is mapped anyway. Bytes put there make the segment longer and move
// nothing: a payload stays where it is.
import { PF_W, PT_LOAD, SHT_NOBITS, SHT_NULL } from '../constants.ts'
import { programHeaderPatch } from '../graft/new-headers.ts'
import { formatOf } from '../layout.ts'
import { pageSize, SMALLEST_PAGE } from '../machine.ts'
import type { Editable } from '../rules/refuse.ts'
import { sectionNumber } from '../tables/sections.ts'
import type { ByteSource } from '../source.ts'
import type { ElfObject, ProgramHeader } from '../types.ts'
import type { Patch } from '../overlay.ts'

export interface Slack {
  /** Puts bytes there and returns where they are, in the file and in memory; null where there is no room. */
  take(this: void, bytes: Uint8Array): { readonly offset: number; readonly address: bigint } | null
  /** The bytes, and the segment's new length. */
  patches(this: void): Patch[]
}

/**
 * The bytes that an edit in place may use without moving anything: the padding behind the segment with the dynamic
 * strings.
 */
export function slackOf(source: ByteSource, object: ElfObject, editable: Editable): Slack {
  const { programHeaders } = object
  const { offset: strings } = editable.strtab
  const index = programHeaders.findIndex(
    ({ type, offset, filesz }) => type === PT_LOAD && strings >= offset && strings < offset + filesz,
  )
  const load = programHeaders[index]
  const room = load === undefined ? 0 : lengthBehind(source, object, editable, load)
  const taken: Uint8Array[] = []
  let used = 0
  return {
    take: bytes => {
      if (load === undefined || bytes.length > room - used) return null
      const place = {
        offset: load.offset + load.filesz + used,
        address: load.vaddr + load.memsz + BigInt(used),
      }
      taken.push(bytes)
      used += bytes.length
      return place
    },
    patches: () => {
      if (load === undefined || used === 0) return []
      const longer = { ...load, filesz: load.filesz + used, memsz: load.memsz + BigInt(used) }
      return [
        { offset: load.offset + load.filesz, bytes: Buffer.concat(taken) },
        programHeaderPatch(object, index, longer),
      ]
    },
  }
}

/** How many unused zeros are behind a PT_LOAD, in the page in which it ends. */
function lengthBehind(
  source: ByteSource,
  { header, programHeaders }: ElfObject,
  { sections }: Editable,
  load: ProgramHeader,
): number {
  // otherwise the zeros start its .bss, or the program may use the bytes behind its data
  if (BigInt(load.filesz) !== load.memsz || (load.flags & PF_W) !== 0) return 0
  const end = load.offset + load.filesz
  const endAddress = load.vaddr + load.memsz
  const pageRest = BigInt(SMALLEST_PAGE) - (endAddress % BigInt(SMALLEST_PAGE))
  if (pageRest === BigInt(SMALLEST_PAGE)) return 0
  const page = BigInt(pageSize(header.machine))
  const isNear = ({ type, vaddr }: ProgramHeader): boolean =>
    type === PT_LOAD && vaddr >= endAddress && (vaddr / page) * page < endAddress + pageRest
  if (programHeaders.some(isNear)) return 0

  const format = formatOf(header)
  const things: (readonly [start: number, end: number])[] = [
    [header.phoff, header.phoff + programHeaders.length * format.phdr.bytes],
    ...programHeaders.map(({ offset, filesz }) => [offset, offset + filesz] as const),
  ]
  if (sections !== null) {
    things.push([header.shoff, header.shoff + sections.bytes.length])
    for (let index = 1; index < sections.count; index++) {
      const type = sectionNumber(sections, index, 'type')
      if (type === SHT_NOBITS || type === SHT_NULL) continue
      const start = sectionNumber(sections, index, 'offset')
      things.push([start, start + sectionNumber(sections, index, 'size')])
    }
  }
  const later = things.filter(([start, behind]) => behind > end && behind > start)
  // behind the last segment and section a payload begins, and it may begin with zeros
  if (later.length === 0) return 0
  const next = later.reduce((nearest, [start]) => Math.min(nearest, start), Infinity)
  const length = Math.min(next - end, Number(pageRest), source.size - end)
  if (length <= 0) return 0
  // other bytes than zeros are a table that an older patchelf left there; the zeros before it may belong to it
  return source.read(end, length).some(byte => byte !== 0) ? 0 : length
}
