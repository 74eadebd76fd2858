// The symbol versions that an object needs (.gnu.version_r) and defines (.gnu.version_d), as records whose strings are
// still offsets. Each step leads forward, because vn_next and the other distances are unsigned. The number of records
// is bounded. So a chain with overlapping or repeated records also ends.
import { ElfError } from '../error.ts'
import { type Extent, mustBeAt } from '../memory.ts'
import { decode, type Format, formatOf, getNumber } from '../layout.ts'
import type { ByteSource } from '../source.ts'
import type { ElfHeader, ProgramHeader } from '../types.ts'

/** The largest real objects have some thousand versions. */
const MOST_VERSIONS = 1 << 16

/** One version needed (Elf_Vernaux). */
interface RawNeededVersion {
  /** File offset of the record. */
  readonly at: number
  /** Offset from DT_STRTAB. */
  readonly name: bigint
  readonly hash: number
  readonly flags: number
}

/** The versions needed of one file (Elf_Verneed). */
interface RawVersionNeed {
  readonly at: number
  /** vn_version: 1 */
  readonly version: number
  readonly file: bigint
  readonly versions: readonly RawNeededVersion[]
}

/** One version defined (Elf_Verdef). */
interface RawVersionDefinition extends RawNeededVersion {
  /** vd_version: 1 */
  readonly version: number
}

/** The chain of DT_VERNEED; empty without an address. @throws ElfError */
export function readVersionNeeds(
  source: ByteSource,
  header: ElfHeader,
  programHeaders: readonly ProgramHeader[],
  address: bigint | undefined,
): RawVersionNeed[] {
  if (address === undefined) return []
  const format = formatOf(header)
  const { verneed, vernaux } = format
  const needs: RawVersionNeed[] = []
  const spend = budget()
  walk(source, format, mustBeAt(programHeaders, address, 'DT_VERNEED'), verneed, (bytes, extent) => {
    const versions: RawNeededVersion[] = []
    const { version, cnt, file, aux } = decode(verneed, format, bytes)
    spend(extent)
    if (aux !== 0 && cnt !== 0) {
      walk(source, format, advance(extent, aux, 'vn_aux'), vernaux, (record, place) => {
        spend(place)
        const { name, hash, flags } = decode(vernaux, format, record)
        versions.push({ at: place.offset, name, hash, flags })
      })
    }
    needs.push({ at: extent.offset, version, file, versions })
  })
  return needs
}

/** The chain of DT_VERDEF; empty without an address. @throws ElfError */
export function readVersionDefinitions(
  source: ByteSource,
  header: ElfHeader,
  programHeaders: readonly ProgramHeader[],
  address: bigint | undefined,
): RawVersionDefinition[] {
  if (address === undefined) return []
  const format = formatOf(header)
  const { verdef, verdaux } = format
  const definitions: RawVersionDefinition[] = []
  const spend = budget()
  walk(source, format, mustBeAt(programHeaders, address, 'DT_VERDEF'), verdef, (bytes, extent) => {
    spend(extent)
    const { version, flags, hash, aux } = decode(verdef, format, bytes)
    const first = advance(extent, aux, 'vd_aux')
    const { name } = decode(verdaux, format, source.read(first.offset, verdaux.bytes))
    definitions.push({ at: extent.offset, version, name, hash, flags })
  })
  return definitions
}

/** Counts records. @throws ElfError when there are too many */
function budget(): (extent: Extent) => void {
  let left = MOST_VERSIONS
  return ({ offset }) => {
    if (left-- === 0) throw new ElfError('MALFORMED', `more than ${MOST_VERSIONS} symbol versions`, offset)
  }
}

/** Visits the records of a chain. `next` is the distance to the following record, 0 in the last one. */
function walk(
  source: ByteSource,
  format: Format,
  start: Extent,
  record: Pick<Format['verneed'], 'bytes' | 'next'>,
  visit: (bytes: Uint8Array, extent: Extent) => void,
): void {
  for (let extent = start; ;) {
    const bytes = source.read(extent.offset, record.bytes)
    const next = getNumber(format, bytes, 0, record.next)
    visit(bytes, extent)
    if (next === 0) return
    extent = advance(extent, next, 'the next version')
  }
}

function advance(extent: Extent, by: number, what: string): Extent {
  if (by < extent.length) return { offset: extent.offset + by, length: extent.length - by }
  throw new ElfError('MALFORMED', `${what} lies ${by} bytes on, outside its segment`, extent.offset, by)
}
