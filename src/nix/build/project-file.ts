// Finds the Nix file of a project. The user names libraries there, in that file's own syntax. This file reads files and
// evaluates nothing.
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { errnoOf } from '../../io/error.ts'
import { fsPath } from '../../io/path.ts'

/**
 * - `template`: the flake that `nix flake init -t` writes, with a list `libs`
 * - `flake`, `shell`: a file that calls mkShell
 * - `devenv`: a module of devenv
 * - `nixos`: the configuration of the machine, for a project without its own file
 */
export interface ProjectFile {
  readonly path: string
  readonly kind: 'template' | 'flake' | 'shell' | 'devenv' | 'nixos'
  /** Does the file already define WHEELFIX_LIBS? Nix refuses a second definition. The template has a list of its own. */
  readonly hasLibs: boolean
}

/** devenv.nix comes first, because nobody edits devenv's own flake.nix beside it by hand. */
const NAMES = [
  ['devenv.nix', 'devenv'],
  ['shell.nix', 'shell'],
  ['flake.nix', 'flake'],
  ['default.nix', 'shell'],
] as const

/**
 * The Nix file of the project that holds an environment: the nearest one, up to the root of the Git repository. Without one,
 * the configuration of NixOS. null without either.
 */
export function findProjectFile(environmentRoot: string, system = '/etc/nixos/configuration.nix'): ProjectFile | null {
  for (let folder = dirname(environmentRoot); ; folder = dirname(folder)) {
    for (const [name, kind] of NAMES) {
      const path = join(folder, name)
      if (!existsSync(fsPath(path))) continue
      if (kind === 'flake') return projectFile(path, isTemplate(path) ? 'template' : 'flake')
      if (name !== 'default.nix' || isShell(path)) return projectFile(path, kind)
    }
    if (folder === dirname(folder) || existsSync(fsPath(join(folder, '.git')))) break
  }
  return existsSync(fsPath(system)) ? projectFile(system, 'nixos') : null
}

function projectFile(path: string, kind: ProjectFile['kind']): ProjectFile {
  return { path, kind, hasLibs: kind !== 'template' && /^[^#\n]*\bWHEELFIX_LIBS\s*=/m.test(fileText(path)) }
}

function isTemplate(path: string): boolean {
  return /^\s*libs = pkgs:/m.test(fileText(path))
}

function isShell(path: string): boolean {
  return fileText(path).includes('mkShell')
}

function fileText(path: string): string {
  try {
    return readFileSync(fsPath(path), 'utf8')
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return ''
  }
}
