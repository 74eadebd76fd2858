// Files that are not what a loader looks for: a small 64-bit library, changed in one way.
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'

type Change = (bytes: Buffer) => Buffer

const set =
  (at: number, ...values: number[]): Change =>
  bytes => {
    bytes.set(values, at)
    return bytes
  }

const PROGRAM_HEADERS = 64
const PROGRAM_HEADER = 56
const P_VADDR = 16
const P_FILESZ = 32
const P_ALIGN = 48

const CHANGES = {
  text: () => Buffer.from('INPUT(-lc) '.repeat(20)),
  empty: () => Buffer.alloc(0),
  'cut in its header': bytes => bytes.subarray(0, 40),
  'cut behind its header': bytes => bytes.subarray(0, 70),
  'another class': set(4, 1),
  'another machine': bytes => set(18, bytes[18] === 62 ? 183 : 62)(bytes),
  'another byte order': set(5, 2),
  'another EI_VERSION': set(6, 0),
  'another OS ABI': set(7, 9),
  'the GNU ABI': set(7, 3),
  'an unknown GNU ABI version': set(7, 3, 99),
  'an ABI version': set(8, 1),
  padding: set(15, 1),
  'another e_version': set(20, 2),
  ET_REL: set(16, 1),
  ET_CORE: set(16, 4),
  ET_EXEC: set(16, 2),
  // DT_FLAGS_1 with DF_1_PIE in the place of DT_SYMENT, which nobody looks at
  'a PIE': bytes => {
    const entry = Buffer.alloc(16)
    entry.writeBigUInt64LE(11n)
    entry.writeBigUInt64LE(24n, 8)
    return set(bytes.indexOf(entry), 0xfb, 0xff, 0xff, 0x6f, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0)(bytes)
  },
  'another e_phentsize': set(54, 55),
  'an address that does not fit its offset': set(PROGRAM_HEADERS + P_VADDR, 16),
  'an alignment of less than a page': set(PROGRAM_HEADERS + P_ALIGN, 16, 0, 0),
  'no PT_LOAD': set(PROGRAM_HEADERS, 0),
  'no PT_DYNAMIC': set(PROGRAM_HEADERS + PROGRAM_HEADER, 0),
  'an empty PT_DYNAMIC': bytes => {
    bytes.writeBigUInt64LE(0n, PROGRAM_HEADERS + PROGRAM_HEADER + P_FILESZ)
    return bytes
  },
} satisfies Readonly<Record<string, Change>>

const REPLACEMENTS = {
  'a folder': (path: string) => mkdirSync(path),
  'a link to nowhere': (path: string) => symlinkSync('nowhere', path),
  'a link through a file': (path: string) => symlinkSync('/proc/version/liba.so', path),
} satisfies Readonly<Record<string, (path: string) => void>>

export type Mutation = keyof typeof CHANGES | keyof typeof REPLACEMENTS | 'unreadable'

export const MUTATIONS = [...Object.keys(CHANGES), ...Object.keys(REPLACEMENTS), 'unreadable'] as readonly Mutation[]

/** musl goes by nothing in e_ident: real files of other kinds do not fit its headers, a changed byte says nothing. */
export const NOT_FOR_MUSL: ReadonlySet<Mutation> = new Set([
  'another class',
  'another byte order',
  'an address that does not fit its offset',
  'an empty PT_DYNAMIC',
])

/** Changes a library that `makeLibrary` made. @returns its path */
export function mutate(path: string, kind: Mutation): string {
  if (kind === 'unreadable') chmodSync(path, 0)
  else if (kind in REPLACEMENTS) {
    rmSync(path)
    REPLACEMENTS[kind as keyof typeof REPLACEMENTS](path)
  } else writeFileSync(path, CHANGES[kind as keyof typeof CHANGES](readFileSync(path)))
  return path
}
