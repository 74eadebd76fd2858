// Builds or downloads libraries with Nix: a set of a flake, or packages of a nixpkgs by their names.
import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { WheelfixError } from '../../io/error.ts'
import { fsPath, realPath } from '../../io/path.ts'
import { type Nixpkgs, nixString } from './pin.ts'
import { runNix } from './run-nix.ts'
import { likelyPackage } from '../hints.ts'

export interface BuildContext {
  readonly env: NodeJS.ProcessEnv
  /** The path of the link to the result. The link keeps the result from being collected. */
  readonly link: string
  /** Nix only says what it would build and download. */
  readonly dryRun: boolean
  readonly progress: (line: string) => void
}

/** A wanted package, by its names in different releases of nixpkgs. The first name that exists counts. */
export interface WantedPackage {
  readonly names: readonly string[]
  /** The output with the libraries, when it is not the usual one. */
  readonly output?: string
  /** The sonames that the package must bring; empty when the user named the package. */
  readonly sonames: readonly string[]
}

/** What a nixpkgs has for a wanted package. */
export interface FoundPackage extends WantedPackage {
  /** The name that exists. If none exists, the first name. */
  readonly name: string
  /**
   * `there`: the package can be built. `missing`: no such attribute. `removed`: the attribute only says that the package was
   * removed. The other values: nixpkgs refuses to evaluate the package (pkgs/stdenv/generic/check-meta.nix), or the
   * evaluation fails.
   */
  readonly status: 'there' | 'missing' | 'removed' | 'insecure' | 'unfree' | 'broken' | 'failing'
  /** The store path, built or not. */
  readonly path: string | null
}

/** The time limit: a download of nixpkgs over a slow line and its evaluation take minutes. */
const EVALUATION_LIMIT_MS = 15 * 60_000

/**
 * Builds an installable.
 * @param installable a flake output that is a folder with lib/, such as `path:/clone/of/wheelfix#libs`
 * @returns the store path; null with `dryRun`
 * @throws WheelfixError `IO` when Nix is missing or the build fails (Nix has then printed the reason on stderr)
 */
export async function buildLibraries(installable: string, context: BuildContext): Promise<string | null> {
  return build([installable], installable, context)
}

/**
 * Looks up packages in a nixpkgs, without a build. @throws WheelfixError `USAGE` for a word that cannot be the name of a
 * package
 */
export async function findPackages(
  wanted: readonly WantedPackage[],
  nixpkgs: Nixpkgs,
  { env, progress }: Pick<BuildContext, 'env' | 'progress'>,
): Promise<FoundPackage[]> {
  const candidates = wanted.map(({ names, output }) => {
    const each = names.map(name => `{ name = ${nixString(checked(name))}; package = pkgs.${name} or null; }`)
    return `(choose ${nixString(output ?? 'lib')} { status = "missing"; } [ ${each.join(' ')} ])`
  })
  const expression = `let pkgs = ${nixpkgs.packages}; ${LOOK} in [ ${candidates.join(' ')} ]`
  const text = await runNix(['eval', '--impure', '--json', '--expr', expression], {
    env,
    name: `the evaluation of nixpkgs (${nixpkgs.origin})`,
    limitMs: EVALUATION_LIMIT_MS,
    progress,
  })
  const answers = JSON.parse(text) as Partial<Pick<FoundPackage, 'name' | 'status' | 'path'>>[]
  return wanted.map((item, index) => {
    const { name = item.names[0] ?? '', status = 'missing', path = null } = answers[index] ?? {}
    return { ...item, name, status, path }
  })
}

/** The output that holds libraries, chosen as by `lib.getLib`, which differs between releases of nixpkgs. */
const PICK = `pick = output: package: if package.outputSpecified or false then package
  else package.\${output} or package.lib or package.out or package;`

