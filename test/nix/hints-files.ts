// The hints compared with nixpkgs' own files, without an evaluation: is each attribute a package of pkgs/by-name or
// all-packages.nix, or only an alias of another name? Part of a checkout is enough: what it lacks is named.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { HintRow } from '../../src/nix/hints.ts'
import { FAMILIES } from '../../src/nix/hints/versions.ts'

/** What the files say of an attribute. */
export interface FileFinding {
  readonly attribute: string
  /** `unknown`: these files cannot tell. */
  readonly state: 'confirmed' | 'renamed' | 'removed' | 'absent' | 'unknown'
  readonly by: string
}

/** Where the packages of a set are defined, one file or folder each. */
const SETS: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^cudaPackages(?:_\d+)?$/, ['pkgs/development/cuda-modules/packages']],
  [/^rocmPackages$/, ['pkgs/development/rocm-modules', 'pkgs/development/rocm-modules/6']],
  [/^gst_all_1$/, ['pkgs/development/libraries/gstreamer']],
  [/^qt6$/, ['pkgs/development/libraries/qt-6/modules']],
  [/^qt5$/, ['pkgs/development/libraries/qt-5/modules']],
  [/^llvmPackages(?:_\d+)?$/, ['pkgs/development/compilers/llvm/common']],
]

/** Every attribute of the data: those of the rows, and those of every version that is kept. */
export function attributesOf(rows: readonly HintRow[]): string[] {
  const plain = rows.filter(({ source, gone }) => source !== 'driver' && gone === undefined).map(row => row.attribute)
  return [
    ...new Set([...plain, ...FAMILIES.flatMap(family => family.versions.map(version => family.attribute(version)))]),
  ]
}

/** @param nixpkgs the folder of a checkout, or of the part of one that is there */
export function checkFiles(attributes: readonly string[], nixpkgs: string): FileFinding[] {
  const names = packageNames(join(nixpkgs, 'pkgs/top-level/all-packages.nix'))
  const aliases = aliasesOf(join(nixpkgs, 'pkgs/top-level/aliases.nix'))
  return attributes.map((attribute): FileFinding => {
    const [top = '', ...rest] = attribute.split('.')
    const alias = aliases?.get(attribute) ?? aliases?.get(top)
    if (alias !== undefined)
      return { attribute, state: /\bthrow\b/.test(alias) ? 'removed' : 'renamed', by: alias.trim() }
    if (rest.length > 0 && top !== 'stdenv') return ofSet(attribute, top, rest[0] ?? '', nixpkgs)
    const shard = join('pkgs/by-name', top.slice(0, 2).toLowerCase(), top)
    if (existsSync(join(nixpkgs, shard, 'package.nix'))) return { attribute, state: 'confirmed', by: shard }
    if (names?.has(top) === true) return { attribute, state: 'confirmed', by: 'all-packages.nix' }
    const lacking = [
      ...(names === null ? ['all-packages.nix'] : []),
      ...(existsSync(join(nixpkgs, 'pkgs/by-name')) ? [] : ['pkgs/by-name']),
    ]
    if (lacking.length > 0) return { attribute, state: 'unknown', by: `this checkout lacks ${lacking.join(' and ')}` }
    return { attribute, state: 'absent', by: 'neither in pkgs/by-name nor in all-packages.nix' }
  })
}

function ofSet(attribute: string, set: string, name: string, nixpkgs: string): FileFinding {
  const folders = SETS.find(([pattern]) => pattern.test(set))?.[1] ?? []
  const there = folders.filter(folder => existsSync(join(nixpkgs, folder)))
  if (there.length === 0) return { attribute, state: 'unknown', by: `no file is known for the packages of ${set}` }
  const words = new Set([name, name.replace(/^gst-/, ''), name.replace(/^lib(?=llvm|clang|cxx)/, '')])
  const file = there
    .flatMap(folder => readdirSync(join(nixpkgs, folder)).map(entry => join(folder, entry)))
    .find(path => words.has(path.slice(path.lastIndexOf('/') + 1).replace(/\.nix$/, '')))
  if (file !== undefined) return { attribute, state: 'confirmed', by: file }
  return { attribute, state: 'absent', by: `not in ${there.join(' or ')}` }
}

/** What all-packages.nix binds: `name =` at its top level, and the words of its `inherit` lists. */
function packageNames(path: string): Set<string> | null {
  if (!existsSync(path)) return null
  const text = readFileSync(path, 'utf8')
  const bound = [...text.matchAll(/^ {2}([a-zA-Z_][\w'-]*) =/gm)].map(match => match[1] ?? '')
  const inherited = [...text.matchAll(/^ {2}inherit\b([^;]*);/gms)].flatMap(match =>
    [...(match[1] ?? '').matchAll(/[a-zA-Z_][\w'-]*/g)].map(([word]) => word),
  )
  return new Set([...bound, ...inherited])
}

/** The deprecated names and what they say. */
function aliasesOf(path: string): Map<string, string> | null {
  if (!existsSync(path)) return null
  const text = readFileSync(path, 'utf8')
  return new Map([...text.matchAll(/^ {2}([a-zA-Z_][\w'-]*) = ?(.*)$/gm)].map(match => [match[1] ?? '', match[0]]))
}
