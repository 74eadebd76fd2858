// Where a project keeps its settings. This is apart from config.ts, so that a run with nothing to do needs no TOML parser.
import { projectFiles } from '../io/project-files.ts'

/** The nearest of the project's two possible files, or null. */
export function findConfig(venvRoot: string): string | null {
  const [found] = projectFiles(venvRoot, ['wheelfix.toml', 'pyproject.toml'])
  return found ?? null
}
