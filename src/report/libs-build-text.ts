// What `libs build` found in a nixpkgs, for a person: one line for each package.
import type { ChalkInstance } from 'chalk'
import { relativeTo } from '../io/path.ts'
import type { FoundPackage } from '../nix/build/build.ts'
import type { Nixpkgs } from '../nix/build/pin.ts'
import { shortPath } from './screen.ts'

/** @param isBuilt does this store path exist already? */
export function foundLines(
  found: readonly FoundPackage[],
  { origin, revision }: Nixpkgs,
  cwd: string,
  isBuilt: (path: string) => boolean,
  chalk: ChalkInstance,
): string[] {
  const which = revision === '' ? '' : ` (${revision})`
  return [
    `nixpkgs of ${origin.startsWith('/') ? relativeTo(cwd, origin) : origin}${which}`,
    ...found.map(item => {
      const what = item.sonames.length === 0 ? '' : ` for ${item.sonames.join(' ')}`
      if (item.path === null) return `${chalk.red('✗')} ${item.name}${what}: this nixpkgs ${absentWords(item)}`
      const where = isBuilt(item.path)
        ? `${shortPath(item.path)} is there`
        : `${shortPath(item.path)} will be downloaded or built`
      return `${chalk.green('✓')} ${item.name}${what}  ${chalk.dim(where)}`
    }),
  ]
}

/** Why a package cannot be taken, and what to do. The subject of the sentence is the nixpkgs. */
export function absentWords({ name, names, status }: Pick<FoundPackage, 'name' | 'names' | 'status'>): string {
  const others = names.filter(item => item !== name)
  const also = others.length === 0 ? '' : ` (nor ${others.join(' or ')})`
  switch (status) {
    case 'there':
      return `has ${name}`
    case 'missing':
      return `has no package ${name}${also}`
    case 'removed':
      return `no longer has ${name}${also}`
    case 'insecure':
      return `marks ${name} as insecure: to use it anyway, set NIXPKGS_ALLOW_INSECURE=1`
    case 'unfree':
      return `marks ${name} as unfree: to use it anyway, set NIXPKGS_ALLOW_UNFREE=1`
    case 'broken':
      return `marks ${name} as broken: to use it anyway, set NIXPKGS_ALLOW_BROKEN=1`
    case 'failing':
      return `cannot evaluate ${name} for this machine`
  }
}

/** The line for a soname that no known package of nixpkgs has. */
export function lackingLine(soname: string): string {
  return `${soname}: no known package of nixpkgs has it (wheelfix why ${soname} shows what was tried)`
}
