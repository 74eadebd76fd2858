// Findings from the messages of the real loader, when it refuses an object for a reason that has nothing to do with where
// libraries are. The more certain a finding is, the higher is its severity. An object that fails alone may work after its
// package has loaded another one.
import { readElf } from '../../elf/read.ts'
import { definesSymbol } from '../../elf/tables/symbols.ts'
import { ElfError } from '../../elf/error.ts'
import { errnoOf } from '../../io/error.ts'
import { shellWord } from '../../io/words.ts'
import { fileNameOf } from '../../io/path.ts'
import { withSource } from '../../io/source.ts'
import type { ScannedObject } from '../../resolve/objects.ts'
import type { Finding } from '../findings.ts'

/** An object that the loader does not load, with the loader's message. */
export interface LoadRefusal {
  readonly object: ScannedObject
  readonly error: string
  /** Is the object imported or run, or does an object that is imported or run load it? */
  readonly counts: boolean
}

/** Is the message about a library or version that is not found? Such a library is reported as missing. */
export function isAboutSearch(error: string): boolean {
  return /: cannot open shared object|^Error loading shared library|version `[^']+' not found/.test(error)
}

/** The findings. `defining` are the objects that may define a symbol which another object lacks. */
export function refusalFindings(refusals: readonly LoadRefusal[], defining: readonly string[]): Finding[] {
  const own = refusals.filter(({ object, error }) => !isLoadedByNode(object.path) || lackingSymbol(error) === null)
  const wanted = new Set(own.flatMap(({ error }) => lackingSymbol(error) ?? []))
  const definers = definersOf(wanted, defining)
  return own.map(({ object, error, counts }): Finding => {
    const symbol = lackingSymbol(error)
    const definer = symbol === null ? undefined : definers.get(symbol)
    const said = `the loader does not load it: ${withoutPath(error, object.path)}`
    return {
      code: 'loader-refuses',
      severity: severityOf(object, error, symbol, definer, counts),
      message:
        definer === undefined ? said : `${said}; it loads once ${fileNameOf(definer)} is loaded globally (RTLD_GLOBAL)`,
      remedy: remedyOf(error, object.path),
      paths: [object.relative],
    }
  })
}

/**
 * How serious a refusal is. A missing symbol may come from a library that the package loads first, or from the program that
 * loads the object. It is sure to be missing only if no object here defines it and Python itself imports the object. The
 * same is true of a process that ends in the middle of a constructor. An allocator (jemalloc, tcmalloc) is preloaded, while
 * there is still room for all thread-local data. Everything else fails, no matter what was loaded before.
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
  if (/^the process ended|^it did not end|^it was not loaded|cannot be dlopen/.test(error))
    return object.kind === 'extension' ? 'warning' : 'note'
  if (counts) return 'error'
  return /static TLS/.test(error) && definersOf(new Set(['malloc']), [object.path]).size > 0 ? 'note' : 'warning'
}

/** Is this a module for another Python, by its suffix? A module with a suffix of this Python is an `extension`. */
function isForAnotherPython(path: string): boolean {
  return /\.(?:cpython-|pypy|graalpy)[^/]*\.so$/.test(path) && !/\.abi3/.test(path)
}

/** Is this a Node add-on, by its suffix (nodejs.org/api/addons.html)? Node or Electron defines symbols for it. */
function isLoadedByNode(path: string): boolean {
  return path.endsWith('.node')
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
    return `few libraries really need an executable stack; to do without it: wheelfix elf --clear-execstack ${shellWord(path)}`
  if (/static TLS/.test(error)) {
    return 'export GLIBC_TUNABLES=glibc.rtld.optional_static_tls=BYTES, where BYTES is more than the thread-local data of the library'
  }
  return null
}
