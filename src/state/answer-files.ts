// Where the answers of earlier runs are kept: in the state folder of the environment. An environment in which nothing was
// ever to do has no state folder and does not get one for this: its answers are kept in the user's own state folder, in a
// file that is named after the environment's path.
import { lstatSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { crypto } from '../io/crypto.ts'
import { encodeText } from '../elf/text.ts'
import { readBeneath } from '../io/beneath.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { entriesIn, fsPath } from '../io/path.ts'
import { fenceIn } from '../io/write/folder.ts'
import { replaceExpendable } from '../io/write/replace.ts'
import type { Place } from '../python/environment.ts'
import { readState } from '../python/state-folder.ts'
import { stateHome } from './folders.ts'

const NAME = 'state.json'

/** The size limit of a file in bytes. The answers of the largest environments have some 100 KB. */
const LARGEST_FILE = 16 << 20

/** The text that an earlier run kept for the environment; null where there is none that can be trusted. */
export function readAnswers(place: Place, env: NodeJS.ProcessEnv): string | null {
  if (mayExist(place.stateFolder)) return readState(place, NAME)
  const folder = answersFolder(env)
  return folder !== null && isOwn(folder)
    ? (readBeneath(folder, nameFor(place), LARGEST_FILE)?.toString('utf8') ?? null)
    : null
}

/** Keeps a text for the next run. Without it the next run only takes longer, so errors of the file system are ignored. */
export function writeAnswers(place: Place, text: string, env: NodeJS.ProcessEnv): void {
  const folder = answersFolder(env)
  try {
    if (mayExist(place.stateFolder)) {
      fenceIn(place.root)
      replaceExpendable(`${place.stateFolder}/${NAME}`, text)
      if (folder !== null && isOwn(folder)) rmSync(fsPath(join(folder, nameFor(place))), { force: true })
    } else if (folder !== null) {
      mkdirSync(fsPath(folder), { recursive: true, mode: 0o700 })
      if (!isOwn(folder)) return
      replaceExpendable(join(folder, nameFor(place)), text)
      removeOld(folder)
    }
  } catch (error) {
    // a link in the place of the state folder: nothing is kept
    if (errnoOf(error) === undefined && !(error instanceof WheelfixError)) throw error
  }
}

function answersFolder(env: NodeJS.ProcessEnv): string | null {
  const home = stateHome(env)
  return home === null ? null : join(home, 'wheelfix/answers')
}

function nameFor({ root }: Place): string {
  return `${crypto().createHash('sha256').update(encodeText(root)).digest('hex').slice(0, 32)}.json`
}

/** Is this a folder, not a link to one, that belongs to this user, and that nobody else may write to? */
function isOwn(folder: string): boolean {
  try {
    const status = lstatSync(fsPath(folder), { throwIfNoEntry: false })
    return status?.isDirectory() === true && status.uid === process.geteuid?.() && (status.mode & 0o022) === 0
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

/** How long an answer is kept, in milliseconds: many environments are removed by their tools and never asked about again. */
const LONGEST_AGE = 90 * 24 * 60 * 60 * 1000

/** Removes old answers. A run that finds none does the whole work and writes it again. */
function removeOld(folder: string): void {
  const now = Date.now()
  for (const { name, kind } of entriesIn(folder)) {
    const path = fsPath(join(folder, name))
    if (kind === 'file' && now - lstatSync(path).mtimeMs > LONGEST_AGE) rmSync(path, { force: true })
  }
}

/** Is there anything at `path`, or may it not be looked at? */
function mayExist(path: string): boolean {
  try {
    return lstatSync(fsPath(path), { throwIfNoEntry: false }) !== undefined
  } catch (error) {
    // then nothing is put in its place
    if (errnoOf(error) === undefined) throw error
    return true
  }
}
