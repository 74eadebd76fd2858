// `wheelfix wheel` from file names to reports: finds the wheels, the Python and the libraries, then processes several
// wheels at a time, each on its own. A bad wheel never stops the others.
import { statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, join } from 'node:path'
import { WheelfixError } from '../io/error.ts'
import { fsPath, realPath } from '../io/path.ts'
import { count } from '../io/words.ts'
import { missingLibraries } from '../resolve/problems/missing.ts'
import { trustWarnings } from '../resolve/trust-warnings.ts'
import type { WheelEntry } from '../zip/read.ts'
import { assertOutputs, claim, type Claims, findWheels, leadsToFile, outputFolder, scratchFolder } from './files.ts'
import {
  type NewContent,
  openWheel,
  entryNames,
  planWheel,
  resolvedOf,
  type Wheel,
  type WheelOutcome,
} from './fix-wheel.ts'
import { comparePolicies } from './policy.ts'
import { type Preparation, prepareWheels } from './preparation.ts'
import type { MissingOfWheel, WheelFailure, WheelOptions, WheelReport, WheelRun } from './wheel-report.ts'
import { restoreWheel, writeRestored, type WrittenRestoration } from './restore-wheel.ts'
import { copyWheel, outputPath, type Tag, writeWheel } from './write-wheel.ts'

/**
 * Processes the wheels, several at a time.
 * @param summarise turns a report into the data to keep. A report itself holds the simulated processes of its wheel
 * @throws WheelfixError when no work is possible: no wheel, no Python, or no library directory with the given name
 */
export async function runWheels<T>(
  options: WheelOptions,
  summarise: (report: WheelReport | WheelFailure) => T,
): Promise<WheelRun<T>> {
  const { cwd } = options
  const files = findWheels(options.files, cwd)
  assertOutputs(files, options)
  const prepared = prepareWheels(options)
  const { python } = prepared.context
  const siblingFiles = findWheels(options.with, cwd)

  const sizes = (wheels: Iterable<string>): number =>
    [...wheels].reduce((sum, file) => sum + (statSync(fsPath(file), { throwIfNoEntry: false })?.size ?? 0), 0)
  // every wheel is read, and the named ones are also written
  const total = sizes(files) + sizes(new Set([...files, ...siblingFiles]))
  let done = 0
  const progress = (count: number): void => {
    done += count
    options.progress(done, total)
    assertRunning(options)
  }
  const siblings = new Map<string, Wheel>()
  try {
    for (const file of siblingFiles) {
      try {
        const wheel = await openWheel(file, prepared, scratchFolder(options, file), progress)
        siblings.set(realPath(file), wheel)
      } catch (error) {
        if (!(error instanceof WheelfixError)) throw error
        // the libraries of this wheel are then reported as missing
        prepared.warnings.push(`--with ${error.message}`)
      }
    }
    const results: T[] = []
    let written = 0
    const queue = files.entries()
    const claims: Claims = {
      inputs: new Map(files.filter(leadsToFile).map(file => [realPath(file), file])),
      outputs: new Map(),
    }
    const work = async (): Promise<void> => {
      for (const [index, file] of queue) {
        if (options.interrupted() !== null) return
        const report = await runWheel(file, siblings, prepared, claims, options, progress)
        if ('error' in report && report.error.code === 'INTERRUPTED') return
        written++
        results[index] = summarise(report)
      }
    }
    await Promise.all(Array.from({ length: Math.min(files.length, availableParallelism()) }, work))
    assertAllDone(written, files.length, options)
    const warnings = [...prepared.warnings, ...trustWarnings(prepared.context.sources.trust)]
    return { python, results, warnings }
  } finally {
    for (const wheel of siblings.values()) wheel.close()
  }
}

/**
 * @throws WheelfixError `INTERRUPTED` after a signal; the code that writes a file then removes the unfinished file
 */
function assertRunning({ interrupted }: WheelOptions): void {
  const signal = interrupted()
  if (signal !== null) throw new WheelfixError('INTERRUPTED', `interrupted by ${signal}`)
}

