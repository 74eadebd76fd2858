// Where a project keeps its settings. Apart from config.ts, so that a run that has nothing to do needs no parser of TOML.
import { existsSync, type Stats, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { errnoOf } from '../io/error.ts'
import { fsPath } from '../io/path.ts'

/** What the root of a repository holds. */
const REPOSITORY = ['.git', '.hg', '.jj', '.svn']

/**
 * The nearest of the two files, from the folder of the venv upwards, or null. The search ends with the project: at the root
 * of a repository, at the home folder, and before a folder of another owner. A file of another owner does not count: anybody
 * may put one into /tmp.
 */
export function findConfig(venvRoot: string): string | null {
  const root = resolve(venvRoot)
  const first = dirname(root)
  const owners = new Set([process.getuid?.(), ...[root, first].map(path => statusOf(path)?.uid)])
  for (let folder = first; ; folder = dirname(folder)) {
    if (!owners.has(statusOf(folder)?.uid)) return null
    const found = ['wheelfix.toml', 'pyproject.toml']
      .map(name => join(folder, name))
      .find(path => {
        const status = statusOf(path)
        return status !== null && owners.has(status.uid)
      })
    if (found !== undefined) return found
    const isRepository = REPOSITORY.some(name => existsSync(fsPath(join(folder, name))))
    if (isRepository || folder === homedir() || folder === dirname(folder)) return null
  }
}

function statusOf(path: string): Stats | null {
  try {
    return statSync(fsPath(path), { throwIfNoEntry: false }) ?? null
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}
