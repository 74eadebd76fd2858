// The command line of patchelf, as data: its options, their arguments, and which options exclude each other. Knows nothing
// of ELF files.
import { type PatchelfEdit, splitPath } from './edits.ts'

type Printable = 'interpreter' | 'osabi' | 'soname' | 'rpath' | 'needed' | 'execstack'

/** The task of `wheelfix elf`. Texts from `@FILE` are already read. */
export interface ElfRequest extends PatchelfEdit {
  readonly files: readonly string[]
  readonly print: ReadonlySet<Printable>
  /** The page size in bytes; null for the machine's own. */
  readonly pageSize: number | null
  readonly output: string | null
  readonly debug: boolean
  readonly mode: 'edit' | 'verify' | 'restore'
  readonly dryRun: boolean
  readonly json: boolean
}

/** A command line that patchelf would also refuse. */
export class ElfUsageError extends Error {
  override readonly name = 'ElfUsageError'
}

/** Options of the real patchelf that wheelfix does not have, because no wheel needs them. */
const UNSUPPORTED = new Set(['--clear-symbol-version', '--build-resolution-cache', '--rename-dynamic-symbols'])

/**
 * The argument of an option. `print`, `flag` and `nothing` take none. A `text` may come from a file (`@FILE`); the other
 * kinds take a word. `list` options may be given more than once.
 */
type OptionKind =
  | { readonly takes: 'print'; readonly what: Printable }
  | { readonly takes: 'flag' | 'nothing' }
  | { readonly takes: 'text' | 'word'; readonly name?: string }
  | { readonly takes: 'list'; readonly of: 'addNeeded' | 'removeNeeded' | 'replaceNeeded' }

const FLAG: OptionKind = { takes: 'flag' }
const TEXT: OptionKind = { takes: 'text' }
const WORD: OptionKind = { takes: 'word' }
/** An option without effect. A graft sorts nothing and overwrites nothing, so it always does what these options ask for. */
const NOTHING: OptionKind = { takes: 'nothing' }

const OPTIONS: ReadonlyMap<string, OptionKind> = new Map<string, OptionKind>([
  ['--print-interpreter', { takes: 'print', what: 'interpreter' }],
  ['--print-soname', { takes: 'print', what: 'soname' }],
  ['--print-rpath', { takes: 'print', what: 'rpath' }],
  ['--print-needed', { takes: 'print', what: 'needed' }],
  ['--print-execstack', { takes: 'print', what: 'execstack' }],
  ['--print-os-abi', { takes: 'print', what: 'osabi' }],
  ['--set-interpreter', TEXT],
  ['--interpreter', { takes: 'text', name: '--set-interpreter' }],
  ['--set-soname', TEXT],
  ['--set-rpath', TEXT],
  ['--add-rpath', TEXT],
  ['--output', TEXT],
  ['--set-os-abi', TEXT],
  ['--allowed-rpath-prefixes', WORD],
  ['--page-size', WORD],
  ['--add-needed', { takes: 'list', of: 'addNeeded' }],
  ['--remove-needed', { takes: 'list', of: 'removeNeeded' }],
  ['--replace-needed', { takes: 'list', of: 'replaceNeeded' }],
  ['--remove-rpath', FLAG],
  ['--shrink-rpath', FLAG],
  ['--force-rpath', FLAG],
  ['--no-default-lib', FLAG],
  ['--add-debug-tag', FLAG],
  ['--clear-execstack', FLAG],
  ['--set-execstack', FLAG],
  ['--debug', FLAG],
  ['--verify', FLAG],
  ['--restore', FLAG],
  ['--dry-run', FLAG],
  ['--json', FLAG],
  ['--no-sort', NOTHING],
  ['--no-clobber-old-sections', NOTHING],
])

/** A command line as the user gave it, before its options are combined. */
interface Given {
  readonly files: string[]
  readonly print: Set<Printable>
  readonly flags: Set<string>
  readonly texts: Map<string, string>
  readonly addNeeded: Set<string>
  readonly removeNeeded: string[]
  readonly replaceNeeded: Map<string, string>
}

/**
 * Reads a command line, without the program's name.
 * @param readArgument returns the content of the file in an argument `@FILE`
 * @throws ElfUsageError
 */
export function parseElfArguments(
  args: readonly string[],
  readArgument: (file: string) => string,
): ElfRequest | 'help' | 'version' {
  const given: Given = {
    files: [],
    print: new Set(),
    flags: new Set(),
    texts: new Map(),
    addNeeded: new Set(),
    removeNeeded: [],
    replaceNeeded: new Map(),
  }
  const left = [...args].reverse()
  for (let arg = left.pop(); arg !== undefined; arg = left.pop()) {
    if (arg === '--') {
      given.files.push(...left.reverse())
      break
    }
    if (arg === '--help' || arg === '-h') return 'help'
    if (arg === '--version') return 'version'
    if (!arg.startsWith('-') || arg === '-') given.files.push(arg)
    else takeOption(arg, given, left, readArgument)
  }
  return requestOf(given)
}