/** @throws WheelfixError `INTERRUPTED`, whose sentence says what is left to do */
function assertAllDone(done: number, all: number, { interrupted }: WheelOptions): void {
  const signal = interrupted()
  if (signal === null || done === all) return
  const left = `${done} of ${count(all, 'wheel')} done; the others were not written: run the same command again`
  throw new WheelfixError('INTERRUPTED', `interrupted by ${signal}: ${left}`)
}

async function runWheel(
  path: string,
  siblings: ReadonlyMap<string, Wheel>,
  prepared: Preparation,
  claims: Claims,
  options: WheelOptions,
  progress: (bytes: number) => void,
): Promise<WheelReport | WheelFailure> {
  const same = leadsToFile(path) ? siblings.get(realPath(path)) : undefined
  let own: Wheel | undefined
  try {
    // a wheel in a folder that --with also names has been read already
    if (same?.archive.path !== path) own = await openWheel(path, prepared, scratchFolder(options, path), progress)
    const wheel = own ?? same
    if (wheel === undefined) throw new Error(`${path} was not opened`)
    return options.mode === 'restore'
      ? await restore(wheel, claims, options, progress)
      : await patch(
          wheel,
          [...siblings.values()].filter(other => other !== same),
          prepared,
          claims,
          options,
          progress,
        )
  } catch (error) {
    if (error instanceof WheelfixError) return { path, error }
    throw error
  } finally {
    own?.close()
  }
}

async function patch(
  wheel: Wheel,
  siblings: readonly Wheel[],
  prepared: Preparation,
  claims: Claims,
  options: WheelOptions,
  progress: (bytes: number) => void,
): Promise<WheelReport> {
  const { context, ignored, wanted } = prepared
  for (const { object } of wheel.objects) for (const soname of object.original.needed) wanted.add(soname)
  const { plan, outcomes, expected } = planWheel(wheel, requiredOf(wheel, siblings), context)
  const contents = new Map<WheelEntry, NewContent>()
  for (const { entry, content } of outcomes) if (content !== null) contents.set(entry, content)
  const own = { ...plan, objects: outcomes.map(({ planned }) => planned) }
  const missing = missingLibraries(own, ignored, context.python.libc, null).map((library): MissingOfWheel => ({
    ...library,
    expected: expected.has(library.soname),
  }))
  const changed = contents.size > 0
  const { write } = options
  const written = await output(wheel, contents, changed ? options.tag : null, claims, options, progress)
  const refused = [
    ...outcomes
      .filter(({ status }) => status === 'refused')
      .map(({ entry, reason }) => ({ path: entry.name, reason: reason ?? '' })),
    ...unreadableOf(wheel),
  ]
  return {
    path: wheel.archive.path,
    output: written,
    status: changed ? (write ? 'patched' : 'patch') : 'fine',
    written: write && written !== null,
    outcomes: write
      ? outcomes.map(outcome => (outcome.status === 'patch' ? { ...outcome, status: 'patched' } : outcome))
      : outcomes,
    refused,
    plan,
    missing,
    policy: options.check
      ? comparePolicies(wheel.distribution.tags, resolvedOf(wheel, own.objects), wheel.installation.root)
      : null,
    restored: 0,
    original: null,
    notes: [...(changed ? [...signatureNotes(wheel), ...hashNotes(outcomes)] : []), ...brokenNotes(wheel)],
    distribution: wheel.distribution,
    show: entryNames(wheel),
  }
}

/** The files that could not be read although a loader may load them. */
function unreadableOf({ unreadable }: Wheel): { path: string; reason: string }[] {
  return unreadable.filter(({ broken }) => !broken).map(({ relative, reason }) => ({ path: relative, reason }))
}

function brokenNotes({ unreadable }: Wheel): string[] {
  return unreadable
    .filter(({ broken }) => broken)
    .map(({ relative, reason }) => `${relative} stays as it is, because no loader would load it: ${reason}`)
}

