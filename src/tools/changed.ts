// The environments that a command changed which wheelfix does not know: `make`, a script, `sh -c '…'`.
import { existsSync, lstatSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from '../io/error.ts'
import { entriesIn, fsPath } from '../io/path.ts'
import { placesOf, TOOL_NAMES, type ToolPlace } from './places.ts'
import { projectsOf } from './projects.ts'
import type { PlacesQuestion } from './tool-settings.ts'

/** The kernel's clock for files may be a tick behind, and another machine's disk has its own. In milliseconds. */
const SLACK = 1000

/** The environments of all tools, and the `.venv` of the projects here and below, that changed since a time. */
export async function placesChanged(question: PlacesQuestion, since: number): Promise<ToolPlace[]> {
  const venvs = projectsOf(question.cwd, ['.venv/pyvenv.cfg']).map((project): ToolPlace => {
    return { tool: 'project', kind: 'venv', root: join(project, '.venv'), locks: [join(project, '.venv/.lock')] }
  })
  const places = [...venvs, ...(await placesOf(TOOL_NAMES, question))]
  return places.filter(({ root }) => foldersIn(root).some(path => changedAt(path) >= since - SLACK))
}

/** The folders of an environment whose time tells that something was installed. */
function foldersIn(root: string): string[] {
  const lib = join(root, 'lib')
  const sites = entriesIn(lib).map(({ name }) => join(lib, name, 'site-packages'))
  return [root, join(root, 'bin'), lib, ...sites.filter(path => existsSync(fsPath(path)))]
}

/** The time of the last change of the names in a folder, in milliseconds. 0 if the folder does not exist. */
function changedAt(path: string): number {
  try {
    return lstatSync(fsPath(path)).ctimeMs
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return 0
  }
}
