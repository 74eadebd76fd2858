// The objects that a name means: a path, else a distribution, else a module, else a soname.
import { dirname } from 'node:path'
import { WheelfixError } from '../io/error.ts'
import { fileNameOf, isInside, realPathOrNull } from '../io/path.ts'
import { listed, nearest } from '../io/words.ts'
import { modulePaths } from '../python/belonging.ts'
import { normaliseName } from '../python/distributions.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import type { ListedObject, Subject } from './subject.ts'

export interface NamedObjects {
  readonly kind: 'distribution' | 'module' | 'file' | 'soname'
  readonly objects: readonly ScannedObject[]
}

/**
 * Reads no more objects than it must: only a soname needs all of them.
 * @throws WheelfixError `USAGE` when the name means nothing in this venv
 */
export function namedObjects(name: string, subject: Subject, cwd: string): NamedObjects {
  const { objects, venv, distributions, importRoots } = subject
  const read = (object: ListedObject): readonly ScannedObject[] => {
    const scanned = object.read()
    return scanned === null ? [] : [scanned]
  }
  const among = (kind: NamedObjects['kind'], test: (path: string) => boolean): NamedObjects | null => {
    const found = objects.filter(({ path }) => test(path)).flatMap(read)
    return found.length === 0 ? null : { kind, objects: found }
  }
  const bases = [cwd, venv.root, ...venv.sitePackages]
  const files = new Set(bases.map(base => realPathOrNull(name.startsWith('/') ? name : `${base}/${name}`)))
  // an object is known by the name of its file, so only objects with this name need a look at their links
  const names = new Set([...files].map(path => (path === null ? null : fileNameOf(path))).concat(fileNameOf(name)))
  const byFile = among('file', path => names.has(fileNameOf(path)) && files.has(realPathOrNull(path)))
  if (byFile !== null) return byFile

  const normal = normaliseName(name)
  const owned = among('distribution', path => distributions.ownerOf(path)?.distribution.name === normal)
  if (owned !== null) return owned
  if (distributions.get(normal) !== undefined) {
    throw new WheelfixError(
      'USAGE',
      `${name} is installed in ${venv.root}, but it has no ELF object, so it needs no library`,
      venv.root,
    )
  }

  const folders = modulePaths(name, importRoots)
  const modules = among('module', path => folders.some(folder => path.startsWith(`${folder}.`)))
  const extensions = modules?.objects.filter(({ kind }) => kind === 'extension') ?? []
  if (extensions.length > 0) return { kind: 'module', objects: extensions }
  const below = among('module', path => folders.some(folder => path.startsWith(`${folder}/`)))
  if (below !== null) return below

  const file = name.includes('/') ? [...files].find(path => path !== null) : undefined
  if (file !== undefined && file !== null && !isInside(file, venv.root)) {
    throw new WheelfixError('USAGE', `${file} does not belong to ${venv.root}; to patch it: ${commandFor(file)}`, file)
  }

  const all = objects.flatMap(read)
  const needs = all.filter(({ current, original }) => current.soname === name || original.needed.includes(name))
  if (needs.length > 0) return { kind: 'soname', objects: needs }
  const sonames = all.flatMap(({ original }) => original.needed)
  const like = nearest(name, [...distributions.all.map(({ name }) => name), ...sonames])
  const advice =
    like.length === 0
      ? 'name a package that is installed there'
      : `did you mean ${listed(like).replace(/ and /, ' or ')}?`
  throw new WheelfixError(
    'USAGE',
    `${name} is not a file, distribution, module or soname of ${venv.root}: ${advice}`,
    venv.root,
  )
}

/** The command that patches a file outside of every environment. */
function commandFor(file: string): string {
  const folder = dirname(file)
  const isPython = /^python[\d.]*t?$/.test(fileNameOf(file)) && fileNameOf(folder) === 'bin'
  return isPython ? `wheelfix python ${dirname(folder)}` : `wheelfix path ${file}`
}
