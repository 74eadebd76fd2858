// What a finished run leaves for the next one, so that a shell hook that runs on every entry costs next to nothing: the
// state of every folder and object of the venv and of everything outside that the answer depends on, and the answer. The
// next run compares status fields alone; where one differs, or anything is in doubt, it does the whole work again. (What
// this cannot see is a file that was no object and becomes one in place: installers write new files.)
import { lstatSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { errnoOf } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { replaceContent } from '../io/replace.ts'
import type { Venv } from '../python/venv.ts'
import { findConfig } from './find-config.ts'
import { stateFolder } from './lock.ts'
import type { VenvOptions, VenvReport } from './venv.ts'

/** The answer of a run in which nothing is left to do, as it is printed. */
export interface Answer {
  readonly status: number
  readonly warnings: readonly string[]
  readonly lines: readonly string[]
  /** The lines of --quiet. */
  readonly quietLines: readonly string[]
}

interface Stamp {
  readonly version: string
  readonly root: string
  readonly settings: Settings
  readonly config: string | null
  /** Folders and objects of the venv by their path below its root, files outside by their path; each with its state. */
  readonly states: Readonly<Record<string, string>>
  readonly answer: Answer
}

/** What of the command line and the environment the answer depends on. */
interface Settings {
  readonly libs: readonly string[]
  readonly noScan: boolean
  readonly ignoreMissing: readonly string[]
  readonly strict: boolean
  readonly strategy: string | null
  readonly env: Readonly<Record<string, string>>
}

const VARIABLES = [
  'LD_LIBRARY_PATH',
  'NIX_LD',
  'NIX_LDFLAGS',
  'NIX_LD_LIBRARY_PATH',
  'NIX_STATE_DIR',
  'NIX_STORE_DIR',
  'WHEELFIX_DEFAULT_LIBS',
  'WHEELFIX_LIBS',
  'XDG_CACHE_HOME',
]

function settingsOf(options: VenvOptions, strict: boolean): Settings {
  const set = VARIABLES.flatMap(name => (options.env[name] === undefined ? [] : [[name, options.env[name]]]))
  return {
    libs: options.libs,
    noScan: options.noScan,
    ignoreMissing: options.ignoreMissing,
    strict,
    strategy: options.strategy,
    env: Object.fromEntries(set),
  }
}

function stampPath(venvRoot: string): string {
  return `${stateFolder(venvRoot)}/state.json`
}

/** The answer of the last run, if nothing at all has changed since; else null. */
export function recall(venv: Venv, options: VenvOptions, strict: boolean, version: string): Answer | null {
  if (options.update || options.rehash) return null
  const stamp = readStamp(venv.root)
  if (stamp === null || stamp.version !== version || stamp.root !== venv.root) return null
  const now = settingsOf(options, strict)
  // what an earlier run was given with --libs is pinned: the same answer without the flag
  const libs = now.libs.length === 0 ? stamp.settings.libs : now.libs
  const strategy = now.strategy ?? stamp.settings.strategy
  if (JSON.stringify({ ...now, libs, strategy }) !== JSON.stringify(stamp.settings)) return null
  if (findConfig(venv.root) !== stamp.config) return null
  for (const path in stamp.states) if (stateOf(venv.root, path) !== stamp.states[path]) return null
  return stamp.answer
}

/**
 * Keeps the answer of a run after which nothing is left to do. Nothing is kept in a venv that wheelfix has no part in,
 * nor when a folder changed while the run was going on.
 * @param began when the run began, in milliseconds
 */
export function remember(
  report: VenvReport,
  options: VenvOptions,
  strict: boolean,
  version: string,
  answer: Answer,
  began: number,
): void {
  const { venv } = report
  const old = readStamp(venv.root)
  if (report.outcomes.some(({ passing }) => passing === true)) return
  // what is not protected from a collection is tried again by the next run
  if (report.roots?.hasNix === true && report.roots.problem !== null) return
  if (report.unreadable.length > 0 || statusOf(stateFolder(venv.root)) === null) return
  const states = statesOf(report)
  const written = foldersWritten(report)
  for (const directory of report.directories) {
    const status = statusOf(directory)
    if (status === null) return
    if (status.ctimeMs > began - CLOCK_MS && !written.has(directory) && !directory.endsWith('.dist-info')) return
  }
  const settings = settingsOf(options, strict)
  const stamp: Stamp = { version, root: venv.root, settings, config: findConfig(venv.root), states, answer }
  const same = old !== null && old.version === version && JSON.stringify(old.states) === JSON.stringify(states)
  // with other flags or from another shell, but the same venv: the stamp of the run that changed it stays
  if (same && old.config === stamp.config && old.root === stamp.root) return
  const path = stampPath(venv.root)
  try {
    if (old === null) writeFileSync(fsPath(path), JSON.stringify(stamp))
    else replaceContent(path, JSON.stringify(stamp))
  } catch (error) {
    // it saves time and no more: the next run does the whole work
    if (errnoOf(error) === undefined) throw error
  }
}

/** File times come from a clock that ticks every 4 ms (CONFIG_HZ=250), 10 ms on some kernels. */
const CLOCK_MS = 10

/** The folders in which this run itself replaced files; .dist-info folders change with their RECORD. */
function foldersWritten({ outcomes, loader, venv }: VenvReport): Set<string> {
  const patched = outcomes.filter(({ status }) => status === 'patched')
  const folders = patched.map(({ planned: { object } }) => object.path.slice(0, object.path.lastIndexOf('/')))
  return new Set(loader?.status === 'patched' ? [...folders, venv.bin, ...venv.sitePackages] : folders)
}

function statesOf({ venv, directories, outcomes, dependencies }: VenvReport): Record<string, string> {
  const inside = [...directories, ...outcomes.map(({ planned }) => planned.object.path)]
  const paths = [...inside.map(path => path.slice(venv.root.length + 1)), 'pyvenv.cfg', ...dependencies]
  return Object.fromEntries(paths.map(path => [path, stateOf(venv.root, path)]))
}

/** What changes with a file or folder: inode, size, and both times. Outside the venv a link counts as what it leads to. */
function stateOf(root: string, path: string): string {
  const status = path.startsWith('/') ? statusOf(path) : statusOf(`${root}/${path}`)
  if (status === null) return 'absent'
  return `${status.ino} ${status.isDirectory() ? '' : status.size} ${status.mtimeMs} ${status.ctimeMs}`
}

function statusOf(path: string) {
  return (path.startsWith('/') ? statSync : lstatSync)(fsPath(path), { throwIfNoEntry: false }) ?? null
}

function readStamp(venvRoot: string): Stamp | null {
  try {
    const stamp: unknown = JSON.parse(readFileSync(fsPath(stampPath(venvRoot)), 'utf8'))
    return isStamp(stamp) ? stamp : null
  } catch (error) {
    if (errnoOf(error) === undefined && !(error instanceof SyntaxError)) throw error
    return null
  }
}

function isStamp(value: unknown): value is Stamp {
  if (typeof value !== 'object' || value === null) return false
  const { version, root, settings, states, answer } = value as Partial<Record<string, unknown>>
  return (
    typeof version === 'string' &&
    typeof root === 'string' &&
    typeof settings === 'object' &&
    settings !== null &&
    typeof states === 'object' &&
    states !== null &&
    typeof answer === 'object' &&
    answer !== null &&
    Array.isArray((answer as Partial<Answer>).lines)
  )
}
