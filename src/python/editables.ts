// How build backends lead an import to the source tree of an editable installation: by code that this file reads and never
// runs. A plain line of a .pth file is not here (belonging.ts).
import { basename, dirname, join } from 'node:path'
import { readRegularText } from '../io/beneath.ts'
import { entriesIn, isInside, isLibraryName, realPathOrNull } from '../io/path.ts'

/** A place that a finder leads to. */
export interface Led {
  /** A folder. With `module`, also a file without its suffix, which is that module. */
  readonly folder: string
  /** The module that `folder` is; '' where `folder` contains modules. */
  readonly module: string
  /** False for a folder that only holds what other places name. */
  readonly imports: boolean
  /** The distribution, or the file. */
  readonly by: string
  /** The files that say so. */
  readonly sources: readonly string[]
}

/** The size limit in bytes. A RECORD of 60,000 rows has 6 MB, meson's plan of a large project a few. */
const LARGEST_TEXT = 1 << 26

/** A literal of Python, in either kind of quotes. Group 2 is its content. */
const LITERAL = String.raw`(['"])((?:\\.|(?!\1).)*)\1`

/** Everything that the finders in a site-packages folder lead to. */
export function finderRoots(site: string): Led[] {
  return entriesIn(site).flatMap(({ name, kind }) => {
    if (kind === 'directory' || !name.startsWith('_') || !name.includes('editable') || !name.endsWith('.py')) return []
    const source = join(site, name)
    const text = textOf(source)
    return [...ofSetuptools(text, name, source), ...ofEditables(text, name, source), ...ofMeson(text, source)]
  })
}

