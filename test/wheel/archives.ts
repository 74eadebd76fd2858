// Hand-made zip archives for tests: every field can be told a lie.
import { crc32, deflateRawSync } from 'node:zlib'

export interface Part {
  readonly name: string | Buffer
  readonly data?: string | Uint8Array
  /** Default: deflated. */
  readonly method?: number
  readonly level?: number
  readonly flags?: number
  /** st_mode */
  readonly mode?: number
  /** dos time and date */
  readonly time?: number
  readonly descriptor?: 'short' | 'signed' | 'zip64'
  readonly zip64?: boolean
  readonly extra?: Buffer
  readonly localExtra?: Buffer
  readonly comment?: string
  /** Lies of both headers. */
  readonly crc?: number
  readonly size?: number
  readonly compressedSize?: number
  readonly compressed?: Buffer
  /** Lies of the local header alone. */
  readonly local?: {
    name?: string
    crc?: number
    size?: number
    compressedSize?: number
    method?: number
    flags?: number
  }
  /** Lies of the directory alone. */
  readonly offset?: number
  /** Bytes before the local header. */
  readonly gap?: number
}

export interface Whole {
  readonly prefix?: number
  readonly comment?: Buffer
  readonly zip64?: boolean
  readonly count?: number
  readonly directorySize?: number
  readonly trailing?: number
}

export function makeZip(parts: readonly Part[], whole: Whole = {}): Buffer {
  const out: Buffer[] = []
  const central: Buffer[] = []
  let at = 0
  const push = (bytes: Buffer): void => {
    out.push(bytes)
    at += bytes.length
  }
  for (const part of parts) {
    if (part.gap) push(Buffer.alloc(part.gap, 0x2a))
    const data = Buffer.from(part.data ?? '')
    const method = part.method ?? 8
    const compressed = part.compressed ?? (method === 8 ? deflateRawSync(data, { level: part.level ?? 6 }) : data)
    const crc = part.crc ?? crc32(data)
    const size = part.size ?? data.length
    const compressedSize = part.compressedSize ?? compressed.length
    const flags = (part.flags ?? 0) | (part.descriptor ? 8 : 0)
    const name = Buffer.from(part.name)
    const offset = part.offset ?? at

    const local = { name, crc, size, compressedSize, method, flags, ...part.local }
    const unknown = part.descriptor !== undefined
    const localName = Buffer.from(local.name)
    const localWide = zip64Extra(part.zip64 === true, [local.size, local.compressedSize])
    const localExtra = Buffer.concat([localWide, part.localExtra ?? Buffer.alloc(0)])
    const header = Buffer.alloc(30)
    header.writeUInt32LE(0x04034b50, 0)
    header.writeUInt16LE(part.zip64 ? 45 : 20, 4)
    header.writeUInt16LE(local.flags, 6)
    header.writeUInt16LE(local.method, 8)
    header.writeUInt32LE(part.time ?? 0x5a21_7d1c, 10)
    header.writeUInt32LE(unknown && part.local?.crc === undefined ? 0 : local.crc, 14)
    header.writeUInt32LE(part.zip64 ? 0xffffffff : unknown ? 0 : local.compressedSize, 18)
    header.writeUInt32LE(part.zip64 ? 0xffffffff : unknown ? 0 : local.size, 22)
    header.writeUInt16LE(localName.length, 26)
    header.writeUInt16LE(localExtra.length, 28)
    push(Buffer.concat([header, localName, localExtra, compressed]))
    if (part.descriptor !== undefined) {
      const wide = part.descriptor === 'zip64'
      const descriptor = Buffer.alloc(part.descriptor === 'short' ? 12 : wide ? 24 : 16)
      const start = part.descriptor === 'short' ? 0 : 4
      if (start) descriptor.writeUInt32LE(0x08074b50, 0)
      descriptor.writeUInt32LE(crc, start)
      if (wide) {
        descriptor.writeBigUInt64LE(BigInt(compressedSize), start + 4)
        descriptor.writeBigUInt64LE(BigInt(size), start + 12)
      } else {
        descriptor.writeUInt32LE(compressedSize, start + 4)
        descriptor.writeUInt32LE(size, start + 8)
      }
      push(descriptor)
    }

    const wide = zip64Extra(part.zip64 === true, [size, compressedSize, offset])
    const extra = Buffer.concat([wide, part.extra ?? Buffer.alloc(0)])
    const comment = Buffer.from(part.comment ?? '')
    const record = Buffer.alloc(46)
    record.writeUInt32LE(0x02014b50, 0)
    record.writeUInt16LE((3 << 8) | 20, 4)
    record.writeUInt16LE(part.zip64 ? 45 : 20, 6)
    record.writeUInt16LE(flags, 8)
    record.writeUInt16LE(method, 10)
    record.writeUInt32LE(part.time ?? 0x5a21_7d1c, 12)
    record.writeUInt32LE(crc, 16)
    record.writeUInt32LE(part.zip64 ? 0xffffffff : compressedSize, 20)
    record.writeUInt32LE(part.zip64 ? 0xffffffff : size, 24)
    record.writeUInt16LE(name.length, 28)
    record.writeUInt16LE(extra.length, 30)
    record.writeUInt16LE(comment.length, 32)
    record.writeUInt32LE(((part.mode ?? 0o100644) << 16) >>> 0, 38)
    record.writeUInt32LE(part.zip64 ? 0xffffffff : offset, 42)
    central.push(Buffer.concat([record, name, extra, comment]))
  }
  const directory = Buffer.concat(central)
  const directoryOffset = at
  push(directory)
  const count = whole.count ?? parts.length
  const directorySize = whole.directorySize ?? directory.length
  if (whole.zip64) {
    const end = Buffer.alloc(76)
    end.writeUInt32LE(0x06064b50, 0)
    end.writeBigUInt64LE(44n, 4)
    end.writeUInt16LE(45, 12)
    end.writeUInt16LE(45, 14)
    end.writeBigUInt64LE(BigInt(count), 24)
    end.writeBigUInt64LE(BigInt(count), 32)
    end.writeBigUInt64LE(BigInt(directorySize), 40)
    end.writeBigUInt64LE(BigInt(directoryOffset), 48)
    end.writeUInt32LE(0x07064b50, 56)
    end.writeBigUInt64LE(BigInt(at), 64)
    end.writeUInt32LE(1, 72)
    push(end)
  }
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt16LE(whole.zip64 ? 0xffff : count, 8)
  end.writeUInt16LE(whole.zip64 ? 0xffff : count, 10)
  end.writeUInt32LE(whole.zip64 ? 0xffffffff : directorySize, 12)
  end.writeUInt32LE(whole.zip64 ? 0xffffffff : directoryOffset, 16)
  end.writeUInt16LE(whole.comment?.length ?? 0, 20)
  push(end)
  if (whole.comment) push(whole.comment)
  push(Buffer.alloc(whole.trailing ?? 0, 0x2a))
  return Buffer.concat([Buffer.alloc(whole.prefix ?? 0, 0x2a), ...out])
}

function zip64Extra(wanted: boolean, values: readonly number[]): Buffer {
  if (!wanted) return Buffer.alloc(0)
  const extra = Buffer.alloc(4 + 8 * values.length)
  extra.writeUInt16LE(1, 0)
  extra.writeUInt16LE(8 * values.length, 2)
  for (const [index, value] of values.entries()) extra.writeBigUInt64LE(BigInt(value), 4 + 8 * index)
  return extra
}
