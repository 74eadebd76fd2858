// What a wheel says about itself in its file name, its .dist-info folder, RECORD and METADATA (PEP 427, "Binary
// distribution format" of the packaging specifications). Also where an installer puts each entry.
import { basename } from 'node:path'
import { decodeBytes } from '../elf/text.ts'
import { LARGEST_METADATA, normaliseName, requiredNames } from '../python/distributions.ts'
import { disagreeingRows, LARGEST_RECORD, type RecordFields, recordRows, TooManyRows } from '../python/record.ts'
import { parseTags, splitWheelName, type WheelName, type WheelTag } from '../python/wheel-tags.ts'
import { readEntry } from '../zip/entry-contents.ts'
import { type Archive, refusal, type WheelEntry } from '../zip/read.ts'

/** RECORD, and the fields of its rows by path. */
interface WheelRecord {
  readonly entry: WheelEntry
  readonly text: string
  readonly rows: ReadonlyMap<string, RecordFields>
  /** Paths with several rows whose fields differ, with those fields. */
  readonly disagreeing: ReadonlyMap<string, readonly RecordFields[]>
}

/** The properties of a wheel, without its objects. */
export interface WheelDistribution {
  readonly fileName: WheelName
  /** Normalised (PEP 503). */
  readonly name: string
  readonly tags: readonly WheelTag[]
  /** `numpy-2.4.6.dist-info` */
  readonly infoFolder: string
  /** `numpy-2.4.6.data`; this folder need not exist. */
  readonly dataFolder: string
  readonly record: WheelRecord
  /** RECORD.jws and RECORD.p7s: signatures of RECORD. */
  readonly signatures: readonly WheelEntry[]
  /** The normalised names in Requires-Dist. */
  readonly requires: ReadonlySet<string>
}

/** The file name from its parts: the reverse of `splitWheelName`. */
export function formatWheelName({ distribution, version, build, tag, variant }: WheelName): string {
  return `${[distribution, version, build, tag, variant].filter(part => part !== null).join('-')}.whl`
}

/** @throws WheelfixError `WHEEL_INVALID` where the file name, the .dist-info folder or RECORD is missing or ambiguous */
export function readDistribution(archive: Archive): WheelDistribution {
  const { path, entries } = archive
  const fileName = splitWheelName(basename(path))
  if (fileName === null) throw refusal(path, 'its file name is not NAME-VERSION-PYTHON-ABI-PLATFORM.whl')
  const name = normaliseName(fileName.distribution)
  const folders = new Set<string>()
  for (const entry of entries) {
    const folder = /^([^/]+\.dist-info)\//.exec(entry.name)?.[1]
    if (folder !== undefined) folders.add(folder)
  }
  const [infoFolder] = folders
  if (infoFolder === undefined) throw refusal(path, 'it has no .dist-info folder')
  if (folders.size > 1) throw refusal(path, `it has several .dist-info folders: ${[...folders].join(', ')}`)
  const stem = infoFolder.slice(0, -'.dist-info'.length)
  if (normaliseName(stem.replace(/-[^-]*$/, '')) !== name)
    throw refusal(path, `its folder ${infoFolder} is for a different distribution than its file name says`)
  const byName = new Map(entries.map(entry => [entry.name, entry]))
  const text = (file: string, limit = LARGEST_METADATA): string => {
    const entry = byName.get(`${infoFolder}/${file}`)
    if (entry === undefined) throw refusal(path, `it has no ${infoFolder}/${file}`)
    if (entry.size > limit)
      throw refusal(path, `its ${infoFolder}/${file} has ${entry.size} bytes, and at most ${limit} are read`)
    return decodeBytes(readEntry(archive, entry))
  }
  text('WHEEL')
  const record = readRecord(path, text('RECORD', LARGEST_RECORD), byName.get(`${infoFolder}/RECORD`))
  return {
    fileName,
    name,
    tags: parseTags(fileName.tag),
    infoFolder,
    dataFolder: `${stem}.data`,
    record,
    signatures: ['RECORD.jws', 'RECORD.p7s'].flatMap(file => byName.get(`${infoFolder}/${file}`) ?? []),
    requires: new Set(requiredNames(text('METADATA'))),
  }
}

function readRecord(path: string, text: string, entry: WheelEntry | undefined): WheelRecord {
  if (entry === undefined) throw refusal(path, 'it has no RECORD')
  try {
    return { entry, text, rows: recordRows(text), disagreeing: disagreeingRows(text) }
  } catch (error) {
    if (error instanceof TooManyRows) throw refusal(path, `its RECORD ${error.message}`)
    throw error
  }
}

/** The pretended place of the installation. No such folder exists, so no file on the disk is mistaken for an entry. */
export interface Installation {
  readonly root: string
  readonly sitePackages: string
  readonly bin: string
}

/** @param pythonVersion the version of the Python: `3.12.8` */
export function pretendInstallation(pythonVersion: string): Installation {
  const root = '/.wheelfix-installation'
  const [major = '3', minor = '0'] = pythonVersion.split('.')
  return { root, sitePackages: `${root}/lib/python${major}.${minor}/site-packages`, bin: `${root}/bin` }
}

/** The path that an installer gives an entry: below site-packages, except for the folders of NAME.data. */
export function installedPath(name: string, dataFolder: string, installation: Installation): string {
  const { root, sitePackages, bin } = installation
  if (!name.startsWith(`${dataFolder}/`)) return `${sitePackages}/${name}`
  const [scheme = '', ...rest] = name.slice(dataFolder.length + 1).split('/')
  const path = rest.join('/')
  if (scheme === 'scripts') return `${bin}/${path}`
  if (scheme === 'data') return `${root}/${path}`
  if (scheme === 'headers') return `${root}/include/${path}`
  return `${sitePackages}/${path}`
}
