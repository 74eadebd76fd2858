// From a soname to the nixpkgs package that holds it: for what a report tells the user to add, and for the names that the
// scan of the store looks for first. Knows no file.
import { HINTS } from './hints-data.ts'

/** A row of the data; the lists are separated by spaces. */
export interface HintRow {
  readonly attribute: string
  readonly output?: string
  readonly packages?: string
  readonly sonames: string
  readonly source: 'manylinux' | 'nix-ld' | 'recipe' | 'driver'
  readonly note?: string
}

/** What to tell a user who lacks a soname. */
export interface Hint {
  /** The attribute of nixpkgs; for libraries of the graphics driver the NixOS option that installs it. */
  readonly attribute: string
  readonly output?: string
  /** A sentence about it: licence, driver. */
  readonly note?: string
}

interface Index {
  readonly bySoname: ReadonlyMap<string, HintRow>
  /** By the soname without its version (libicuuc.so): the first of several. */
  readonly byStem: ReadonlyMap<string, HintRow>
}

let index: Index | undefined

/** Another version of the same library (libicuuc.so.75) comes from the same package, maybe of another nixpkgs. */
function rowOf(soname: string): HintRow | undefined {
  const { bySoname, byStem } = (index ??= makeIndex())
  return bySoname.get(soname) ?? byStem.get(stemOf(soname) ?? '')
}

function makeIndex(): Index {
  const bySoname = new Map(HINTS.flatMap(row => row.sonames.split(' ').map((name): [string, HintRow] => [name, row])))
  const byStem = new Map<string, HintRow>()
  for (const [name, row] of bySoname) {
    const stem = stemOf(name) ?? name
    if (!byStem.has(stem)) byStem.set(stem, row)
  }
  return { bySoname, byStem }
}

function stemOf(soname: string): string | undefined {
  return /^.+?\.so(?=\.)/.exec(soname)?.[0]
}

/** Every soname that the data has, without those of the graphics driver: what programs reach for by name. */
export function knownSonames(): readonly string[] {
  return HINTS.flatMap(row => (row.source === 'driver' ? [] : row.sonames.split(' ')))
}

/** The package of nixpkgs that holds a soname; null where no one knows. */
export function hintFor(soname: string): Hint | null {
  const row = rowOf(soname)
  if (row === undefined) return null
  return {
    attribute: row.attribute,
    ...(row.output !== undefined && { output: row.output }),
    ...(row.note !== undefined && { note: row.note }),
  }
}

/**
 * What the store paths that may hold a soname are called, in lower case, the likeliest first: the names of the data, then
 * names made from the soname (libfoo-2.0.so.1 → libfoo-2.0, foo-2.0, libfoo, foo).
 */
export function packageNames(soname: string): readonly string[] {
  const row = rowOf(soname)
  const attribute = row?.attribute.split('.').at(-1) ?? ''
  const known = row === undefined ? [] : [...(row.packages?.split(' ') ?? [attribute])]
  const stem = soname.replace(/\.so(?:\..*)?$/, '')
  const guesses = [stem, stem.replace(/[-_.]?\d[\d._]*$/, '')].flatMap(name => [name, name.replace(/^lib/, '')])
  return [...new Set([...known, ...guesses].map(name => name.toLowerCase()))].filter(name => name.length > 1)
}

/** Is this a library of the graphics driver, which no store path may serve? */
export function isDriverHint(soname: string): boolean {
  return rowOf(soname)?.source === 'driver'
}
