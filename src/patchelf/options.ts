// The command line of patchelf, as data: its options, their arguments, what they exclude. Knows nothing of ELF files.
import { type PatchelfEdit, splitPath } from './edits.ts'

type Printable = 'interpreter' | 'osabi' | 'soname' | 'rpath' | 'needed' | 'execstack'

/** What `wheelfix elf` was asked to do. Texts from `@FILE` are already read. */
export interface ElfRequest extends PatchelfEdit {
  readonly files: readonly string[]
  readonly print: ReadonlySet<Printable>
  /** Bytes; null: as the machine has it. */
  readonly pageSize: number | null
  readonly output: string | null
  readonly debug: boolean
  readonly mode: 'edit' | 'verify' | 'restore'
  readonly dryRun: boolean
  readonly json: boolean
}

/** A command line that patchelf would not take either. */
export class ElfUsageError extends Error {
  override readonly name = 'ElfUsageError'
}

/** Options of the real patchelf that change what no wheel needs changed. */
const UNSUPPORTED = new Set(['--clear-symbol-version', '--build-resolution-cache', '--rename-dynamic-symbols'])

/**
 * Reads a command line, without the program's name.
 * @param readArgument the content of the file that an argument `@FILE` names
 * @throws ElfUsageError
 */
export function parseElfArguments(
  args: readonly string[],
  readArgument: (file: string) => string,
): ElfRequest | 'help' | 'version' {
  const files: string[] = []
  const print = new Set<Printable>()
  const addNeeded = new Set<string>()
  const removeNeeded: string[] = []
  const replaceNeeded = new Map<string, string>()
  const flags = new Set<string>()
  const texts = new Map<string, string>()
  let optionsEnded = false

  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? ''
    const next = (): string => {
      const value = args[++index]
      if (value === undefined) throw new ElfUsageError('missing argument')
      return value
    }
    const text = (): string => {
      const value = next()
      return value.startsWith('@') ? readArgument(value.slice(1)) : value
    }
    if (optionsEnded || !arg.startsWith('-') || arg === '-') {
      files.push(arg)
      continue
    }
    switch (arg) {
      case '--':
        optionsEnded = true
        break
      case '--help':
      case '-h':
        return 'help'
      case '--version':
        return 'version'
      case '--print-interpreter':
        print.add('interpreter')
        break
      case '--print-soname':
        print.add('soname')
        break
      case '--print-rpath':
        print.add('rpath')
        break
      case '--print-needed':
        print.add('needed')
        break
      case '--print-execstack':
        print.add('execstack')
        break
      case '--print-os-abi':
        print.add('osabi')
        break
      case '--set-interpreter':
      case '--interpreter':
        texts.set('interpreter', text())
        break
      case '--set-soname':
      case '--set-rpath':
      case '--add-rpath':
      case '--output':
      case '--set-os-abi':
        texts.set(arg, text())
        break
      case '--allowed-rpath-prefixes':
      case '--page-size':
        texts.set(arg, next())
        break
      case '--add-needed':
        addNeeded.add(text())
        break
      case '--remove-needed':
        removeNeeded.push(text())
        break
      case '--replace-needed':
        replaceNeeded.set(next(), next())
        break
      case '--remove-rpath':
      case '--shrink-rpath':
      case '--force-rpath':
      case '--no-default-lib':
      case '--add-debug-tag':
      case '--clear-execstack':
      case '--set-execstack':
      case '--debug':
      case '--verify':
      case '--restore':
      case '--dry-run':
      case '--json':
        flags.add(arg)
        break
      // a graft sorts nothing and overwrites nothing: these two are always so
      case '--no-sort':
      case '--no-clobber-old-sections':
        break
      default:
        throw new ElfUsageError(UNSUPPORTED.has(arg) ? `${arg} is not supported` : `unknown option ${arg}`)
    }
  }

  const setRpath = texts.get('--set-rpath')
  const addRpath = texts.get('--add-rpath')
  // an empty one is no wish, as with patchelf
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
    interpreter: texts.get('interpreter') || null,
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
    executableStack: print.has('execstack')
      ? null
      : flags.has('--clear-execstack')
        ? false
        : flags.has('--set-execstack')
          ? true
          : null,
    pageSize: pageSizeOf(texts.get('--page-size')),
    output,
    debug: flags.has('--debug'),
    mode: flags.has('--verify') ? 'verify' : flags.has('--restore') ? 'restore' : 'edit',
    dryRun: flags.has('--dry-run'),
    json: flags.has('--json'),
  }
}

/** One of them counts, in patchelf's order. */
function rpathOf(flags: ReadonlySet<string>, set: string | undefined, add: string | undefined): ElfRequest['rpath'] {
  if (flags.has('--shrink-rpath')) return { do: 'shrink' }
  if (flags.has('--remove-rpath')) return { do: 'remove' }
  if (set !== undefined) return { do: 'set', value: set }
  return add === undefined ? null : { do: 'add', value: add }
}

/** The values of EI_OSABI that patchelf knows, and the names it prints. */
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

/** As patchelf prints it. */
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
  // & takes 32 bits, signed
  if (!Number.isInteger(size) || size <= 0 || size >= 2 ** 31 || (size & (size - 1)) !== 0) {
    throw new ElfUsageError('invalid argument to --page-size')
  }
  return size
}
