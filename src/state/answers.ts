// A finished run leaves its answer for the next run, so that a shell hook on every entry costs next to nothing. The answer
// comes with the state of every folder and object of the venv, and of everything outside that the answer depends on. The
// next run compares only status fields. If one differs, or anything is in doubt, it does the whole work again. (It cannot
// see that an existing file becomes an object in place, but installers write new files.)
import type { Stats } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { GRAFT_FORMAT } from '../elf/graft/placement.ts'
import { isInside, linkStatusOf, namesIn, relativeTo, statusOf } from '../io/path.ts'
import { isTemporary } from '../io/write/replace.ts'
import { findConfig } from '../config/find-config.ts'
import type { Place } from '../python/environment.ts'
import { writeAnswers } from './answer-files.ts'
import { isJournalQuiet } from './journal-file.ts'
import { dropStaleLock } from './lock.ts'
import { inodeAt, isAsKept, isFolderAt, keepStates, type KeptStates, readStates, type States } from './file-states.ts'
import {
  type Answer,
  type KnownAnswer,
  readKeptAnswers,
  type ScannedStore,
  type Settings,
  type KeptAnswers,
} from './kept-answers.ts'

/** The question: the command line and the environment. */
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

/** The subject of an answer. Paths are absolute, except those of the objects. */
export interface AnswerSubject extends Place {
  /** The folders that were walked. */
  readonly directories: readonly string[]
  /** When the run began its examination, in milliseconds. */
  readonly began: number
  /** Those of the folders in which the run itself replaced files, with the result of `namesBefore`. */
  readonly written: ReadonlyMap<string, readonly string[]>
  readonly objects: readonly KnownObject[]
  /** The other paths that the answer depends on. Some may not exist. */
  readonly dependencies: readonly string[]
  readonly scanned: ScannedStore | null
  /** Files that the run may have made, among the dependencies and in the folders that it wrote to. */
  readonly made: ReadonlySet<string>
}

/** An object that the run examined. */
interface KnownObject {
  /** Path relative to the root. */
  readonly path: string
  /** The size that the run gave the object; null when the run did not write it. */
  readonly size: number | null
}

/** The most answers that are kept: a project has a shell or two, and a hook. */
const MOST_ANSWERS = 4

/** NIX_LD stands for nix-ld's variables, which may end in the name of a system, and for NIX_LDFLAGS. */
const ANSWER_VARIABLES =
  /^(?:LD_LIBRARY_PATH|NIX_(?:DAEMON_SOCKET_PATH|LD.*|REMOTE|STATE_DIR|STORE_DIR)|WHEELFIX_.*|XDG_CACHE_HOME)$/

const LISTS = ['NIX_LD_LIBRARY_PATH', 'WHEELFIX_DEFAULT_LIBS', 'WHEELFIX_LIBS']

