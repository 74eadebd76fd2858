// What a finished run leaves for the next one, so that a shell hook that runs on every entry costs next to nothing: the
// state of every folder and object of the venv and of everything outside that the answer depends on, and the answer. The
// next run compares status fields alone; where one differs, or anything is in doubt, it does the whole work again. (What
// this cannot see is a file that was no object and becomes one in place: installers write new files.)
import { lstatSync, type Stats, statSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { GRAFT_FORMAT } from '../elf/graft/placement.ts'
import { errnoOf } from '../io/error.ts'
import { fsPath, relativeTo } from '../io/path.ts'
import { replaceExpendable } from '../io/replace.ts'
import { findConfig } from '../config/find-config.ts'
import type { Place } from '../python/environment.ts'
import { readState } from '../python/state-folder.ts'
import { isJournalQuiet } from './journal-file.ts'

/** The answer of a run in which nothing is left to do. */
interface Answer {
  readonly status: number
  readonly warnings: readonly string[]
  /** What the report says, as plain data: the next run may have another width and other colours. */
  readonly facts: unknown
}

/** What is asked, on the command line and by the environment. */
interface Question {
  readonly libs: readonly string[]
  readonly noScan: boolean
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  readonly ignore: readonly string[]
  readonly strategy: string | null
  readonly interpreter: string | null
  readonly update: boolean
  readonly rehash: boolean
  readonly editable: boolean
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
}

/** What an answer is about. Paths are absolute but for those of the objects. */
export interface Subject extends Place {
  /** The folders that were walked. */
  readonly directories: readonly string[]
  /** Those of them in which the run itself replaced files. */
  readonly written: ReadonlySet<string>
  /** The objects, relative to the root. */
  readonly objects: readonly string[]
  /** What else the answer depends on; some of it may not exist. */
  readonly dependencies: readonly string[]
}

interface Stamp {
  readonly version: string
  /** How wheelfix lays grafts out (GRAFT_FORMAT): what an earlier layout damaged is seen only by the whole work. */
  readonly graft: number
  readonly root: string
  readonly config: string | null
  /** Folders and objects of the venv by their path below its root, each with its state. */
  readonly states: States
  /** The latest first. */
  readonly answers: readonly KnownAnswer[]
}

/** Each path with its state. */
type States = Readonly<Record<string, string>>

/** The answer for one way to ask: a shell hook asks from another environment than a terminal does. */
interface KnownAnswer {
  readonly settings: Settings
  /** What else the answer depends on, by absolute path. */
  readonly states: States
  readonly answer: Answer
}

/** A project has a shell or two, and a hook. */
const MOST_ANSWERS = 4

/** What of the command line and the environment the answer depends on. */
interface Settings {
  readonly libs: readonly string[]
  readonly noScan: boolean
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  readonly ignore: readonly string[]
  readonly strict: boolean
  readonly editable: boolean
  readonly strategy: string | null
  readonly interpreter: string | null
  readonly env: Readonly<Record<string, string>>
  /** What relative directories of the environment are relative to; null where there are none. */
  readonly cwd: string | null
}

/** NIX_LD stands for nix-ld's variables, which may end in the name of a system, and for NIX_LDFLAGS. */
const VARIABLES = /^(?:LD_LIBRARY_PATH|NIX_LD.*|NIX_STATE_DIR|NIX_STORE_DIR|WHEELFIX_.*|XDG_CACHE_HOME)$/

const LISTS = ['NIX_LD_LIBRARY_PATH', 'WHEELFIX_DEFAULT_LIBS', 'WHEELFIX_LIBS']

function settingsOf({ env, cwd, ...options }: Question, strict: boolean): Settings {
  const names = Object.keys(env).filter(name => VARIABLES.test(name))
  const isRelative = LISTS.some(name => entriesOf(env[name] ?? '').some(entry => !isAbsolute(entry)))
  return {
    libs: options.libs.flatMap(list => entriesOf(list)).map(entry => resolve(cwd, entry)),
    noScan: options.noScan,
    trust: options.trust.map(path => resolve(cwd, path)),
    ignoreMissing: options.ignoreMissing,
    ignore: options.ignore,
    strict,
    editable: options.editable,
    strategy: options.strategy,
    interpreter: options.interpreter,
    env: Object.fromEntries(names.sort().map(name => [name, env[name] ?? ''])),
    cwd: isRelative ? cwd : null,
  }
}

function entriesOf(list: string): string[] {
  return list.split(':').filter(entry => entry !== '')
}

const NAME = 'state.json'

function stampPath({ stateFolder }: Place): string {
  return `${stateFolder}/${NAME}`
}

/** The answer of the last run, if nothing at all has changed since; else null. */
export function recall(place: Place, options: Question, strict: boolean, version: string): Answer | null {
  if (options.update || options.rehash) return null
  const { root } = place
  const stamp = readStamp(place)
  if (stamp === null || stamp.version !== version || stamp.graft !== GRAFT_FORMAT || stamp.root !== root) return null
  const now = settingsOf(options, strict)
  const known = stamp.answers.find(({ settings }) => isFor(now, settings))
  if (known === undefined || findConfig(root) !== stamp.config) return null
  if (!isJournalQuiet(place)) return null
  return holds(stamp.states, root) && holds(known.states, root) ? known.answer : null
}

/** Does an answer given for `settings` hold for `now`? What was given with a flag is pinned: it holds without the flag. */
function isFor(now: Settings, settings: Settings): boolean {
  const libs = now.libs.length === 0 ? settings.libs : now.libs
  const trust = now.trust.length === 0 ? settings.trust : now.trust
  const strategy = now.strategy ?? settings.strategy
  const interpreter = now.interpreter ?? settings.interpreter
  return isSame({ ...now, libs, trust, strategy, interpreter }, settings)
}

function holds(states: States, root: string): boolean {
  for (const path in states) if (stateOf(root, path) !== states[path]) return false
  return true
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

/**
 * Keeps the answer of a run after which nothing is left to do. Nothing is kept in a venv that wheelfix has no part in,
 * nor when a folder changed while the run was going on.
 * @param began when the run began, in milliseconds
 */
export function remember(
  subject: Subject,
  options: Question,
  strict: boolean,
  version: string,
  answer: Answer,
  began: number,
): void {
  const { root } = subject
  const old = readStamp(subject)
  if (statusOf(subject.stateFolder) === null) return
  const states = statesOf(subject, began)
  if (states === null) return
  const known = { settings: settingsOf(options, strict), states: stateMap(root, subject.dependencies), answer }
  const config = findConfig(root)
  const same =
    old?.version === version &&
    old.graft === GRAFT_FORMAT &&
    old.root === root &&
    old.config === config &&
    isSame(old.states, states)
  const others = same ? old.answers : []
  // a second run writes nothing, with --json or --verbose neither
  if (others.some(other => isFor(known.settings, other.settings) && isSame(other.states, known.states))) return
  const answers = [known, ...others.filter(({ settings }) => !isSame(settings, known.settings))]
  const stamp: Stamp = {
    version,
    graft: GRAFT_FORMAT,
    root,
    config,
    states,
    answers: answers.slice(0, MOST_ANSWERS),
  }
  const path = stampPath(subject)
  try {
    replaceExpendable(path, JSON.stringify(stamp))
  } catch (error) {
    // it saves time and no more: the next run does the whole work
    if (errnoOf(error) === undefined) throw error
  }
}

/** File times come from a clock that ticks every 4 ms (CONFIG_HZ=250), 10 ms on some kernels. */
const CLOCK_MS = 10

/** null when a folder is gone, or changed since the run `began` and not by this run. */
function statesOf({ root, directories, written, objects }: Subject, began: number): States | null {
  const states: Record<string, string> = {}
  for (const directory of directories) {
    const status = statusOf(directory)
    if (status === null) return null
    if (status.ctimeMs > began - CLOCK_MS && !written.has(directory) && !directory.endsWith('.dist-info')) return null
    states[relativeTo(root, directory)] = sayState(status)
  }
  return Object.assign(states, stateMap(root, [...objects, 'pyvenv.cfg']))
}

function stateMap(root: string, paths: readonly string[]): States {
  return Object.fromEntries(paths.map(path => [path, stateOf(root, path)]))
}

/** What changes with a file or folder: inode, size, and both times. Outside the venv a link counts as what it leads to. */
function stateOf(root: string, path: string): string {
  return sayState(path.startsWith('/') ? statusOf(path) : statusOf(`${root}/${path}`))
}

function sayState(status: Stats | null): string {
  if (status === null) return 'absent'
  return `${status.ino} ${status.isDirectory() ? '' : status.size} ${status.mtimeMs} ${status.ctimeMs}`
}

function statusOf(path: string): Stats | null {
  try {
    return (path.startsWith('/') ? statSync : lstatSync)(fsPath(path), { throwIfNoEntry: false }) ?? null
  } catch (error) {
    // what cannot be looked at is not there
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

function readStamp(place: Place): Stamp | null {
  try {
    const stamp: unknown = JSON.parse(readState(place, NAME) ?? '')
    return isStamp(stamp) ? stamp : null
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return null
  }
}

function isStamp(value: unknown): value is Stamp {
  if (!isRecord(value)) return false
  const { version, root, states, answers } = value
  return (
    typeof version === 'string' &&
    typeof root === 'string' &&
    isRecord(states) &&
    Array.isArray(answers) &&
    answers.every(isKnownAnswer)
  )
}

function isKnownAnswer(value: unknown): value is KnownAnswer {
  if (!isRecord(value)) return false
  const { settings, states, answer } = value
  if (!isRecord(settings) || !Array.isArray(settings['libs']) || !isRecord(states) || !isRecord(answer)) return false
  return Array.isArray(answer['warnings']) && typeof answer['status'] === 'number'
}

function isRecord(value: unknown): value is Partial<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}