/** The first name of a package that exists. Without one, what is wrong with the first known name. */
const LOOK = `${PICK}
  judge = output: { name, package }: let
    found = builtins.tryEval package;
    built = builtins.tryEval (pick output found.value).outPath;
    meta = builtins.tryEval (found.value.meta or { });
    is = mark: let value = builtins.tryEval (meta.value.\${mark} or false); in meta.success && value.success && value.value == true;
  in { inherit name; } // (
    if !found.success then { status = "removed"; }
    else if found.value == null then { status = "missing"; }
    else if built.success then { status = "there"; path = builtins.unsafeDiscardStringContext built.value; }
    else { status = if is "insecure" then "insecure" else if is "unfree" then "unfree" else if is "broken" then "broken" else "failing"; });
  choose = output: best: names:
    if builtins.length names == 0 then best
    else let one = judge output (builtins.head names); in
      if one.status == "there" then one
      else choose output (if best.status == "missing" && one.status != "missing" then one else best) (builtins.tail names);`

/**
 * Builds a folder with the libraries of the packages and of the set to which the link already leads. Nix's own builder joins
 * them, so the build needs only the packages.
 * @returns the store path; null with `dryRun`
 */
export async function buildPackages(
  packages: readonly Pick<FoundPackage, 'name' | 'output'>[],
  nixpkgs: Nixpkgs,
  context: BuildContext,
): Promise<string | null> {
  const { link } = context
  const paths = [
    ...packages.map(({ name, output }) => `(pick ${nixString(output ?? 'lib')} pkgs.${checked(name)})`),
    ...(existsSync(fsPath(link)) ? [`(builtins.storePath ${nixString(realPath(link))})`] : []),
  ]
  const expression = `let pkgs = ${nixpkgs.packages}; ${PICK} paths = [ ${paths.join(' ')} ]; in ${JOINED}`
  return build(['--impure', '--expr', expression], packages.map(({ name }) => name).join(' '), context)
}

/**
 * Joins the folders as a profile does (Nix's buildenv.nix). Each folder has its own priority. If two folders have a file
 * with the same name, the file of the first folder is taken.
 */
const JOINED = `derivation {
  name = "wheelfix-libs";
  system = "builtin";
  builder = "builtin:buildenv";
  manifest = builtins.toFile "manifest.nix" "[ ]";
  preferLocalBuild = true;
  allowSubstitutes = false;
  derivations = builtins.genList (i: [ "true" i 1 (builtins.elemAt paths i) ]) (builtins.length paths);
}`

const ATTRIBUTE = /^[A-Za-z_][\w'-]*(?:\.[A-Za-z_][\w'-]*)*$/

function checked(attribute: string): string {
  if (ATTRIBUTE.test(attribute)) return attribute
  const likely = likelyPackage(attribute)
  const advice = likely === null ? ', such as libGL' : `: did you mean ${likely}?`
  throw new WheelfixError('USAGE', `${attribute} is not the name of a package of nixpkgs${advice}`)
}

/**
 * The nixpkgs for a project that pins none.
 * @param flake the flake whose nixpkgs is taken; null for the one that NIX_PATH, a channel or the registry names
 */
export function usualNixpkgs(flake: string | null, env: NodeJS.ProcessEnv): Nixpkgs {
  const packages = (name: string) => `${name}.legacyPackages.\${builtins.currentSystem}`
  if (flake !== null) {
    const origin = `the flake ${flake}`
    return { packages: packages(`(builtins.getFlake ${nixString(flake)}).inputs.nixpkgs`), origin, revision: '' }
  }
  const channel = `${env['HOME'] ?? ''}/.nix-defexpr/channels/nixpkgs`
  const isNamed = env['NIX_PATH'] === undefined ? existsSync(channel) : env['NIX_PATH'].includes('nixpkgs')
  return isNamed
    ? {
        packages: 'import <nixpkgs> { }',
        origin: env['NIX_PATH'] === undefined ? 'your channel' : 'NIX_PATH',
        revision: '',
      }
    : { packages: packages('(builtins.getFlake "nixpkgs")'), origin: 'the flake registry', revision: '' }
}

async function build(what: readonly string[], name: string, context: BuildContext): Promise<string | null> {
  const { env, link, dryRun, progress } = context
  const run = { env, name: `nix build ${name}`, limitMs: null, progress }
  if (dryRun) {
    await runNix(['build', ...what, '--dry-run', '--no-link'], run)
    return null
  }
  const folder = fsPath(dirname(link))
  mkdirSync(folder, { recursive: true })
  try {
    await runNix(['build', ...what, '--out-link', fsPath(link).toString()], run)
  } catch (error) {
    if (readdirSync(folder).length === 0) rmdirSync(folder)
    throw error
  }
  return realPath(link)
}
