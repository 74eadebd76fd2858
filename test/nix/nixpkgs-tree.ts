// The files of a nixpkgs: a checkout, a part of one, or a Git directory without files, of which Git is asked.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { runWell } from '../support/run.ts'

/** What the checker reads. Paths are relative to the root of nixpkgs. */
export interface NixpkgsTree {
  /** The folder, where there are files that Nix can evaluate. */
  readonly folder: string | null
  /** The release and, where Git knows it, the commit. */
  readonly name: string
  /** @returns null where there is no such file */
  read(path: string): string | null
  /** @returns the names in a folder; null where there is no such folder */
  list(folder: string): string[] | null
}

/** What the checker may read of a Git directory. */
const PARTS = ['lib/.version', 'pkgs/by-name', 'pkgs/top-level', 'pkgs/development']

/**
 * @param path a folder with (a part of) nixpkgs' files, or a Git directory
 * @param commit of a Git directory: what to read
 */
export function openNixpkgs(path: string, commit = 'HEAD'): NixpkgsTree {
  const root = resolve(path)
  if (existsSync(join(root, 'pkgs'))) return ofFolder(root)
  const git = [root, join(root, '.git')].find(folder => existsSync(join(folder, 'objects')))
  if (git === undefined) throw new Error(`${root} has no folder pkgs and is not a Git directory`)
  return ofGit(git, commit)
}

function ofFolder(root: string): NixpkgsTree {
  const kind = (path: string) => statSync(join(root, path), { throwIfNoEntry: false })
  const read = (path: string) => (kind(path)?.isFile() === true ? readFileSync(join(root, path), 'utf8') : null)
  return {
    folder: existsSync(join(root, 'default.nix')) ? root : null,
    name: `nixpkgs ${read('lib/.version')?.trim() ?? 'of an unknown release'}`,
    read,
    list: folder => (kind(folder)?.isDirectory() === true ? readdirSync(join(root, folder)) : null),
  }
}

function ofGit(directory: string, commit: string): NixpkgsTree {
  const git = (...args: readonly string[]) => runWell('git', ['--git-dir', directory, ...args])
  const rev = git('rev-parse', '--verify', `${commit}^{commit}`).trim()
  const folders = new Map<string, Set<string>>()
  for (const path of git('ls-tree', '-r', '--name-only', '-z', rev, '--', ...PARTS).split('\0')) {
    for (let end = path.length, at = path.lastIndexOf('/'); at > 0; end = at, at = path.lastIndexOf('/', at - 1)) {
      const folder = path.slice(0, at)
      folders.set(folder, (folders.get(folder) ?? new Set()).add(path.slice(at + 1, end)))
    }
  }
  const read = (path: string) => {
    const at = path.lastIndexOf('/')
    const isThere = folders.get(path.slice(0, at))?.has(path.slice(at + 1)) === true && !folders.has(path)
    return isThere ? git('show', `${rev}:${path}`) : null
  }
  return {
    folder: null,
    name: `nixpkgs ${read('lib/.version')?.trim() ?? 'of an unknown release'}, commit ${rev}`,
    read,
    list: folder => (folders.has(folder) ? [...(folders.get(folder) ?? [])] : null),
  }
}
