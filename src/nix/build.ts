// Realising a library set with `nix build`: the one thing here that may ask the network, and only when the user says so.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { fsPath, realPath } from '../io/path.ts'

/**
 * Builds an installable and keeps it from being collected by a link.
 * @param installable a flake output that is a folder with lib/, such as `path:/clone/of/wheelfix#libs`
 * @param link where the link to the result is made
 * @returns the store path
 * @throws WheelfixError `IO` where Nix is missing or the build fails (Nix has then said why on stderr)
 */
export function buildLibraries(installable: string, link: string, env: NodeJS.ProcessEnv): string {
  return build([installable], installable, link, env)
}

/**
 * Builds a folder with the libraries of packages of nixpkgs, beside those of the set that the link leads to already.
 * @param attributes `libGL`, `stdenv.cc.cc`
 * @param flake the flake whose nixpkgs is taken; null: the one that NIX_PATH, a channel or the registry names
 */
export function buildPackages(
  attributes: readonly string[],
  flake: string | null,
  link: string,
  env: NodeJS.ProcessEnv,
): string {
  for (const attribute of attributes) {
    if (!ATTRIBUTE.test(attribute)) {
      throw new WheelfixError('USAGE', `${attribute} is not the name of a package of nixpkgs, such as libGL`)
    }
  }
  const paths = [
    `map pkgs.lib.getLib (with pkgs; [ ${attributes.join(' ')} ])`,
    ...(existsSync(fsPath(link)) ? [`[ (builtins.storePath ${JSON.stringify(realPath(link))}) ]`] : []),
  ]
  const expression =
    `let pkgs = ${nixpkgsOf(flake, env)}; in pkgs.buildEnv { name = "wheelfix-libs"; pathsToLink = [ "/lib" ]; ` +
    `ignoreCollisions = true; paths = ${paths.join(' ++ ')}; }`
  return build(['--impure', '--expr', expression], attributes.join(' '), link, env)
}

const ATTRIBUTE = /^[A-Za-z_][\w'-]*(?:\.[A-Za-z_][\w'-]*)*$/

function nixpkgsOf(flake: string | null, env: NodeJS.ProcessEnv): string {
  const packages = (name: string) => `${name}.legacyPackages.\${builtins.currentSystem}`
  if (flake !== null) return packages(`(builtins.getFlake ${JSON.stringify(flake)}).inputs.nixpkgs`)
  const channel = `${env['HOME'] ?? ''}/.nix-defexpr/channels/nixpkgs`
  const isNamed = env['NIX_PATH'] === undefined ? existsSync(channel) : env['NIX_PATH'].includes('nixpkgs')
  return isNamed ? 'import <nixpkgs> { }' : packages('(builtins.getFlake "nixpkgs")')
}

function build(what: readonly string[], name: string, link: string, env: NodeJS.ProcessEnv): string {
  mkdirSync(fsPath(dirname(link)), { recursive: true })
  const features = ['--extra-experimental-features', 'nix-command', '--extra-experimental-features', 'flakes']
  const args = [...features, 'build', ...what, '--out-link', fsPath(link).toString()]
  const { status, error } = spawnSync('nix', args, { env, stdio: ['ignore', 2, 2] })
  if (status !== 0 && readdirSync(fsPath(dirname(link))).length === 0) rmdirSync(fsPath(dirname(link)))
  if (error !== undefined && errnoOf(error) === 'ENOENT') {
    throw new WheelfixError('IO', 'nix is not on PATH, and libs build needs it to build or download libraries')
  }
  if (status !== 0) throw new WheelfixError('IO', `nix build ${name} failed (see above)`, name)
  return realPath(link)
}