function settingsOf({ env, cwd, ...options }: Question, strict: boolean): Settings {
  const names = Object.keys(env).filter(name => ANSWER_VARIABLES.test(name))
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

/** The answer of the last run, and what the caller has to find out. */
export interface Recalled {
  readonly answer: Answer
  /** If the store's folder has changed: the answer holds only if a scan gives the same as then. Else null. */
  readonly unsure: ScannedStore | null
  /** Keeps the answer for the store as it was before this call, after a scan that gave the same. */
  readonly renew: () => void
}

/** The answer of the last run when nothing has changed since; else null. */
export function recall(place: Place, options: Question, strict: boolean, version: string): Recalled | null {
  const known = recallFor(place, options, version, settings => isFor(settingsOf(options, strict), settings))
  if (known === null) return null
  dropStaleLock(place)
  const { keptAnswers, found } = known
  const { answer, scanned } = found
  if (scanned === null) return { answer, unsure: null, renew: () => {} }
  const state = storeState(scanned.store, Date.now())
  const renew = () => {
    const answers = keptAnswers.answers.map(other =>
      other === found ? { ...found, scanned: { ...scanned, state } } : other,
    )
    if (state !== null) writeAnswers(place, JSON.stringify({ ...keptAnswers, answers }), options.env)
  }
  return { answer, unsure: state !== null && isSame(state, scanned.state) ? null : scanned, renew }
}

/** The state of the store's folder; null when it is gone, or changed after `began`. */
function storeState(store: string, began: number): KeptStates | null {
  const status = statusOf(store)
  return status === null || isRecent(status, began) ? null : keepStates(new Map([[store, status]]))
}

/** An answer that still holds, with the files that it is about: the objects, and files that cannot be read. */
interface SettledAnswer {
  readonly answer: Answer
  /** Absolute, in the order of the scan, each file once. */
  readonly files: readonly string[]
}

/** As `recall`, for a question to which it makes no difference which missing libraries count. */
export function recallSettled(place: Place, options: Question, version: string): SettledAnswer | null {
  const known = recallFor(place, options, version, settings => {
    const { ignoreMissing, strict } = settings
    return isFor({ ...settingsOf(options, strict), ignoreMissing }, settings)
  })
  if (known === null) return null
  const { scanned } = known.found
  if (scanned !== null && !isSame(storeState(scanned.store, Date.now()), scanned.state)) return null
  const { states } = known
  const indexes = [...states.paths.keys()].filter(index => !isFolderAt(states, index) && states.paths[index] !== CONFIG)
  // two names of one file: which of them a process shows depends on more than their states
  if (new Set(indexes.map(index => inodeAt(states, index))).size < indexes.length) return null
  const files = indexes.flatMap(index => states.paths[index] ?? [])
  return {
    answer: known.found.answer,
    files: files.map(path => (path.startsWith('/') ? path : `${place.root}/${path}`)),
  }
}

function recallFor(
  place: Place,
  options: Question,
  version: string,
  isAnswered: (settings: Settings) => boolean,
): { readonly keptAnswers: KeptAnswers; readonly states: States; readonly found: KnownAnswer } | null {
  if (options.update || options.rehash) return null
  const { root } = place
  const keptAnswers = readKeptAnswers(place, options.env)
  if (
    keptAnswers === null ||
    keptAnswers.version !== version ||
    keptAnswers.graft !== GRAFT_FORMAT ||
    keptAnswers.root !== root
  )
    return null
  const known = keptAnswers.answers.find(({ settings }) => isAnswered(settings))
  if (known === undefined || findConfig(root) !== keptAnswers.config) return null
  if (!isJournalQuiet(place)) return null
  const states = statesThatHold(keptAnswers.states, root)
  return states !== null && statesThatHold(known.states, root) !== null ? { keptAnswers, states, found: known } : null
}

/** Does an answer for `settings` hold for `now`? The choice of a flag is pinned, so it also holds without the flag. */
function isFor(now: Settings, settings: Settings): boolean {
  const libs = now.libs.length === 0 ? settings.libs : now.libs
  const trust = now.trust.length === 0 ? settings.trust : now.trust
  const strategy = now.strategy ?? settings.strategy
  const interpreter = now.interpreter ?? settings.interpreter
  return isSame({ ...now, libs, trust, strategy, interpreter }, settings)
}

/** The states; null when one of the paths has another state now. */
function statesThatHold(kept: KeptStates, root: string): States | null {
  const states = readStates(kept)
  if (states === null) return null
  const { paths } = states
  const areSame = () => paths.every((path, index) => isAsKept(states, index, statusIn(root, path)))
  return (paths.length < MANY ? areSame() : unoptimised(areSame)) ? states : null
}

/** From this number of paths on, the optimiser costs more than the module that turns it off. */
const MANY = 2000

/**
 * Does work while V8 does not optimise. Optimised code of `lstatSync` does not pay within some thousand calls: for 7,400
 * paths, it costs 6 ms of processor time and 4 MB. The flag is set back, because V8 does not use code that was cached with
 * other flags.
 */
function unoptimised<Result>(work: () => Result): Result {
  const { setFlagsFromString } = process.getBuiltinModule('node:v8')
  setFlagsFromString('--no-opt')
  try {
    return work()
  } finally {
    setFlagsFromString('--opt')
  }
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

/**
 * Finds the objects that are as the last run left them: inode, size and times are the same, so nobody has written to them.
 * @returns a function from an object's path, relative to the root, to its ctime in milliseconds; null when the object may
 * have changed, or no run kept its state
 */
export function keptObjects(place: Place, env: NodeJS.ProcessEnv): (path: string) => number | null {
  const kept = readKeptAnswers(place, env)?.states
  const states = kept === undefined ? null : readStates(kept)
  if (states === null) return () => null
  const indices = new Map(states.paths.map((path, index) => [path, index]))
  return path => {
    const index = indices.get(path)
    const status = index === undefined ? null : statusIn(place.root, path)
    return index !== undefined && status !== null && isAsKept(states, index, status) ? status.ctimeMs : null
  }
}

/**
 * Keeps the answer of a run that left nothing to do. Nothing is kept when anything except the run itself changed a file
 * during the run.
 */
export function remember(
  subject: AnswerSubject,
  options: Question,
  strict: boolean,
  version: string,
  answer: Answer,
): void {
  const { root } = subject
  const old = readKeptAnswers(subject, options.env)
  const states = statesOf(subject)
  const around = states === null ? null : statesAround(subject)
  if (states === null || around === null) return
  const scanned =
    subject.scanned === null ? null : { ...subject.scanned, state: storeState(subject.scanned.store, subject.began) }
  const known = { settings: settingsOf(options, strict), states: around, scanned, answer }
  const config = findConfig(root)
  const same =
    old?.version === version &&
    old.graft === GRAFT_FORMAT &&
    old.root === root &&
    old.config === config &&
    isSame(old.states, states)
  const others = same ? old.answers : []
  // a second run writes nothing, also with --json or --verbose
  const isKept = (other: KnownAnswer) =>
    isFor(known.settings, other.settings) && isSame([other.states, other.scanned], [known.states, known.scanned])
  if (others.some(isKept)) return
  const answers = [known, ...others.filter(({ settings }) => !isSame(settings, known.settings))]
  const keptAnswers: KeptAnswers = {
    version,
    graft: GRAFT_FORMAT,
    root,
    config,
    states,
    answers: answers.slice(0, MOST_ANSWERS),
  }
  writeAnswers(subject, JSON.stringify(keptAnswers), options.env)
}

/** The resolution of file times: their clock ticks every 4 ms (CONFIG_HZ=250), on some kernels every 10 ms. */
const CLOCK_MS = 10

function isRecent({ ctimeMs }: Stats, began: number): boolean {
  return ctimeMs > began - CLOCK_MS
}

/**
 * The names in the folders that a run will write to, as the run saw them when it `began`. A folder that has changed since is
 * left out, because the run may not have seen all of it.
 */
export function namesBefore(folders: Iterable<string>, began: number): Map<string, readonly string[]> {
  const names = new Map<string, readonly string[]>()
  for (const folder of folders) {
    const now = namesIn(folder)
    // the status is read after the names: a change in between makes it recent
    const status = statusOf(folder)
    if (status !== null && !isRecent(status, began)) names.set(folder, now)
  }
  return names
}

/** The folders and objects of the venv; null when one is gone, or when something other than this run changed one. */
function statesOf(subject: AnswerSubject): KeptStates | null {
  const { root, directories, objects, began } = subject
  const states = new Map<string, Stats | null>()
  for (const directory of directories) {
    const status = statusOf(directory)
    // the state is read before the names: the next run sees a change that comes after both
    if (status === null || (isRecent(status, began) && !isAsWritten(directory, subject))) return null
    states.set(relativeTo(root, directory), status)
  }
  for (const { path, size } of objects) {
    const status = path.startsWith('/') ? statusOf(path) : linkStatusOf(`${root}/${path}`)
    if (status === null) return null
    // a written object keeps the time of its content
    const isKnown = size === null ? !isRecent(status, began) : status.size === size && status.mtimeMs < began
    if (!isKnown) return null
    states.set(path, status)
  }
  return keepStates(states.set(CONFIG, statusIn(root, CONFIG)))
}

/** Did only this run put anything into the folder? */
function isAsWritten(folder: string, { written, made }: AnswerSubject): boolean {
  const before = written.get(folder)
  if (before === undefined) return false
  const known = new Set(before)
  return namesIn(folder).every(name => known.has(name) || made.has(`${folder}/${name}`) || isTemporary(name))
}

/** The dependencies; null when something other than this run changed one since the run began. */
function statesAround({ root, dependencies, made, began }: AnswerSubject): KeptStates | null {
  const states = new Map<string, Stats | null>()
  for (const path of dependencies) {
    const status = statusOf(path)
    if (status !== null && isRecent(status, began) && !made.has(path) && !isInside(path, root)) return null
    states.set(path, status)
  }
  return keepStates(states)
}

/** Outside the venv a link counts as its target. */
function statusIn(root: string, path: string): Stats | null {
  return path.startsWith('/') ? statusOf(path) : linkStatusOf(`${root}/${path}`)
}

/** Beside the folders and objects, the states have this file. */
const CONFIG = 'pyvenv.cfg'
