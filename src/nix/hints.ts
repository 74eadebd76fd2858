// From a soname to the nixpkgs package that holds it. Reports tell the user to add this package, and the scan of the store
// looks for its names first. This file reads no files.
import { nearest as nearestNames } from '../io/words.ts'
import { COMPUTE } from './hints/compute.ts'
import { DATA } from './hints/data.ts'
import { DESKTOP } from './hints/desktop.ts'
import { GPU } from './hints/gpu.ts'
import { MEDIA } from './hints/media.ts'
import { SYSTEM } from './hints/system.ts'
import type { HintRow } from './hints/row.ts'
import { FAMILIES, type VersionFamily } from './hints/versions.ts'

/** The release of nixpkgs from which the data takes its names. docs/hints.md says how the names were checked. */
const HINTS_RELEASE = '26.05'

export type { HintRow }

export const HINTS: readonly HintRow[] = [...DESKTOP, ...MEDIA, ...DATA, ...COMPUTE, ...GPU, ...SYSTEM]

/** The hint for a user who lacks a soname. */
interface Hint extends Pick<HintRow, 'attribute' | 'former' | 'since' | 'gone' | 'output' | 'note'> {
  /** Set if the package only has another version of the library. It is the soname of that version. */
  readonly other?: string
}

interface Found {
  readonly row: HintRow
  readonly other?: string
}

interface Index {
  readonly bySoname: ReadonlyMap<string, HintRow>
  /** By the soname without its version (libicuuc.so): all versions of it. */
  readonly byStem: ReadonlyMap<string, readonly Found[]>
}

let index: Index | undefined

function find(soname: string): Found | undefined {
  const { bySoname, byStem } = (index ??= makeIndex())
  const row = bySoname.get(soname)
  if (row !== undefined) return { row }
  for (const family of FAMILIES) {
    const version = family.pattern.exec(soname)?.slice(1).find(Boolean)
    if (version !== undefined) return ofFamily(family, Number(version))
  }
  return nearestVersion(byStem.get(stemOf(soname) ?? '') ?? [], soname)
}

function makeIndex(): Index {
  const bySoname = new Map(HINTS.flatMap(row => row.sonames.split(' ').map((name): [string, HintRow] => [name, row])))
  const byStem = new Map<string, Found[]>()
  for (const [name, row] of bySoname) {
    const stem = stemOf(name) ?? name
    byStem.set(stem, [...(byStem.get(stem) ?? []), { row, other: name }])
  }
  return { bySoname, byStem }
}

function stemOf(soname: string): string | undefined {
  return /^.+?\.so(?=\.)/.exec(soname)?.[0]
}

function ofFamily(family: VersionFamily, wanted: number): Found | undefined {
  const [version] = [...family.versions].sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted) || b - a)
  if (version === undefined) return undefined
  const { output, packages } = family
  const row: HintRow = {
    attribute: family.attribute(version),
    ...(output !== undefined && { output }),
    packages,
    sonames: family.soname(version),
    source: 'recipe',
  }
  return version === wanted ? { row } : { row, other: row.sonames }
}

/**
 * The version that is nearest to the wanted one. Of two versions that are equally near, the newer one counts. A package
 * that still exists comes before a removed one.
 */
function nearestVersion(found: readonly Found[], soname: string): Found | undefined {
  const wanted = versionOf(soname)
  const distance = (item: Found) => Math.abs(versionOf(item.other) - wanted)
  const isGone = (item: Found) => Number(item.row.gone !== undefined)
  return [...found].sort(
    (a, b) => isGone(a) - isGone(b) || distance(a) - distance(b) || versionOf(b.other) - versionOf(a.other),
  )[0]
}

function versionOf(soname = ''): number {
  return Number(/\.so\.(\d+)/.exec(soname)?.[1] ?? 0)
}

/** Every soname in the data, without those of the graphics driver. Programs may open these sonames by name. */
export function knownSonames(): readonly string[] {
  return HINTS.flatMap(row => (row.source === 'driver' ? [] : row.sonames.split(' ')))
}