/** @param left the arguments after the option, in reverse: the next one is last */
function takeOption(arg: string, given: Given, left: string[], readArgument: (file: string) => string): void {
  const word = (): string => {
    const value = left.pop()
    if (value === undefined) throw new ElfUsageError('missing argument')
    return value
  }
  const text = (): string => {
    const value = word()
    return value.startsWith('@') ? readArgument(value.slice(1)) : value
  }
  const option = OPTIONS.get(arg)
  switch (option?.takes) {
    case undefined:
      throw new ElfUsageError(UNSUPPORTED.has(arg) ? `${arg} is not supported` : `unknown option ${arg}`)
    case 'print':
      given.print.add(option.what)
      break
    case 'flag':
      given.flags.add(arg)
      break
    case 'text':
      given.texts.set(option.name ?? arg, text())
      break
    case 'word':
      given.texts.set(option.name ?? arg, word())
      break
    case 'list':
      if (option.of === 'addNeeded') given.addNeeded.add(text())
      else if (option.of === 'removeNeeded') given.removeNeeded.push(text())
      else given.replaceNeeded.set(word(), word())
      break
    case 'nothing':
      break
  }
}

/** @throws ElfUsageError when options exclude each other */
function requestOf({ files, print, flags, texts, addNeeded, removeNeeded, replaceNeeded }: Given): ElfRequest {
  const setRpath = texts.get('--set-rpath')
  const addRpath = texts.get('--add-rpath')
  // patchelf takes an empty name as no name
  const output = texts.get('--output') || null
  if (files.length === 0) throw new ElfUsageError('missing filename')
  if (output !== null && files.length !== 1) {
    throw new ElfUsageError('--output option only allowed with single input file')
  }
  if (setRpath !== undefined && addRpath !== undefined) {
    throw new ElfUsageError('--set-rpath option not allowed with --add-rpath')
  }
  if (flags.has('--verify') && flags.has('--restore')) {
    throw new ElfUsageError('--verify option not allowed with --restore')
  }
  return {
    files,
    print,
    interpreter: texts.get('--set-interpreter') || null,
    soname: texts.get('--set-soname') ?? null,
    rpath: rpathOf(flags, setRpath, addRpath),
    allowedPrefixes: splitPath(texts.get('--allowed-rpath-prefixes') ?? ''),
    forceRpath: flags.has('--force-rpath'),
    // patchelf keeps them in a sorted set
    addNeeded: [...addNeeded].sort(),
    removeNeeded,
    replaceNeeded,
    noDefaultLib: flags.has('--no-default-lib'),
    osabi: osabiOf(texts.get('--set-os-abi')),
    addDebugTag: flags.has('--add-debug-tag'),
    executableStack: print.has('execstack') ? null : executableStackOf(flags),
    pageSize: pageSizeOf(texts.get('--page-size')),
    output,
    debug: flags.has('--debug'),
    mode: flags.has('--verify') ? 'verify' : flags.has('--restore') ? 'restore' : 'edit',
    dryRun: flags.has('--dry-run'),
    json: flags.has('--json'),
  }
}

function executableStackOf(flags: ReadonlySet<string>): boolean | null {
  if (flags.has('--clear-execstack')) return false
  return flags.has('--set-execstack') ? true : null
}

/** The search path option that counts, in patchelf's order. */
function rpathOf(flags: ReadonlySet<string>, set: string | undefined, add: string | undefined): ElfRequest['rpath'] {
  if (flags.has('--shrink-rpath')) return { do: 'shrink' }
  if (flags.has('--remove-rpath')) return { do: 'remove' }
  if (set !== undefined) return { do: 'set', value: set }
  return add === undefined ? null : { do: 'add', value: add }
}

/** The values of EI_OSABI that patchelf knows, and the names that it prints. */
const OS_ABIS: readonly (readonly [number, string])[] = [
  [0, 'System V'],
  [1, 'HP-UX'],
  [2, 'NetBSD'],
  [3, 'Linux'],
  [4, 'GNU Hurd'],
  [6, 'Solaris'],
  [7, 'AIX'],
  [8, 'IRIX'],
  [9, 'FreeBSD'],
  [10, 'Tru64'],
  [12, 'OpenBSD'],
  [13, 'OpenVMS'],
]
const OTHER_NAMES = new Map([
  ['sysv', 'system v'],
  ['gnu', 'linux'],
  ['hurd', 'gnu hurd'],
])

/** The name of an EI_OSABI value, as patchelf prints it. */
export function nameOfOsAbi(osabi: number): string {
  const known = OS_ABIS.find(([number]) => number === osabi)
  return known?.[1] ?? `0x${osabi.toString(16).toUpperCase().padStart(2, '0')}`
}

function osabiOf(text: string | undefined): number | null {
  if (text === undefined) return null
  const plain = (name: string): string => name.trim().toLowerCase().replace('-', ' ')
  const wanted = plain(OTHER_NAMES.get(plain(text)) ?? text)
  const found = OS_ABIS.find(([, name]) => plain(name) === wanted)
  if (found === undefined) throw new ElfUsageError('unrecognized OS ABI')
  return found[0]
}

function pageSizeOf(text: string | undefined): number | null {
  if (text === undefined) return null
  const size = Number(text)
  // the operator & works on signed 32 bits
  if (!Number.isInteger(size) || size <= 0 || size >= 2 ** 31 || (size & (size - 1)) !== 0) {
    throw new ElfUsageError('invalid argument to --page-size')
  }
  return size
}
