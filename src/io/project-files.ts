// Which project files to trust: the files between an environment and the end of its project, if the user trusts their
// owner. Anybody may put a file into /tmp.
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fsPath, statusOf } from './path.ts'

/** Entries at the root of a repository. */
const REPOSITORY = ['.git', '.hg', '.jj', '.svn']

/**
 * The files with these names, the nearest folder first, upwards from the folder of the environment. The search ends
 * with the project: at the root of a repository, at the home folder, and before a folder of another owner. A file of
 * another owner does not count.
 */
export function* projectFiles(environmentRoot: string, names: readonly string[]): Generator<string> {
  const root = resolve(environmentRoot)
  const first = dirname(root)
  const owners = new Set([process.getuid?.(), ...[root, first].map(path => statusOf(path)?.uid)])
  for (let folder = first; ; folder = dirname(folder)) {
    if (!owners.has(statusOf(folder)?.uid)) return
    for (const name of names) {
      const path = join(folder, name)
      const status = statusOf(path)
      if (status !== null && owners.has(status.uid)) yield path
    }
    const isRepository = REPOSITORY.some(name => existsSync(fsPath(join(folder, name))))
    if (isRepository || folder === homedir() || folder === dirname(folder)) return
  }
}
