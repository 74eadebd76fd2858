// Realising a library set with `nix build`: the one thing here that may ask the network, and only when the user says so.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmdirSync } from 'node:fs'
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
  mkdirSync(fsPath(dirname(link)), { recursive: true })
  const features = ['--extra-experimental-features', 'nix-command', '--extra-experimental-features', 'flakes']
  const args = [...features, 'build', installable, '--out-link', fsPath(link).toString()]
  const { status, error } = spawnSync('nix', args, { env, stdio: ['ignore', 2, 2] })
  if (status !== 0 && readdirSync(fsPath(dirname(link))).length === 0) rmdirSync(fsPath(dirname(link)))
  if (error !== undefined && errnoOf(error) === 'ENOENT')
    throw new WheelfixError('IO', 'nix is not on PATH: libs build needs Nix, to build or download the library set')
  if (status !== 0) throw new WheelfixError('IO', `nix build ${installable} failed`, installable)
  return realPath(link)
}