/** The wheels that this wheel requires, directly or not. Only these are sure to be loaded before it. */
function requiredOf(wheel: Wheel, wheels: readonly Wheel[]): Wheel[] {
  const found = new Set<Wheel>()
  const queue = [wheel]
  for (const { distribution } of queue) {
    for (const other of wheels) {
      if (found.has(other) || !distribution.requires.has(other.distribution.name)) continue
      found.add(other)
      queue.push(other)
    }
  }
  found.delete(wheel)
  return wheels.filter(other => found.has(other))
}

async function restore(
  wheel: Wheel,
  claims: Claims,
  options: WheelOptions,
  progress: (bytes: number) => void,
): Promise<WheelReport> {
  const restoration = restoreWheel(wheel)
  const { contents, refused, name } = restoration
  const changed = contents.size > 0
  const { path } = wheel.archive
  if (changed && options.output === null && name !== null && name !== basename(path))
    throw new WheelfixError('USAGE', `${path}: its name was ${name}: use -o DIR, not --in-place`, path)
  const folder = outputFolder(path, options)
  const to = changed && name !== null && options.output !== null ? join(folder, name) : outputOf(wheel, null, options)
  let made: WrittenRestoration | null = null
  let written: string | null = to
  if (!changed) written = await output(wheel, contents, null, claims, options, progress)
  else {
    claim(to, path, claims)
    if (options.write) made = await writeRestored(wheel, restoration, to, progress)
  }
  return {
    path: wheel.archive.path,
    output: written,
    status: changed ? (options.write ? 'restored' : 'restore') : 'fine',
    written: options.write && written !== null,
    outcomes: [],
    refused: [...refused, ...unreadableOf(wheel)],
    plan: null,
    missing: [],
    policy: null,
    restored: contents.size,
    original: made?.original ?? null,
    notes: originalNotes(made, restoration.lost),
    distribution: wheel.distribution,
    show: entryNames(wheel),
  }
}

/**
 * Writes the result, or returns where it would be written; null for a wheel that does not change and stays in place.
 */
async function output(
  wheel: Wheel,
  contents: ReadonlyMap<WheelEntry, NewContent>,
  tag: Tag | null,
  claims: Claims,
  options: WheelOptions,
  progress: (bytes: number) => void,
): Promise<string | null> {
  const { path } = wheel.archive
  if (contents.size === 0 && options.output === null) return null
  const to = outputOf(wheel, tag, options)
  claim(to, path, claims)
  if (!options.write) return to
  if (contents.size === 0) await copyWheel(path, to)
  else await writeWheel(wheel, contents, tag, to, progress)
  return to
}

function outputOf(wheel: Wheel, tag: Tag | null, options: WheelOptions): string {
  const { path } = wheel.archive
  return options.output === null ? realPath(path) : outputPath(wheel, outputFolder(path, options), tag)
}

function whyNot(byZlib: boolean | null | undefined): string {
  const changed = 'the archive was changed after it was patched'
  const other = 'a compressor other than zlib made it'
  return byZlib === true ? changed : byZlib === false ? other : `${other}, or ${changed}`
}

/** Notes on how far the bytes of a restored wheel equal the original. */
function originalNotes(made: WrittenRestoration | null, lost: boolean): string[] {
  const signature = lost ? ['its signature is not restored: it was too large to keep'] : []
  switch (made?.original ?? null) {
    case 'contents':
      return [
        `the contents and RECORD are those of the original, but the bytes of the archive are not: ${whyNot(made?.byZlib)}`,
        ...signature,
      ]
    case 'changed':
      return ['this is not the original: the wheel was changed after it was patched', ...signature]
    case 'unknown':
      return ['the wheel does not say what the original was: only its objects and their rows in RECORD are restored']
    case 'archive':
    case null:
      return []
  }
}

function signatureNotes({ distribution }: Wheel): string[] {
  return distribution.signatures.map(
    ({ name }) => `${name} is left out: the signature does not hold for the patched wheel`,
  )
}

function hashNotes(outcomes: readonly WheelOutcome[]): string[] {
  return outcomes.flatMap(({ entry, unchecked }) =>
    unchecked === null
      ? []
      : [`${entry.name} was not checked: the algorithm of its hash in RECORD is unknown (${unchecked})`],
  )
}
