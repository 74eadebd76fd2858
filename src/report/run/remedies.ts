// What a user pastes to add packages of nixpkgs: a command that works now, and a line for the project's own file. The whole
// program and its documentation name libraries in this one way: WHEELFIX_LIBS, made by makeLibraryPath.
import { relativeTo } from '../../io/path.ts'
import type { ProjectFile } from '../../nix/build/project-file.ts'
import type { Remedy } from './run-text.ts'

/** @param target the words that select the environment in a command: empty, or a space and its folder */
export function remediesFor(
  attributes: readonly string[],
  target: string,
  project: ProjectFile | null,
  cwd: string,
): Remedy[] {
  // a list that fills the screen is too long to read: the command finds the packages itself, and prints the line for the
  // file
  const isLong = attributes.length > MOST_ATTRIBUTES
  const names = isLong ? '--missing' : attributes.join(' ')
  const command = { where: 'to add them', text: `wheelfix libs build ${names}${target}` }
  if (project === null || isLong) return [command]
  return [command, keepRemedy(attributes, project, cwd)]
}

/** How to keep packages: the line for the project's own file, or the names for the list that this file already has. */
export function keepRemedy(attributes: readonly string[], project: ProjectFile, cwd: string): Remedy {
  const file = relativeTo(cwd, project.path)
  if (project.hasLibs)
    return { where: `to keep them, in the list of WHEELFIX_LIBS in ${file}`, text: attributes.join(' ') }
  return { where: `to keep them, in ${file}`, text: lineFor(project.kind, attributes) }
}

const MOST_ATTRIBUTES = 8

/** The line in the syntax of the file. */
export function lineFor(kind: ProjectFile['kind'], attributes: readonly string[]): string {
  const list = `with pkgs; [ ${attributes.join(' ')} ]`
  const path = `pkgs.lib.makeLibraryPath (${list})`
  switch (kind) {
    case 'template':
      return `libs = pkgs: ${list};`
    case 'flake':
    case 'shell':
      return `WHEELFIX_LIBS = ${path};`
    case 'devenv':
      return `env.WHEELFIX_LIBS = ${path};`
    case 'nixos':
      return `environment.sessionVariables.WHEELFIX_LIBS = ${path};`
  }
}
