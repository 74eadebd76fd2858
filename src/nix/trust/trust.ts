// Decides whose package a store path is. Every user of the Nix daemon may add store paths with any name and any content. The
// code of a library runs in every program that loads it. So a library from the scan of the store is taken only if somebody
// whom the user trusts put it there. A trusted key has then signed it, or it belongs to the interpreter, to the system, or to
// a profile or link of root or the user. Signatures are checked first. Closures are computed only for the rest.
import { WheelfixError } from '../../io/error.ts'
import { realPathOrNull } from '../../io/path.ts'
import { type AnchorPlaces, anchorFolders, profilePaths, registeredPaths, usualPlaces } from './anchors.ts'
import { askDaemon, type DaemonAnswers, type DaemonQuestions, sharedSocket, socketPlace } from '../daemon/daemon.ts'
import { knowsItsState } from '../daemon/database.ts'
import { trustedKeys } from './nix-conf.ts'
import { isSigned, type PublicKeys } from './signature.ts'
import { storeDirectory, storePathOf } from '../store.ts'

interface TrustContext {
  readonly env: NodeJS.ProcessEnv
  /** Files of the interpreter, and folders that it names. Everything that they lead to is its closure. */
  readonly interpreter: readonly string[]
  /** Store paths that the user named, as returned by `namedStorePaths`. */
  readonly named: readonly string[]
  readonly places?: AnchorPlaces
}

/** The reason to trust a package; null when there is none. */
type TrustReason = 'named' | 'single-user' | 'signature' | 'closure' | null

/** The answers for one run. Each question is asked only once. */
export interface StoreTrust {
  /** The reason why a file of the store, or a store path, may be taken. */
  readonly reasonFor: (path: string) => TrustReason
  /** Announces paths that the caller may ask for, so that one question to the daemon covers all. */
  readonly expect: (paths: Iterable<string>) => void
  /** Why a file without a reason was not taken, and what to do, as a clause. */
  readonly refusalOf: (path: string) => string
  /** A sentence that says why nothing could be asked; null if everything could be asked. */
  readonly problem: () => string | null
  /** The store paths that were not taken, and the folders in which a new link would change that. */
  readonly passedOver: () => readonly string[]
  readonly folders: readonly string[]
  /** Where a daemon's socket would end the trust in everything; null where there is one already. */
  readonly absentSocket: string | null
}

/** The time limit for closures. A whole system takes about a second, and a busy machine may take longer. */
const CLOSURE_TIMEOUT_MS = 20_000

/**
 * The names that Nix gives to store paths (Nix's path.cc, checkName). The daemon ends the conversation at any other name.
 */
const VALID_NAME = /^[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+\-._?=]{1,211}$/

/** Makes the judge of store paths. It asks Nix nothing before its first call. */
export function storeTrust({ env, interpreter, named, places = usualPlaces(env) }: TrustContext): StoreTrust {
  const store = storeDirectory(env)
  // a user's own store without a state belongs to no daemon
  const socket = knowsItsState(env) ? sharedSocket(env) : null
  const own = storePathsOf(interpreter, store)
  const reasons = new Map<string, TrustReason>()
  const expected = new Set<string>()
  const unsigned = new Set<string>()
  /** Did the computation of the first remaining closure end early? */
  let wasCut = false
  let keys: PublicKeys | undefined
  let isSilent = false

  const ask = (questions: DaemonQuestions, timeout?: number): DaemonAnswers | null => {
    const answers = socket === null || isSilent ? null : askDaemon(socket, questions, timeout)
    if (answers === null || answers.refusal !== null) isSilent = true
    return answers
  }
  const settle = (paths: Iterable<string>, reason: TrustReason): void => {
    for (const path of paths) if (!reasons.has(path)) reasons.set(path, reason)
  }
  const wellNamed = (paths: readonly string[]) => paths.filter(path => VALID_NAME.test(path.slice(store.length + 1)))
  const readSignatures = (): void => {
    const described = ask({ describe: wellNamed([...expected]) })?.described.values() ?? []
    for (const path of expected) unsigned.add(path)
    expected.clear()
    keys ??= trustedKeys(env)
    for (const info of described) if (isSigned(info, keys)) settle([info.path], 'signature')
  }
  /**
   * The closures, from the smallest to the largest. Each is computed only if the closures before it gave no reason. A
   * computation stops early once it has met all paths that are asked for; it is done again if more are asked for later.
   */
  const closures = [() => own, () => profilePaths(env, places), () => registeredPaths(env)]
  const readClosure = (): void => {
    const roots = wellNamed(closures[0]?.() ?? [])
    const until = wasCut ? [] : wellNamed([...unsigned].filter(path => !reasons.has(path)))
    const answers = roots.length === 0 ? null : ask({ closureOf: roots, until }, CLOSURE_TIMEOUT_MS)
    settle(answers?.closure ?? [], 'closure')
    wasCut = answers?.isWholeClosure === false
    if (!wasCut) closures.shift()
  }
  const judge = (storePath: string): TrustReason => {
    if (!reasons.has(storePath)) {
      expected.add(storePath)
      readSignatures()
    }
    while (!reasons.has(storePath) && closures.length > 0) readClosure()
    // without the daemon the references are unknown, but the paths in the interpreter's own files still belong to it
    if (isSilent) settle(own, 'closure')
    settle([storePath], null)
    return reasons.get(storePath) ?? null
  }

  for (const path of named) reasons.set(path, 'named')
  return {
    reasonFor(path) {
      const storePath = storePathOf(path, store)
      if (storePath === null) return null
      return socket === null ? (reasons.get(storePath) ?? 'single-user') : judge(storePath)
    },
    expect: paths => {
      for (const path of storePathsOf(paths, store)) if (!reasons.has(path)) expected.add(path)
    },
    refusalOf: path => {
      const storePath = storePathOf(path, store) ?? path
      return (
        "nothing shows who put it into the store (no signature of a trusted key, no profile or link of yours or root's): " +
        `to use it anyway, give --trust ${storePath}`
      )
    },
    problem: () => (isSilent ? SILENCE : null),
    passedOver: () => [...reasons].filter(([, reason]) => reason === null).map(([path]) => path),
    folders: socket === null ? [] : anchorFolders(env),
    absentSocket: socket === null ? socketPlace(env) : null,
  }
}

const SILENCE =
  'the Nix daemon does not answer, so nothing shows who added the packages of the store. wheelfix uses only those of this ' +
  'Python: start the daemon, or name packages with --libs or --trust'

function storePathsOf(paths: Iterable<string>, store: string): string[] {
  return [...new Set([...paths].flatMap(path => storePathOf(path, store) ?? []))]
}

/**
 * The store paths that a user named: by the path itself, a file below it, or a link that leads there.
 * @throws WheelfixError `USAGE` for a path outside the store
 */
export function namedStorePaths(paths: readonly string[], env: NodeJS.ProcessEnv): string[] {
  const store = storeDirectory(env)
  return paths.map(path => {
    const storePath = storePathOf(path, store) ?? storePathOf(resolvedOr(path), store)
    if (storePath !== null) return storePath
    throw new WheelfixError(
      'USAGE',
      `--trust ${path}: this is not a package in the Nix store (${store}); name one, such as /nix/store/…-gcc-14.3.0-lib`,
      path,
    )
  })
}

function resolvedOr(path: string): string {
  return realPathOrNull(path) ?? path
}
