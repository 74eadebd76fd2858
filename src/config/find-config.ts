// Where a project keeps its settings. Apart from config.ts, so that a run that has nothing to do needs no parser of TOML.
import { projectFiles } from '../io/project-files.ts'

/** The nearest of the two files of the project, or null. */
export function findConfig(venvRoot: string): string | null {
  const [found] = projectFiles(venvRoot, ['wheelfix.toml', 'pyproject.toml'])
  return found ?? null
}
