// The hints compared with nixpkgs' own files, without an evaluation: is each attribute a package of pkgs/by-name or
// all-packages.nix, or only an alias of another name? Part of a checkout is enough: what it lacks is named.
import type { HintRow } from '../../src/nix/hints.ts'
import { FAMILIES } from '../../src/nix/hints/versions.ts'
import type { NixpkgsTree } from './nixpkgs-tree.ts'

/** What the files say of an attribute. */
export interface FileFinding {
  readonly attribute: string
  /** `unknown`: these files cannot tell. */
  readonly state: 'confirmed' | 'renamed' | 'removed' | 'absent' | 'unknown'
  readonly by: string
}

/** Where the packages of a set are: a file that binds their names, or a folder with a file or folder for each. */
const SETS: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^cudaPackages(?:_\d+)?$/, ['pkgs/development/cuda-modules/packages']],
  [/^rocmPackages$/, ['pkgs/development/rocm-modules/default.nix', 'pkgs/development/rocm-modules']],
  [/^gst_all_1$/, ['pkgs/development/libraries/gstreamer/default.nix']],
  [/^qt6$/, ['pkgs/development/libraries/qt-6/default.nix', 'pkgs/development/libraries/qt-6/modules']],
  [/^qt5$/, ['pkgs/development/libraries/qt-5/5.15/default.nix']],
  [/^llvmPackages(?:_\d+)?$/, ['pkgs/development/compilers/llvm/common/default.nix']],
]

const ALL_PACKAGES = 'pkgs/top-level/all-packages.nix'
const ALIASES = 'pkgs/top-level/aliases.nix'

/** Every attribute of the data: those of the rows, and those of every version that is kept. */
export function attributesOf(rows: readonly HintRow[]): string[] {
  const plain = rows.filter(({ source, gone }) => source !== 'driver' && gone === undefined).map(row => row.attribute)
  return [
    ...new Set([...plain, ...FAMILIES.flatMap(family => family.versions.map(version => family.attribute(version)))]),
  ]
}

/** @param nixpkgs the whole of it, or a part */
export function checkFiles(attributes: readonly string[], nixpkgs: NixpkgsTree): FileFinding[] {
  const text = nixpkgs.read(ALL_PACKAGES)
  const names = text === null ? null : packageNames(text)
  const aliases = aliasesOf(nixpkgs.read(ALIASES) ?? '')
  return attributes.map((attribute): FileFinding => {
    const [top = '', ...rest] = attribute.split('.')
    const alias = aliases.get(attribute) ?? aliases.get(top)
    if (alias !== undefined) return { attribute, state: /\bthrow\b/.test(alias) ? 'removed' : 'renamed', by: alias }
    if (rest.length > 0 && top !== 'stdenv') return ofSet(attribute, top, rest[0] ?? '', nixpkgs, names)
    // the standard environment is bound by the stages before all packages
    if (top === 'stdenv') return { attribute, state: 'confirmed', by: 'pkgs/stdenv' }
    const folder = `pkgs/by-name/${top.slice(0, 2).toLowerCase()}/${top}`
    if (nixpkgs.list(folder)?.includes('package.nix') === true) return { attribute, state: 'confirmed', by: folder }
    if (names?.has(top) === true) return { attribute, state: 'confirmed', by: ALL_PACKAGES }
    const lacking = [
      ...(names === null ? [ALL_PACKAGES] : []),
      ...(nixpkgs.list('pkgs/by-name') === null ? ['pkgs/by-name'] : []),
    ]
    if (lacking.length > 0) return { attribute, state: 'unknown', by: `these files lack ${lacking.join(' and ')}` }
    return { attribute, state: 'absent', by: `neither in pkgs/by-name nor in ${ALL_PACKAGES}` }
  })
}

function ofSet(
  attribute: string,
  set: string,
  name: string,
  nixpkgs: NixpkgsTree,
  names: ReadonlySet<string> | null,
): FileFinding {
  if (names?.has(set) === false) return { attribute, state: 'absent', by: `${ALL_PACKAGES} has no ${set}` }
  const places = SETS.find(([pattern]) => pattern.test(set))?.[1] ?? []
  const there = places.filter(place => nixpkgs.read(place) !== null || nixpkgs.list(place) !== null)
  const place = there.find(at => {
    const text = nixpkgs.read(at)
    if (text !== null) return new RegExp(`^\\s+${name} =`, 'm').test(text)
    return nixpkgs.list(at)?.some(entry => entry.replace(/\.nix$/, '') === name) === true
  })
  if (place !== undefined) return { attribute, state: 'confirmed', by: place }
  if (there.length === 0)
    return { attribute, state: 'unknown', by: `these files lack ${places.join(' and ') || `those of ${set}`}` }
  return { attribute, state: 'absent', by: `not in ${there.join(' or ')}` }
}

/** What all-packages.nix binds: `name =` at its top level, and the names of its `inherit` lists. */
function packageNames(text: string): Set<string> {
  const names = new Set([...text.matchAll(/^ {2}([a-zA-Z_][\w'-]*) =/gm)].map(match => match[1] ?? ''))
  for (const { index } of text.matchAll(/^ {2}inherit\b/gm)) {
    const list = text.slice(afterSource(text, index + '  inherit'.length))
    const plain = list.slice(0, list.indexOf(';')).replaceAll(/#.*$/gm, '')
    for (const [name] of plain.matchAll(/[a-zA-Z_][\w'-]*/g)) names.add(name)
  }
  return names
}

/** The offset after the `(…)` of an inherit, which may hold packages and semicolons of its own. */
function afterSource(text: string, start: number): number {
  const first = start + (/\S/.exec(text.slice(start))?.index ?? 0)
  if (text[first] !== '(') return first
  let depth = 0
  // strings and comments first, so that a bracket in them does not count
  const token = /"(?:\\.|[^"\\])*"|''[^]*?''(?!')|#.*$|[()]/gm
  token.lastIndex = first
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    depth += match[0] === '(' ? 1 : match[0] === ')' ? -1 : 0
    if (depth === 0) return token.lastIndex
  }
  return first
}

/** The deprecated names and what they say, each on one line. */
function aliasesOf(text: string): Map<string, string> {
  const entries = text.matchAll(/^ {2}"?([a-zA-Z_][\w'-]*)"? =\s*([^]*?);(?: *#.*)?$/gm)
  return new Map([...entries].map(([whole, name = '']) => [name, whole.replaceAll(/\s+/g, ' ').trim()]))
}