/** The packages in the mapping of setuptools' finder: `MAPPING: dict[str, str] = {'edx': '/src/edx'}`. */
function ofSetuptools(text: string, name: string, source: string): Led[] {
  const by = /^__editable___(\w+?)_\d[\w]*_finder\.py$/.exec(name)?.[1]
  if (by === undefined) return []
  const mapping = /^MAPPING\b[^=\n]*=\s*\{(.*)\}\s*$/m.exec(text)?.[1] ?? ''
  return [...mapping.matchAll(/(['"])([\w.]+)\1:\s*(['"])((?:\\.|(?!\3).)*)\3/g)].map(
    ([, , module = '', , path = '']): Led => ({
      folder: unescaped(path),
      module,
      imports: true,
      by,
      sources: [source],
    }),
  )
}

/** The packages of the library "editables" (hatch, pdm): `F.map_module('edx', '/src/edx/__init__.py')`. */
function ofEditables(text: string, name: string, source: string): Led[] {
  const by = /^_editable_impl_(\w+)\.py$/.exec(name)?.[1] ?? name
  const calls = new RegExp(String.raw`\bmap_module\((['"])([\w.]+)\1,\s*${LITERAL.replaceAll('1', '3')}`, 'g')
  return [...text.matchAll(calls)].flatMap(([, , module = '', , path = '']): Led[] => {
    const file = unescaped(path)
    if (basename(file) !== '__init__.py') return []
    return [{ folder: dirname(file), module, imports: true, by, sources: [source] }]
  })
}

/**
 * The modules of meson-python: the finder names the project, its top modules and its build folder, and meson's own plan
 * says where each built file would be installed.
 */
function ofMeson(text: string, source: string): Led[] {
  const call = new RegExp(
    String.raw`(?:MesonpyMetaFinder|^install)\(\s*(['"])(.*?)\1,\s*\{[^}]*\},\s*${LITERAL.replaceAll('1', '3')}`,
    'gm',
  )
  const [, , by = '', , folder] = [...text.matchAll(call)].at(-1) ?? []
  if (folder === undefined) return []
  const plan = join(unescaped(folder), 'meson-info/intro-install_plan.json')
  const sources = [source, plan]
  const folders = new Set<string>()
  const modules = installedTargets(textOf(plan)).flatMap(([file, destination]): Led[] => {
    folders.add(dirname(file))
    const inside = /^\{py_(?:platlib|purelib)\}\/(.+)$/.exec(destination)?.[1]
    if (inside === undefined) return []
    return [{ folder: withoutSuffixes(file), module: moduleOf(inside), imports: true, by, sources }]
  })
  return [...modules, ...[...folders].map((folder): Led => ({ folder, module: '', imports: false, by, sources }))]
}

/** The shared objects among the targets in meson's plan, each with its destination. */
function installedTargets(json: string): [string, string][] {
  try {
    const plan: unknown = JSON.parse(json)
    if (typeof plan !== 'object' || plan === null || !('targets' in plan)) return []
    const { targets } = plan
    if (typeof targets !== 'object' || targets === null) return []
    return Object.entries(targets).flatMap(([file, target]: [string, unknown]): [string, string][] => {
      if (!file.startsWith('/') || !isLibraryName(file)) return []
      const has = typeof target === 'object' && target !== null && 'destination' in target
      return has && typeof target.destination === 'string' ? [[file, target.destination]] : []
    })
  } catch (error) {
    if (error instanceof SyntaxError) return []
    throw error
  }
}

/**
 * What the links of setuptools' strict mode lead to: `build/__editable__.edx-1.0-…` holds a link for each file of the
 * packages, and a .pth file names it. Only files of the project count.
 */
export function linkedTree(folder: string, by: string, sources: readonly string[]): Led[] {
  if (!basename(folder).startsWith('__editable__.')) return []
  const project = realPathOrNull(dirname(dirname(folder)))
  const led: Led[] = []
  const walk = (below: string): void => {
    for (const { name, kind } of entriesIn(join(folder, below))) {
      const path = below === '' ? name : `${below}/${name}`
      if (kind === 'directory') walk(path)
      if (kind !== 'symlink' || !isLibraryName(name)) continue
      const target = realPathOrNull(join(folder, path))
      if (target === null || project === null || project === '/' || !isInside(target, project)) continue
      led.push(
        { folder: withoutSuffixes(target), module: moduleOf(path), imports: true, by, sources },
        { folder: dirname(target), module: '', imports: false, by, sources },
      )
    }
  }
  walk('')
  return led
}

/** What a code line of a .pth file says of sys.path. */
interface PathCode {
  /** The absolute paths in the line; belonging.ts takes those that are folders. */
  readonly paths: readonly string[]
  /** Only running the line would show which folders it adds. */
  readonly computes: boolean
}

/** What a code line of a .pth file does to sys.path, as far as the line itself shows. */
export function pathsInCode(line: string): PathCode {
  // easy_install uses sys.__plen to mark where its folders begin
  if (line.includes('sys.__plen') || !/\bsys\s*\.\s*path\b|\badd(?:site|package)/.test(line)) {
    return { paths: [], computes: false }
  }
  const paths = [...line.matchAll(new RegExp(LITERAL, 'g'))]
    .map(([, , path = '']) => unescaped(path))
    .filter(path => path.startsWith('/'))
  // a literal that is only a part of a path may name a folder that holds much more
  const computes = paths.length === 0 || COMPUTED.test(line)
  return { paths: computes ? [] : paths, computes }
}

/** Code that makes a path from parts, or takes it from somewhere else. */
const COMPUTED =
  /\b(?:join|joinpath|expanduser|expandvars|environ|getenv|dirname|abspath|__file__|getcwd|prefix|home|glob|_getframe|format)\b|[%+]|\bf['"]/

/** Code lines that installers write and that add no folder to sys.path: setuptools, virtualenv, namespace packages, wheelfix. */
export function addsNoFolder(line: string): boolean {
  return /^import[ \t]+(?:_virtualenv|_wheelfix_\w+)\s*$|\b_distutils_hack\b|sys\.__plen|\b__path__\b/.test(line)
}

/** edx.core for `edx/core.cpython-311-x86_64-linux-gnu.so`. */
function moduleOf(path: string): string {
  return withoutSuffixes(path).replaceAll('/', '.')
}

function withoutSuffixes(path: string): string {
  const name = basename(path)
  const dot = name.indexOf('.')
  return dot <= 0 ? path : path.slice(0, path.length - name.length + dot)
}

function unescaped(literal: string): string {
  return literal.replaceAll(/\\(.)/g, '$1')
}

/** The text of a file that says where imports are found; empty where there is none. */
export function textOf(path: string): string {
  return readRegularText(path, LARGEST_TEXT)
}