/** The package of nixpkgs that holds a soname, or another version of it; null when no package is known. */
export function hintFor(soname: string): Hint | null {
  const found = find(soname)
  if (found === undefined) return null
  const { attribute, former, since, gone, output, note } = found.row
  return {
    attribute,
    ...(former !== undefined && { former }),
    ...(since !== undefined && { since }),
    ...(gone !== undefined && { gone }),
    ...(output !== undefined && { output }),
    ...(note !== undefined && { note }),
    ...(found.other !== undefined && { other: found.other }),
  }
}

/** The attribute to add to a project's libraries; null when today's nixpkgs has no package with exactly this soname. */
export function attributeFor(soname: string): string | null {
  const hint = hintFor(soname)
  return hint === null || hint.other !== undefined || hint.gone !== undefined ? null : hint.attribute
}

/** A package with all its names, and its output that holds the libraries. */
interface PackageNames {
  /** Today's name first, then the name in older releases. */
  readonly names: readonly string[]
  readonly output?: string
}

/** The package with exactly this soname in some release of nixpkgs; null when no package is known. */
export function packageWith(soname: string): PackageNames | null {
  const found = find(soname)
  if (found === undefined || found.other !== undefined || found.row.source === 'driver') return null
  const { attribute, former, output } = found.row
  return { names: former === undefined ? [attribute] : [attribute, former], ...(output !== undefined && { output }) }
}

/** A package that a user named, with its names in other releases. */
export function packageNamed(name: string): PackageNames {
  const rows = HINTS.filter(({ attribute, former }) => attribute === name || former === name)
  const names = rows.flatMap(({ attribute, former }) => [attribute, ...(former === undefined ? [] : [former])])
  const output = rows[0]?.output
  return { names: [...new Set([name, ...names])], ...(output !== undefined && { output }) }
}

/** What a user most likely meant by a name that is not a package: a soname, a name in another case, a typing error; else null. */
export function likelyPackage(name: string): string | null {
  const bySoname = attributeFor(name)
  if (bySoname !== null) return bySoname
  const names = new Set(
    HINTS.flatMap(({ attribute, former }) => [attribute, ...(former === undefined ? [] : [former])]),
  )
  if (names.has(name)) return null
  const same = [...names].find(candidate => candidate.toLowerCase() === name.toLowerCase())
  return same ?? nearestNames(name, names, 1)[0] ?? null
}

/** A hint in words: `libx11 (xorg.libX11 before 26.05)`. */
export function describeHint(hint: Hint): string {
  const { attribute, former, since, gone, note, other } = hint
  const remarks = [
    ...(former === undefined ? [] : [`${former} before ${since ?? HINTS_RELEASE}`]),
    ...(note === undefined ? [] : [note]),
  ]
  const name = remarks.length === 0 ? attribute : `${attribute} (${remarks.join('; ')})`
  const release = gone === undefined ? 'nixpkgs' : `nixpkgs before ${gone}`
  if (other === undefined) return `in ${release}: ${name}`
  return `no package of nixpkgs ${HINTS_RELEASE} is known to have this version; in ${release}, ${name} has ${other}`
}

/**
 * The names of store paths that may hold a soname, in lower case, the likeliest first. First come the names in the data,
 * then names made from the soname (libfoo-2.0.so.1 → libfoo-2.0, foo-2.0, libfoo, foo).
 */
export function packageNames(soname: string): readonly string[] {
  const row = find(soname)?.row
  const attribute = row?.attribute.split('.').at(-1) ?? ''
  const known = row === undefined ? [] : [...(row.packages?.split(' ') ?? [attribute])]
  const stem = soname.replace(/\.so(?:\..*)?$/, '')
  const guesses = [stem, stem.replace(/[-_.]?\d[\d._]*$/, '')].flatMap(name => [name, name.replace(/^lib/, '')])
  return [...new Set([...known, ...guesses].map(name => name.toLowerCase()))].filter(name => name.length > 1)
}

/** Is this a library of the graphics driver, which no store path may serve? */
export function isDriverHint(soname: string): boolean {
  return find(soname)?.row.source === 'driver'
}
