// The symbol versions that an object needs (.gnu.version_r) and defines (.gnu.version_d), as records whose strings are
// still offsets. Each step leads forward, because vn_next and the other distances are unsigned. The number of records
// is bounded. So a chain with overlapping or repeated records also ends.
import { ElfError } from '../error.ts'
import { type Extent, mustBeAt } from '../memory.ts'
import { type Format, formatOf, getAddress, getNumber } from '../layout.ts'
import { type ByteSource, emptyWindow, locate, type Window } from '../source.ts'
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
  const chain = chainOf(source, format)
  const start = mustBeAt(programHeaders, address, 'DT_VERNEED')
  chain.walk(start, verneed, (bytes, at, extent) => {
    const versions: RawNeededVersion[] = []
    const first = getNumber(format, bytes, at, verneed.aux)
    const version = getNumber(format, bytes, at, verneed.version)
    const file = getAddress(format, bytes, at, verneed.file)
    if (first !== 0 && getNumber(format, bytes, at, verneed.cnt) !== 0) {
      chain.walk(advance(extent, first, 'vn_aux'), vernaux, (record, within, { offset }) => {
        versions.push({
          at: offset,
          name: getAddress(format, record, within, vernaux.name),
          hash: getNumber(format, record, within, vernaux.hash),
          flags: getNumber(format, record, within, vernaux.flags),
        })
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
  const chain = chainOf(source, format)
  chain.walk(mustBeAt(programHeaders, address, 'DT_VERDEF'), verdef, (bytes, at, extent) => {
    const version = getNumber(format, bytes, at, verdef.version)
    const flags = getNumber(format, bytes, at, verdef.flags)
    const hash = getNumber(format, bytes, at, verdef.hash)
    const { offset } = advance(extent, getNumber(format, bytes, at, verdef.aux), 'vd_aux')
    const within = locate(source, chain.window, offset, verdaux.bytes)
    const name = getAddress(format, chain.window.bytes, within, verdaux.name)
    definitions.push({ at: extent.offset, version, name, hash, flags })
  })
  return definitions
}

/** The records of a version table, which form chains and lie close together. */
interface Chains {
  readonly window: Window
  /**
   * Visits the records of a chain. `next` is the distance to the following record, 0 in the last one.
   * @throws ElfError `MALFORMED` when a chain leaves its segment, or the table has too many records
   */
  walk(
    start: Extent,
    record: Pick<Format['verneed'], 'bytes' | 'next'>,
    visit: (bytes: Uint8Array, at: number, extent: Extent) => void,
  ): void
}

function chainOf(source: ByteSource, format: Format): Chains {
  const window = emptyWindow()
  let left = MOST_VERSIONS
  return {
    window,
    walk(start, record, visit) {
      for (let extent = start; ;) {
        const at = locate(source, window, extent.offset, record.bytes)
        const next = getNumber(format, window.bytes, at, record.next)
        if (left-- === 0) throw new ElfError('MALFORMED', `more than ${MOST_VERSIONS} symbol versions`, extent.offset)
        visit(window.bytes, at, extent)
        if (next === 0) return
        extent = advance(extent, next, 'the next version')
      }
    },
  }
}

function advance(extent: Extent, by: number, what: string): Extent {
  if (by < extent.length) return { offset: extent.offset + by, length: extent.length - by }
  throw new ElfError('MALFORMED', `${what} lies ${by} bytes on, outside its segment`, extent.offset, by)
}
