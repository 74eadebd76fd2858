// The distributions installed in site-packages: which one owns a file, and what each says about itself. At first this
// file reads only names. It reads the RECORDs at the first question for an owner, and METADATA and WHEEL of a
// distribution at their first use.
import { statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { decodeBytes } from '../elf/text.ts'
import { readRegular } from '../io/beneath.ts'
import { fsPath, listDirectory } from '../io/path.ts'
import { LARGEST_RECORD, MOST_ROWS, recordedPaths, SOURCES } from './record.ts'
import { tagsOfWheelFile, type WheelTag } from './wheel-tags.ts'

/** The size limit of METADATA in bytes. It holds the project's README as its description, usually a few kilobytes. */
export const LARGEST_METADATA = 4 << 20

/** An installed distribution. Properties that cost the read of a file are methods, and each file is read once. */
interface Distribution {
  /** Normalised (PEP 503): `pydantic-core`. */
  readonly name: string
  readonly version: string
  /** The .dist-info folder, or the .egg-info folder or file. */
  readonly path: string
  /** The site-packages folder; the rows of RECORD are relative to it. */
  readonly folder: string
  /**
   * The path of RECORD. null where there is none (an egg-info, a distribution of the system), and where it is too large
   * to read.
   */
  readonly recordPath: string | null
  /** The normalised names of Requires-Dist, including those of extras. */
  requires(): readonly string[]
  /** `pip`, `uv` … */
  installer(): string | null
  tags(): readonly WheelTag[]
}

/** The owner of a file. */
export interface FileOwner {
  readonly distribution: Distribution
  /** The path in the row of RECORD, where there is a RECORD. */
  readonly row: string | null
}

/** All distributions of a venv. */
export interface Distributions {
  /** Sorted by the bytes of their folder names. */
  readonly all: readonly Distribution[]
  get(normalisedName: string): Distribution | undefined
  /**
   * The owner of a file; null for a file that no distribution lists. The path must be absolute and begin with a folder
   * of `sitePackages`.
   */
  ownerOf(path: string): FileOwner | null
  /** The files with the requirements, tags and installers that were asked for so far, whether they exist or not. */
  readonly consulted: ReadonlySet<string>
  /** A sentence for each file that was too large to read so far. */
  readonly warnings: readonly string[]
}

/** The form of a name for comparing distributions (PEP 503). */
export function normaliseName(name: string): string {
  return name.replaceAll(/[-_.]+/g, '-').toLowerCase()
}

/**
 * The distributions of these folders. If a name occurs twice, the first folder counts, as for an import.
 * @param files the only files whose owners the caller asks for: RECORDs list ten times as many
 */
export function readDistributions(sitePackages: readonly string[], files?: ReadonlySet<string>): Distributions {
  const warnings: string[] = []
  const consulted = new Set<string>()
  const all = sitePackages.flatMap(folder => listDistributions(folder, { warnings, consulted }))
  const byName = new Map<string, Distribution>()
  for (const distribution of all) {
    if (!byName.has(distribution.name)) byName.set(distribution.name, distribution)
  }
  let owners: Map<string, FileOwner> | undefined
  return {
    all,
    get: name => byName.get(name),
    ownerOf(path) {
      owners ??= indexOwners(all, warnings, files)
      return owners.get(path) ?? null
    },
    consulted,
    warnings,
  }
}

/** What reading a distribution adds to. */
interface Notes {
  readonly warnings: string[]
  readonly consulted: Set<string>
}

function listDistributions(folder: string, notes: Notes): Distribution[] {
  const found: Distribution[] = []
  for (const { name } of listDirectory(folder)) {
    const match = /^([^-]+(?:-[^-]+)*?)(?:-([^-]*))?\.(dist|egg)-info$/.exec(name)
    // pip renames a distribution before it removes it: an interrupted pip leaves ~umpy-1.2.dist-info
    if (match === null || name.startsWith('~')) continue
    const [, rawName = '', version = '', kind] = match
    // setuptools adds the version of Python to the name of an egg: PyYAML-6.0.1-py3.11.egg-info
    const egg = kind === 'egg' ? /^([^-]+)-([^-]+)-py\d/.exec(name) : null
    found.push(distribution(folder, name, egg?.[1] ?? rawName, egg?.[2] ?? version, kind === 'dist', notes))
  }
  return found
}

function distribution(
  folder: string,
  info: string,
  spelling: string,
  version: string,
  wheel: boolean,
  { warnings, consulted }: Notes,
): Distribution {
  const path = join(folder, info)
  const recordPath = wheel ? recordPathOf(path, warnings) : null
  const read = (name: string): string => {
    consulted.add(join(path, name))
    return readText(join(path, name)) ?? ''
  }
  let requires: string[] | undefined
  let tags: WheelTag[] | undefined
  return {
    name: normaliseName(spelling),
    version,
    path,
    folder,
    recordPath,
    requires: () => (requires ??= requiredNames(read(wheel ? 'METADATA' : 'PKG-INFO'))),
    installer: () => read('INSTALLER').trim() || null,
    tags: () => (tags ??= tagsOfWheelFile(read('WHEEL'))),
  }
}

function recordPathOf(path: string, warnings: string[]): string | null {
  const record = join(path, 'RECORD')
  const status = statSync(fsPath(record), { throwIfNoEntry: false })
  if (status?.isFile() !== true) return null
  if (status.size <= LARGEST_RECORD) return record
  warnings.push(unread(record, `is too large (${status.size} bytes)`))
  return null
}

function unread(record: string, why: string): string {
  return `${record} ${why}: wheelfix does not read it, and leaves the hashes of patched files in it`
}

/**
 * The normalised names in METADATA's Requires-Dist lines. Stops at the first empty line, because the description after
 * it may hold anything.
 */
export function requiredNames(metadata: string): string[] {
  const headers = metadata.split(/\r?\n\r?\n/, 1)[0] ?? ''
  const names = [...headers.matchAll(/^Requires-Dist:[ \t]*([A-Za-z0-9][\w.-]*)/gim)].map(([, name = '']) => name)
  return [...new Set(names.map(name => normaliseName(name)))]
}

function indexOwners(
  all: readonly Distribution[],
  warnings: string[],
  files?: ReadonlySet<string>,
): Map<string, FileOwner> {
  const owners = new Map<string, FileOwner>()
  const isNew = (path: string): boolean => files?.has(path) !== false && !owners.has(path)
  for (const distribution of all) {
    const { recordPath } = distribution
    const text = readText(recordPath ?? join(distribution.path, 'installed-files.txt'), LARGEST_RECORD)
    if (text === null) continue
    if (recordPath === null) {
      // setuptools' list of an old-style installation: its paths are relative to the egg-info folder
      for (const line of text.split(/\r?\n/)) {
        const path = resolve(distribution.path, line)
        if (line !== '' && isNew(path)) owners.set(path, { distribution, row: null })
      }
      continue
    }
    const own = new Map<string, FileOwner>()
    let count = 0
    for (const row of recordedPaths(text, SOURCES)) {
      if ((count += 1) > MOST_ROWS) break
      const plain = !row.includes('./') && !row.startsWith('/')
      const path = plain ? `${distribution.folder}/${row}` : resolve(distribution.folder, row)
      if (isNew(path)) own.set(path, { distribution, row: plain ? path.slice(distribution.folder.length + 1) : row })
    }
    if (count > MOST_ROWS) warnings.push(unread(recordPath, `has more than ${MOST_ROWS} rows`))
    else for (const [path, owner] of own) owners.set(path, owner)
  }
  return owners
}

function readText(path: string, limit = LARGEST_METADATA): string | null {
  // A missing or unreadable file tells nothing, and the venv works without it. Links are followed, because uv may have
  // linked the file to its cache.
  const bytes = readRegular(path, limit)
  return bytes === null ? null : decodeBytes(bytes)
}
