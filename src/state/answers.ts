// What a finished run leaves for the next one, so that a shell hook that runs on every entry costs next to nothing: the
// state of every folder and object of the venv and of everything outside that the answer depends on, and the answer. The
// next run compares status fields alone; where one differs, or anything is in doubt, it does the whole work again. (What
// this cannot see is a file that was no object and becomes one in place: installers write new files.)
import { lstatSync, type Stats, statSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { GRAFT_FORMAT } from '../elf/graft/placement.ts'
import { errnoOf } from '../io/error.ts'
import { fsPath, isInside, namesIn, relativeTo } from '../io/path.ts'
import { isTemporary, replaceExpendable } from '../io/replace.ts'
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
  /** When the run began to look, in milliseconds. */
  readonly began: number
  /** Those of them in which the run itself replaced files, with `namesBefore`. */
  readonly written: ReadonlyMap<string, readonly string[]>
  readonly objects: readonly KnownObject[]
  /** What else the answer depends on; some of it may not exist. */
  readonly dependencies: readonly string[]
  /** Files that the run may have made: of the dependencies, and in the folders it wrote to. */
  readonly made: ReadonlySet<string>
}

/** An object that the run looked at. */
interface KnownObject {
  /** Relative to the root. */
  readonly path: string
  /** The size that the run gave it; null where it did not write it. */
  readonly size: number | null
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
 * nor when anything changed while the run was going on but by the run itself.
 */
export function remember(subject: Subject, options: Question, strict: boolean, version: string, answer: Answer): void {
  const { root } = subject
  const old = readStamp(subject)
  if (statusOf(subject.stateFolder) === null) return
  const states = statesOf(subject)
  const around = states === null ? null : statesAround(subject)
  if (states === null || around === null) return
  const known = { settings: settingsOf(options, strict), states: around, answer }
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

function isRecent({ ctimeMs }: Stats, began: number): boolean {
  return ctimeMs > began - CLOCK_MS
}

/**
 * The names of folders that a run is about to write to, as it has seen them when it `began`; a folder that changed since
 * is left out: nobody knows whether the run has seen all of it.
 */
export function namesBefore(folders: Iterable<string>, began: number): Map<string, readonly string[]> {
  const names = new Map<string, readonly string[]>()
  for (const folder of folders) {
    const now = namesIn(folder)
    // looked at after its names: what comes in between makes it recent
    const status = statusOf(folder)
    if (status !== null && !isRecent(status, began)) names.set(folder, now)
  }
  return names
}

/** The folders and objects of the venv; null when one is gone, or changed since the run began and not by this run. */
function statesOf(subject: Subject): States | null {
  const { root, directories, objects, began } = subject
  const states: Record<string, string> = {}
  for (const directory of directories) {
    const status = statusOf(directory)
    // its state comes before the look at its names: what comes after both is seen by the next run
    if (status === null || (isRecent(status, began) && !isAsWritten(directory, subject))) return null
    states[relativeTo(root, directory)] = sayState(status)
  }
  for (const { path, size } of objects) {
    const status = path.startsWith('/') ? statusOf(path) : statusOf(`${root}/${path}`, lstatSync)
    if (status === null) return null
    // what is written keeps the time of its content
    const isKnown = size === null ? !isRecent(status, began) : status.size === size && status.mtimeMs < began
    if (!isKnown) return null
    states[path] = sayState(status)
  }
  return Object.assign(states, { 'pyvenv.cfg': stateOf(root, 'pyvenv.cfg') })
}

/** Did nobody but the run put anything into this folder? */
function isAsWritten(folder: string, { written, made }: Subject): boolean {
  const before = written.get(folder)
  if (before === undefined) return false
  const known = new Set(before)
  return namesIn(folder).every(name => known.has(name) || made.has(`${folder}/${name}`) || isTemporary(name))
}

/** The dependencies; null when one changed since the run began and not by this run. */
function statesAround({ root, dependencies, made, began }: Subject): States | null {
  const states: Record<string, string> = {}
  for (const path of dependencies) {
    const status = statusOf(path)
    if (status !== null && isRecent(status, began) && !made.has(path) && !isInside(path, root)) return null
    states[path] = sayState(status)
  }
  return states
}

/** What changes with a file or folder: inode, size, and both times. Outside the venv a link counts as what it leads to. */
function stateOf(root: string, path: string): string {
  return sayState(path.startsWith('/') ? statusOf(path) : statusOf(`${root}/${path}`, lstatSync))
}

function sayState(status: Stats | null): string {
  if (status === null) return 'absent'
  return `${status.ino} ${status.isDirectory() ? '' : status.size} ${status.mtimeMs} ${status.ctimeMs}`
}

function statusOf(path: string, ask: typeof lstatSync = statSync): Stats | null {
  try {
    return ask(fsPath(path), { throwIfNoEntry: false }) ?? null
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
