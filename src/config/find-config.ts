// Where a project keeps its settings. Apart from config.ts, so that a run that has nothing to do needs no parser of TOML.
import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fsPath } from '../io/path.ts'

/** The nearest of the two files, from the folder of the venv upwards, or null. */
export function findConfig(venvRoot: string): string | null {
  for (let folder = dirname(resolve(venvRoot)); ; folder = dirname(folder)) {
    const found = ['wheelfix.toml', 'pyproject.toml']
      .map(name => join(folder, name))
      .find(path => existsSync(fsPath(path)))
    if (found !== undefined) return found
    if (folder === dirname(folder)) return null
  }
}
