// What belongs to an environment outside of site-packages and bin/: files that a RECORD lists elsewhere, folders that
// .pth files add to sys.path, and the source trees of editable installations. This file only reads texts and runs
// nothing. It understands a code line of a .pth file only if the line calls a finder of setuptools.
import { lstatSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { decodeBytes } from '../elf/text.ts'
import { readRegular } from '../io/beneath.ts'
import { errnoOf } from '../io/error.ts'
import { entriesIn, fsPath, isInside, realPath } from '../io/path.ts'
import type { Environment } from './environment.ts'
import { recordPaths, SOURCES } from './record.ts'

/**
 * A place from which modules are imported. If `module` is '', `folder` contains packages; else `folder` itself is the
 * package of that name.
 */
interface ImportRoot {
  readonly folder: string
  readonly module: string
}

/** A folder outside of the environment from which the environment imports. */
export interface OutsideFolder {
  readonly folder: string
  /** What leads there: the name of the editable distribution, or the .pth file. */
  readonly by: string
}

export interface Belonging {
  /**
   * Files that RECORDs list outside of the walked folders, and folders named by .pth files; all inside the environment.
   */
  readonly files: readonly string[]
  readonly folders: readonly string[]
  /** In the order of sys.path, as far as it is known without running Python. */
  readonly importRoots: readonly ImportRoot[]
  /** Each folder once. */
  readonly outside: readonly OutsideFolder[]
  /** The files from which all of this was read. */
  readonly sources: readonly string[]
}

/** The size limit in bytes. A RECORD of 60,000 rows has 6 MB. */
const LARGEST_TEXT = 1 << 26

/** @param store the folder of the Nix store; its folders need no fixing */
export function belongingOf(environment: Environment, store: string): Belonging {
  const root = realPath(environment.root)
  const understood = environment.sitePackages.flatMap(site => [...pathLines(site), ...finderRoots(site)])
  const projects = environment.sitePackages.flatMap(site => editables(site))
  // where a .pth file or a finder names the modules of a project, the rest of the project is never imported
  const unknown = projects.filter(project => !understood.some(({ folder }) => isInside(folder, project.folder)))
  const added = [...understood, ...unknown]
  const own = environment.sitePackages.map((folder): ImportRoot => ({ folder, module: '' }))
  const importRoots = [...own, ...added.filter(({ imports }) => imports)]
  const folders = new Set<string>()
  const outside = new Map<string, OutsideFolder>()
  for (const { folder, by } of added) {
    const real = realOrNull(folder)
    if (real === null || isInside(real, store) || !isFolder(real)) continue
    if (isInside(real, root)) {
      if (!environment.walk.some(walked => isInside(folder, walked))) folders.add(folder)
    } else if (![...outside.keys()].some(known => isInside(real, known))) outside.set(real, { folder, by })
  }
  return {
    files: recordedElsewhere(environment, root),
    folders: [...folders],
    importRoots: importRoots.map(({ folder, module }) => ({ folder, module })),
    outside: [...outside.values()],
    sources: [...new Set([...understood, ...projects].map(({ source }) => source))],
  }
}

interface Added extends ImportRoot, OutsideFolder {
  readonly source: string
  /** False for a project whose finder is not understood: its modules are somewhere below, under unknown names. */
  readonly imports: boolean
}

/**
 * The folders that .pth files name, read as CPython's site module does: one for each line, except comments and code.
 */
function pathLines(site: string): Added[] {
  const names = entriesIn(site).filter(({ name, kind }) => kind !== 'directory' && name.endsWith('.pth'))
  return names.flatMap(({ name }) => {
    const source = join(site, name)
    return linesOf(source).flatMap((line): Added[] => {
      if (line === '' || line.startsWith('#') || /^import[ \t]/.test(line)) return []
      const folder = resolve(site, line)
      return isFolder(folder) ? [{ folder, module: '', by: editableName(name), source, imports: true }] : []
    })
  })
}

/** The distribution of a .pth file: edx for `__editable__.edx-1.0.pth`. */
function editableName(pth: string): string {
  const name = /^(?:__editable__\.|_)?(.+?)(?:-[^-]*)?\.pth$/.exec(pth)?.[1]
  return pth.startsWith('_') && name !== undefined ? name : pth
}

/** The packages in the mapping of a setuptools finder: `MAPPING: dict[str, str] = {'edx': '/src/edx'}`. */
function finderRoots(site: string): Added[] {
  const names = entriesIn(site).filter(({ name }) => /^__editable___\w+_finder\.py$/.test(name))
  return names.flatMap(({ name }) => {
    const source = join(site, name)
    const mapping = /^MAPPING\b[^=\n]*=\s*\{(.*)\}\s*$/m.exec(textOf(source))?.[1] ?? ''
    const by = /^__editable___(\w+?)_\d[\w]*_finder\.py$/.exec(name)?.[1] ?? name
    return [...mapping.matchAll(/(['"])([\w.]+)\1:\s*(['"])((?:\\.|(?!\3).)*)\3/g)].map(
      ([, , module = '', , path = '']): Added => {
        const folder = path.replaceAll(/\\(.)/g, '$1')
        return { folder, module, by, source, imports: true }
      },
    )
  })
}

/** The projects of editable installations (PEP 610), however they are imported. */
function editables(site: string): Added[] {
  const infos = entriesIn(site).filter(({ name }) => name.endsWith('.dist-info'))
  return infos.flatMap(({ name }): Added[] => {
    const source = join(site, name, 'direct_url.json')
    const text = textOf(source)
    if (!text.includes('editable')) return []
    const folder = editableFolder(text)
    const by = name.replace(/-[^-]*\.dist-info$/, '')
    return folder === null || !isFolder(folder) ? [] : [{ folder, module: '', by, source, imports: false }]
  })
}

function editableFolder(text: string): string | null {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || !('url' in value) || !('dir_info' in value)) return null
    const { url, dir_info: dir } = value
    const editable = typeof dir === 'object' && dir !== null && 'editable' in dir && dir.editable === true
    return editable && typeof url === 'string' && url.startsWith('file://') ? fileURLToPath(url) : null
  } catch (error) {
    // a text without JSON, or without a path, names no project
    if (error instanceof SyntaxError || error instanceof TypeError) return null
    throw error
  }
}

/**
 * Files that RECORDs list outside of the walked folders and inside the environment. A wheel's `data` scheme puts files
 * there.
 */
function recordedElsewhere({ sitePackages, walk }: Environment, root: string): string[] {
  const found = new Set<string>()
  for (const site of sitePackages) {
    for (const { name } of entriesIn(site)) {
      if (!name.endsWith('.dist-info')) continue
      // most rows are below site-packages: only lines that may lead out are parsed
      const lines = textOf(join(site, name, 'RECORD')).match(/^"?(?:\.\.\/|\/).*$/gm) ?? []
      for (const row of recordPaths(lines.join('\n'), SOURCES)) {
        const path = resolve(site, row)
        if (walk.some(folder => isInside(path, folder)) || !isPlainFile(path)) continue
        if (isInside(realPath(path), root)) found.add(path)
      }
    }
  }
  return [...found]
}

/**
 * The name by which `import` finds a file as a module; null where no import finds it.
 * @param suffixes the suffixes of extension modules, the bare `.so` last
 */
export function moduleName(path: string, roots: readonly ImportRoot[], suffixes: readonly string[]): string | null {
  const suffix = suffixes.find(ending => path.endsWith(ending))
  if (suffix === undefined) return null
  const stem = path.slice(0, -suffix.length)
  // the innermost root wins: a folder that a .pth adds may lie below site-packages
  const [root] = roots
    .filter(({ folder, module }) => isInside(stem, folder) && (module !== '' || stem !== folder))
    .sort((a, b) => b.folder.length - a.folder.length)
  if (root === undefined) return null
  const below = stem.slice(root.folder.length).replace(/^\//, '').replaceAll('/', '.')
  return [root.module, below].filter(part => part !== '').join('.')
}

/** Where a module of that name may be: its path without the suffix, or the folder of the package. */
export function modulePaths(name: string, roots: readonly ImportRoot[]): string[] {
  return roots.flatMap(({ folder, module }) => {
    if (module === '') return [`${folder}/${name.replaceAll('.', '/')}`]
    if (name === module) return [folder]
    return name.startsWith(`${module}.`) ? [`${folder}/${name.slice(module.length + 1).replaceAll('.', '/')}`] : []
  })
}

function linesOf(path: string): string[] {
  return textOf(path)
    .split(/\r?\n/)
    .map(line => line.trim())
}

function textOf(path: string): string {
  const bytes = readRegular(path, LARGEST_TEXT)
  return bytes === null ? '' : decodeBytes(bytes)
}

function isPlainFile(path: string): boolean {
  return lstatSync(fsPath(path), { throwIfNoEntry: false })?.isFile() ?? false
}

function realOrNull(path: string): string | null {
  try {
    return realPath(path)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

function isFolder(path: string): boolean {
  return statSync(fsPath(path), { throwIfNoEntry: false })?.isDirectory() ?? false
}
