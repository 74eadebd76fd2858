// What belongs to an environment outside of site-packages and bin/: files that a RECORD lists elsewhere, folders that
// .pth files add to sys.path, and the source trees of editable installations. This file only reads texts and runs
// nothing. Of a code line in a .pth file it understands the folders that the line names, and the finders of editables.ts.
import { lstatSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { entriesIn, fsPath, isFolder, isInside, realPath, realPathOrNull } from '../io/path.ts'
import { addsNoFolder, finderRoots, type Led, linkedTree, pathsInCode, textOf } from './editables.ts'
import type { Environment } from './environment.ts'
import { recordedPaths, SOURCES } from './record.ts'

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

/** A .pth file with code that is not known to leave sys.path alone. */
interface PathCodeFile {
  readonly path: string
  /** The code adds folders to sys.path that only running it would show. */
  readonly computes: boolean
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
  /** The .pth files whose code may add folders to sys.path, or finders. */
  readonly code: readonly PathCodeFile[]
  /** The files from which all of this was read. */
  readonly sources: readonly string[]
}

/** @param store the folder of the Nix store; its folders need no fixing */
export function belongingOf(environment: Environment, store: string): Belonging {
  const root = realPath(environment.root)
  const pathFiles = environment.sitePackages.flatMap(site => pathFilesIn(site))
  const understood = environment.sitePackages.flatMap(site => [
    ...pathFiles.filter(file => file.site === site).flatMap(pathLines),
    ...finderRoots(site),
  ])
  const code = pathFiles.flatMap(codeOf)
  const projects = environment.sitePackages.flatMap(site => editables(site))
  // where a .pth file or a finder names the modules of a project, the rest of the project is never imported
  const unknown = projects.filter(project => !understood.some(({ folder }) => isInside(folder, project.folder)))
  const added = [...understood, ...unknown]
  const own = environment.sitePackages.map((folder): ImportRoot => ({ folder, module: '' }))
  const importRoots = [...own, ...added.filter(({ imports }) => imports)]
  const folders = new Set<string>()
  const outside = new Map<string, OutsideFolder>()
  for (const { folder, by } of added) {
    const real = realPathOrNull(folder)
    if (real === null || isInside(real, store) || !isFolder(real)) continue
    if (isInside(real, root)) {
      if (!environment.walk.some(walked => isInside(folder, walked))) folders.add(folder)
    } else if (!outside.has(real)) outside.set(real, { folder, by })
  }
  const reached = (real: string): boolean => [...outside.keys()].some(other => other !== real && walks(other, real))
  return {
    files: recordedElsewhere(environment, root),
    folders: [...folders],
    importRoots: importRoots.map(({ folder, module }) => ({ folder, module })),
    outside: [...outside].flatMap(([real, folder]) => (reached(real) ? [] : [folder])),
    code,
    sources: [
      ...new Set([...[...understood, ...projects].flatMap(({ sources }) => sources), ...code.map(({ path }) => path)]),
    ],
  }
}

/** Of a source tree the scan looks only at modules that can be imported, and at library folders beside them. */
export function mayHoldModules(name: string): boolean {
  return /^[A-Za-z_]\w*(?:\.libs)?$/.test(name) && name !== 'node_modules'
}

/** Does a scan of `folder`, which is outside the environment, look at `below`? Both are real paths. */
export function walks(folder: string, below: string): boolean {
  return (
    isInside(below, folder) &&
    below
      .slice(folder.length + 1)
      .split('/')
      .every(mayHoldModules)
  )
}

/** A .pth file in a folder of installed packages. */
interface PathFile {
  readonly site: string
  readonly name: string
  /** The lines that do something, read as CPython's site module does. It reports a NUL as an error and goes on. */
  readonly lines: readonly string[]
}

function pathFilesIn(site: string): PathFile[] {
  const names = entriesIn(site).filter(({ name, kind }) => kind !== 'directory' && name.endsWith('.pth'))
  return names.map(({ name }) => ({
    site,
    name,
    lines: linesOf(join(site, name)).filter(line => line !== '' && !line.startsWith('#') && !line.includes('\0')),
  }))
}

/** The folders that a .pth file names: one for each line. Of code it takes the folders that the code itself names. */
function pathLines({ site, name, lines }: PathFile): Led[] {
  const source = join(site, name)
  const by = editableName(name)
  return lines.flatMap((line): Led[] => {
    const paths = isCode(line) ? pathsInCode(line).paths : [resolve(site, line)]
    // the root holds the whole system, and no package
    const folders = paths.filter(path => path !== '/' && isFolder(path))
    return folders.flatMap(folder => [
      { folder, module: '', by, sources: [source], imports: true },
      ...linkedTree(folder, by, [source]),
    ])
  })
}

function codeOf({ site, name, lines }: PathFile): PathCodeFile[] {
  const code = lines.filter(line => isCode(line) && !addsNoFolder(line))
  if (code.length === 0) return []
  return [
    { path: join(site, name), computes: code.some(line => pathsInCode(line).computes || changesPath(site, line)) },
  ]
}

/** Does the line import a module beside it that adds folders to sys.path? The finders of editables.ts add none. */
function changesPath(site: string, line: string): boolean {
  const module = /^import[ \t]+(\w+)/.exec(line)?.[1] ?? ''
  if (module === '' || module.includes('editable')) return false
  return /\bsys\s*\.\s*path\s*(?:\.\s*(?:append|insert|extend)\b|\[|\+?=[^=])|\baddsitedir\b/.test(
    textOf(join(site, `${module}.py`)),
  )
}

function isCode(line: string): boolean {
  return /^import[ \t]/.test(line)
}

/** The distribution of a .pth file: edx for `__editable__.edx-1.0.pth`. */
function editableName(pth: string): string {
  const name = /^(?:__editable__\.|_editable_(?:impl|skbc)_|_)?(.+?)(?:-[^-]*)?\.pth$/.exec(pth)?.[1]
  return pth.startsWith('_') && name !== undefined ? name : pth
}

/** The projects of editable installations (PEP 610), however they are imported. */
function editables(site: string): Led[] {
  const infos = entriesIn(site).filter(({ name }) => name.endsWith('.dist-info'))
  return infos.flatMap(({ name }): Led[] => {
    const source = join(site, name, 'direct_url.json')
    const text = textOf(source)
    if (!text.includes('editable')) return []
    const folder = editableFolder(text)
    const by = name.replace(/-[^-]*\.dist-info$/, '')
    return folder === null || !isFolder(folder) ? [] : [{ folder, module: '', by, sources: [source], imports: false }]
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
      for (const row of recordedPaths(lines.join('\n'), SOURCES)) {
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
    .split(/\r\n|[\r\n]/)
    .map(line => line.trim())
}

function isPlainFile(path: string): boolean {
  return lstatSync(fsPath(path), { throwIfNoEntry: false })?.isFile() ?? false
}
