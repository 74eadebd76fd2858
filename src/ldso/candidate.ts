// What a loader does with a file that it has opened under a wanted name. It takes the file, passes it over for the next
// directory, ends this list of directories, or gives up. This file knows nothing of search paths. README.md in this
// folder lists the rules with their sources and tests.
import {
  DF_1_NOOPEN,
  DF_1_PIE,
  EI_ABIVERSION,
  EI_CLASS,
  EI_DATA,
  EI_NIDENT,
  EI_OSABI,
  EI_PAD,
  EI_VERSION,
  ELFCLASS32,
  ELFCLASS64,
  ELFDATA2LSB,
  ELFDATA2MSB,
  ELFOSABI_ARM_AEABI,
  ELFOSABI_GNU,
  ELFOSABI_SYSV,
  EM_ARM,
  EM_MIPS,
  ET_DYN,
  ET_EXEC,
  EV_CURRENT,
} from '../elf/constants.ts'
import { formatOf, getNumber } from '../elf/layout.ts'
import { isElf } from '../elf/read.ts'
import type { ElfHeader, ElfObject } from '../elf/types.ts'
import { isSameFloatAbi, isSameMachine } from './fits.ts'
import type { Libc } from './libc.ts'
import type { Process } from './search.ts'
import type { OpenedFile } from './file-tree.ts'

/** Why a loader gives up at a file. */
export interface Fault {
  readonly by: 'not-elf' | 'unloadable'
  /** The second half of a sentence about the file. */
  readonly fault: string
}

/** `list-ends`: glibc searches no more directories of this search path, but goes on with the next kind of path. */
type Fate = 'opened' | 'passed-over' | 'list-ends' | Fault

const NO_ELF: Fault = { by: 'not-elf', fault: 'is not an ELF file' }

/** The fate of an opened file, up to the point where the loader checks whether it has the file already. */
export function fateOf(file: OpenedFile, { main, loader: { libc } }: Process): Fate {
  const program = main.object.header
  if (file.errno !== undefined) return fateOfErrno(file.errno, libc)
  if (libc.kind === 'musl') return muslFate(file, program)
  const { object } = file
  if (object === null) return unreadFate(file.head ?? NOTHING, program, libc)
  const { header } = object
  if (header.class !== program.class) return 'passed-over'
  const odd = oddityOf(header, program)
  const isOther = header.byteOrder !== program.byteOrder || !isSameMachine(header, program)
  if (odd !== null) return isOther && libc.skipsOtherMachines ? 'passed-over' : unloadable(odd)
  if (isOther) return 'passed-over'
  if (header.type !== ET_DYN && header.type !== ET_EXEC) return unloadable('is neither a library nor a program')
  return 'opened'
}

/** Why an opened file that is new to the process cannot be mapped into it; null when it can. */
export function mappingFault(object: ElfObject, { loader, opening }: Process): Fault | null {
  const { header, dynamic, flags1 } = object
  if (loader.libc.kind === 'musl') return dynamic === null ? unloadable('has no dynamic section') : null
  if (!object.isMappable)
    return unloadable('has a segment that does not fit into pages (a tool such as strip damaged it)')
  if (header.type === ET_EXEC || (flags1 & DF_1_PIE) !== 0n) return unloadable('is a program')
  if (dynamic === null) return unloadable('has no dynamic section')
  return opening && (flags1 & DF_1_NOOPEN) !== 0n ? unloadable('may not be opened by dlopen (DF_1_NOOPEN)') : null
}

function unloadable(fault: string): Fault {
  return { by: 'unloadable', fault }
}

function fateOfErrno(errno: string, libc: Libc): Fate {
  if (libc.kind === 'glibc') return errno === 'ENOTDIR' && !isOlder(libc, 39) ? 'passed-over' : 'list-ends'
  return errno === 'ENOTDIR' || errno === 'ENAMETOOLONG' ? 'passed-over' : unloadable(`cannot be opened (${errno})`)
}

/** Is this a glibc before 2.`minor`? An unknown version counts as new. */
function isOlder({ version }: Libc, minor: number): boolean {
  return Number(/^2\.(\d+)/.exec(version ?? '')?.[1] ?? minor) < minor
}

/** musl reads a header of its own kind, whatever e_ident and e_machine say. */
function muslFate({ object, head }: OpenedFile, program: ElfHeader): Fate {
  if (object === null) return head !== undefined && isElf(head) ? unloadable('cannot be read') : NO_ELF
  const { header } = object
  if (header.class !== program.class || header.byteOrder !== program.byteOrder) return unloadable('is of another class')
  return header.type === ET_DYN || header.type === ET_EXEC ? 'opened' : unloadable('is neither a library nor a program')
}

const NOTHING = new Uint8Array(0)

/** The fate of a file that `readElf` rejects. The first bytes decide whether the loader gets as far as that fault. */
function unreadFate(head: Uint8Array, program: ElfHeader, libc: Libc): Fate {
  const format = formatOf(program)
  if (head.length < format.ehdr.bytes || !isElf(head)) return NO_ELF
  if (head[EI_CLASS] !== (program.class === 64 ? ELFCLASS64 : ELFCLASS32)) return 'passed-over'
  const isLittle = program.byteOrder === 'little'
  const isOther = getNumber(format, head, 0, format.ehdr.machine) !== program.machine
  const isOdd =
    head[EI_DATA] !== (isLittle ? ELFDATA2LSB : ELFDATA2MSB) ||
    head[EI_VERSION] !== EV_CURRENT ||
    !isKnownAbi(head[EI_OSABI] ?? 0, head[EI_ABIVERSION] ?? 0, program.machine) ||
    head.subarray(EI_PAD, EI_NIDENT).some(byte => byte !== 0)
  if (isOther && (!isOdd || libc.skipsOtherMachines)) return 'passed-over'
  return unloadable('cannot be read')
}

/** The part of e_ident and e_version that the loader of `program` rejects; null for none. */
function oddityOf(header: ElfHeader, program: ElfHeader): string | null {
  if (header.byteOrder !== program.byteOrder) return 'is of the other byte order'
  if (!header.isCurrent) return 'has an unknown version in its ELF header, or padding that is not zero'
  if (!isKnownAbi(header.osabi, header.abiVersion, program.machine)) return 'is of another OS ABI or ABI version'
  if (header.machine === EM_ARM && program.machine === EM_ARM && !isSameFloatAbi(header, program)) {
    return 'is of another float ABI'
  }
  return null
}

/** One more than the highest of glibc's own ABI versions (libc-abis: UNIQUE, IFUNC, ABSOLUTE). */
const LIBC_ABI_MAX = 4
/** MIPS has 5 more ABI versions without names. */
const MIPS_ABI_MAX = 6

function isKnownAbi(osabi: number, version: number, machine: number): boolean {
  if (osabi === ELFOSABI_SYSV) return version === 0 || (machine === EM_MIPS && version < MIPS_ABI_MAX)
  if (osabi === ELFOSABI_GNU) return version < LIBC_ABI_MAX
  return machine === EM_ARM && osabi === ELFOSABI_ARM_AEABI && version === 0
}
