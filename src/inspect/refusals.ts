// What the real loader says when it does not load an object for a reason that is no matter of where libraries are: each is
// a finding, as serious as it is certain. An object that fails alone may work once its package has loaded another one.
import { readElf } from '../elf/read.ts'
import { definesSymbol } from '../elf/tables/symbols.ts'
import { ElfError } from '../elf/error.ts'
import { errnoOf } from '../io/error.ts'
import { fileNameOf } from '../io/path.ts'
import { withSource } from '../io/source.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import type { Finding } from './findings.ts'

/** An object that the loader does not load, and what it says. */
export interface Refusal {
  readonly object: ScannedObject
  readonly error: string
  /** Is it imported or run, or brought in by something that is? */
  readonly counts: boolean
}

/** Is it said of a library or version that is not found? That is told with what is missing. */
export function isAboutSearch(error: string): boolean {
  return /: cannot open shared object|^Error loading shared library|version `[^']+' not found/.test(error)
}

/** The findings. `defining` are the objects in which a symbol may be that another one lacks. */
export function refusalFindings(refusals: readonly Refusal[], defining: readonly string[]): Finding[] {
  const wanted = new Set(refusals.flatMap(({ error }) => lackingSymbol(error) ?? []))
  const definers = definersOf(wanted, defining)
  return refusals.map(({ object, error, counts }): Finding => {
    const symbol = lackingSymbol(error)
    const definer = symbol === null ? undefined : definers.get(symbol)
    const said = `the loader does not load it: ${withoutPath(error, object.path)}`
    return {
      code: 'loader-refuses',
      severity: severityOf(object, error, symbol, definer, counts),
      message: definer === undefined ? said : `${said}; it loads once ${fileNameOf(definer)} is loaded for all`,
      remedy: remedyOf(error, object.path),
      paths: [object.relative],
    }
  })
}

/**
 * A symbol may come from what its package loads before it, or from the program that is to load it: only where nothing here
 * has it, and Python itself imports the object, is that certain. So it is with an end in the middle of a constructor. An
 * allocator (jemalloc, tcmalloc) is preloaded, when there is still room for all thread-local data. All else fails whatever
 * was loaded before.
 */
function severityOf(
  object: ScannedObject,
  error: string,
  symbol: string | null,
  definer: string | undefined,
  counts: boolean,
): Finding['severity'] {
  if (isForAnotherPython(object.path)) return 'note'
  if (symbol !== null) return definer === undefined && object.kind === 'extension' ? 'error' : 'note'
  if (/^the process ended|cannot be dlopen/.test(error)) return object.kind === 'extension' ? 'warning' : 'note'
  if (counts) return 'error'
  return /static TLS/.test(error) && definersOf(new Set(['malloc']), [object.path]).size > 0 ? 'note' : 'warning'
}

/** The ending of a module that another Python imports: those of this one make an object an `extension`. */
function isForAnotherPython(path: string): boolean {
  return /\.(?:cpython-|pypy|graalpy)[^/]*\.so$/.test(path) && !/\.abi3/.test(path)
}

/** glibc: `undefined symbol: f`, with `, version V`; musl: `Error relocating /x.so: f: symbol not found`. */
function lackingSymbol(error: string): string | null {
  const [, glibc, musl] = /undefined symbol: ([^\s,]+)|: ([^\s:]+): symbol not found/.exec(error) ?? []
  return glibc ?? musl ?? null
}

function definersOf(symbols: ReadonlySet<string>, paths: readonly string[]): Map<string, string> {
  const definers = new Map<string, string>()
  if (symbols.size === 0) return definers
  for (const path of paths) {
    const left = [...symbols].filter(symbol => !definers.has(symbol))
    if (left.length === 0) break
    try {
      withSource(path, source => {
        const object = readElf(source)
        for (const symbol of left) if (definesSymbol(source, object, symbol)) definers.set(symbol, path)
      })
    } catch (error) {
      if (!(error instanceof ElfError) && errnoOf(error) === undefined) throw error
    }
  }
  return definers
}

function withoutPath(error: string, path: string): string {
  return error.startsWith(`${path}: `) ? error.slice(path.length + 2) : error
}

function remedyOf(error: string, path: string): string | null {
  if (/executable stack/.test(error))
    return `wheelfix elf --clear-execstack ${path}  (few libraries need what they ask for)`
  if (/static TLS/.test(error)) {
    return 'export GLIBC_TUNABLES=glibc.rtld.optional_static_tls=BYTES, with more than the library has of thread-local data'
  }
  return null
}
