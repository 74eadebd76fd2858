// `wheelfix all`: the environments of Python tools, one line each. They are found in the tools' own folders.
import type { VenvOptions } from '../environment/run-options.ts'
import { WheelfixError } from '../io/error.ts'
import { count } from '../io/words.ts'
import type { Environment } from '../python/environment.ts'
import { findVenv } from '../python/pyvenv.ts'
import { type AllRow, allLines } from '../report/all-text.ts'
import { colours } from '../report/colour.ts'
import { writeLines } from '../report/print.ts'
import { standardOutput } from '../report/terminal/output.ts'
import type { RunFacts } from '../report/run/run-facts.ts'
import { findFolder } from '../state/folders.ts'
import {
  DEFAULT_TOOLS,
  isToolName,
  nameOf,
  placesOf,
  TOOL_NAMES,
  type ToolName,
  type ToolPlace,
} from '../tools/places.ts'
import { reasonToSkip } from '../tools/untouchable.ts'
import { answerFor } from './shared/answer.ts'
import { untilSignal } from './interruptible.ts'
import { writeDocument } from './shared/documents.ts'
import { reportFailure, sentenceOf } from './shared/failure.ts'
import type { LibraryOptions, OutputOptions } from './shared/command-options.ts'
import type { ExitStatus } from './shared/status.ts'

export interface AllCommandOptions extends LibraryOptions, OutputOptions {
  /** Names of tools. Each item may be a list with commas. */
  readonly only?: readonly string[]
  readonly list?: boolean
  readonly restore?: boolean
  readonly dryRun?: boolean
}

/** Status 1: work is left in one of the environments. */
export async function allCommand(options: AllCommandOptions, version: string): Promise<ExitStatus> {
  try {
    const rows = await rowsOf(options, version)
    if (options.json === true) writeDocument('all', { environments: rows })
    else {
      const { stdout } = colours(options.color, process.env)
      writeLines(standardOutput, allLines(rows, { chalk: stdout, quiet: options.quiet === true }))
    }
    return rows.some(({ status }) => status === 'needs' || status === 'failed') ? 1 : 0
  } catch (error) {
    return reportFailure(error, { json: options.json === true })
  }
}

const LEFT = 'each file is whole; the same command completes the work'

/** The content of a row without the place of the environment. */
type Outcome = Pick<AllRow, 'status' | 'detail'>

async function rowsOf(options: AllCommandOptions, version: string): Promise<AllRow[]> {
  const { env } = process
  if ((env['HOME'] ?? '') === '') {
    throw new WheelfixError('USAGE', 'HOME is not set, so wheelfix cannot find the folders of the tools: set HOME')
  }
  return await rowsFor(await placesOf(toolsOf(options, env), { env, cwd: process.cwd() }), options, version)
}

/** Patches the environments at these places with the default options. */
export function patchPlaces(places: readonly ToolPlace[], version: string): Promise<AllRow[]> {
  const options: AllCommandOptions = { libs: [], scan: true, trust: [], color: 'auto' }
  return rowsFor(places, options, version)
}

async function rowsFor(found: readonly ToolPlace[], options: AllCommandOptions, version: string): Promise<AllRow[]> {
  // environments are restored before the Python that made them
  const places = options.restore === true ? found.toReversed() : [...found]
  const rows: AllRow[] = []
  for (let place = places.shift(); place !== undefined; place = places.shift()) {
    const { tool, kind, root, locks } = place
    const { nested, ...outcome } = await outcomeOf(place, options, version)
    rows.push({ tool, kind, root, name: nameOf(place), ...outcome })
    places.unshift(...nested.map((path): ToolPlace => ({ tool, kind: 'venv', root: path, locks })))
  }
  return rows
}

function toolsOf({ only = [] }: AllCommandOptions, env: NodeJS.ProcessEnv): readonly ToolName[] {
  const configured = env['WHEELFIX_TOOLS'] ?? ''
  const named = (only.length > 0 ? only : [configured])
    .flatMap(list => list.split(','))
    .map(name => name.trim())
    .filter(name => name !== '')
  if (named.length === 0) return DEFAULT_TOOLS
  return named.map(name => {
    if (isToolName(name)) return name
    throw new WheelfixError('USAGE', `wheelfix does not know the tool ${name} (known: ${TOOL_NAMES.join(', ')})`)
  })
}

async function outcomeOf(
  place: ToolPlace,
  options: AllCommandOptions,
  version: string,
): Promise<Outcome & { readonly nested: readonly string[] }> {
  if (options.list === true) return { status: 'found', detail: place.root, nested: [] }
  const against = reasonToSkip(place)
  if (against !== null) return { status: 'skipped', detail: against, nested: [] }
  try {
    if (place.kind === 'python') return { ...(await pythonOutcome(place, options)), nested: [] }
    const environment = environmentAt(place)
    if (options.restore === true) return await restoreOutcome(environment, options)
    const { facts, status } = await answerFor('venv', environment, runOptionsOf(options), {
      strict: false,
      version,
      whole: false,
    })
    return { ...sayFacts(facts, status, options), nested: facts.nested }
  } catch (error) {
    // the signal ends the process, so no table is printed
    if (error instanceof WheelfixError && error.code === 'INTERRUPTED') throw error
    return { status: 'failed', detail: sentenceOf(error), nested: [] }
  }
}

function environmentAt({ kind, root, python = null }: ToolPlace): Environment {
  const { env } = process
  const cwd = process.cwd()
  if (kind === 'venv') return findVenv({ argument: root, env, cwd })
  return findFolder({ argument: root, python, program: null, stateHere: false, env, cwd })
}

function runOptionsOf({ libs, scan, trust, dryRun }: AllCommandOptions): VenvOptions {
  return {
    libs,
    noScan: !scan,
    trust,
    ignoreMissing: [],
    ignore: [],
    update: false,
    rehash: false,
    editable: false,
    strategy: null,
    interpreter: null,
    mode: dryRun === true ? 'plan' : 'apply',
    env: process.env,
    cwd: process.cwd(),
    progress: () => {},
  }
}

/** Gives an installed Python a loader of the store when its own loader does not exist. */
async function pythonOutcome({ root }: ToolPlace, options: AllCommandOptions): Promise<Outcome> {
  const { needsLoader, standaloneSteps } = await import('../private-loader/standalone.ts')
  const { env } = process
  if (!needsLoader(root, env)) return { status: 'fine', detail: 'already starts' }
  const isDry = options.dryRun === true
  const mode = options.restore === true ? (isDry ? 'plan-restore' : 'restore') : isDry ? 'plan' : 'apply'
  const { libs, trust, scan } = options
  const asked = { directory: root, libc: null, loader: false, libs, trust, noScan: !scan, mode, env, cwd: '/' } as const
  const { status, libc } = await untilSignal(standaloneSteps(asked), () => LEFT)
  const with_ = libc === null ? '' : ` with ${libc.dir}`
  if (status === 'restored') return { status, detail: 'restored' }
  if (status === 'restore') return { status, detail: 'to restore' }
  if (status === 'fine')
    return { status: 'fine', detail: options.restore === true ? 'not changed by wheelfix' : 'starts' }
  return { status, detail: `${status === 'patch' ? 'would start' : 'starts'}${with_}` }
}

async function restoreOutcome(environment: Environment, options: AllCommandOptions) {
  const { restoreSteps } = await import('../environment/restore-environment.ts')
  const steps = restoreSteps(environment, { dryRun: options.dryRun === true, editable: false, env: process.env })
  const report = await untilSignal(steps, () => LEFT)
  const { restored, refused, found, nested } = report
  const [first] = refused
  const outcome: Outcome =
    first !== undefined
      ? { status: 'failed', detail: `${first.path}: ${first.reason}` }
      : found
        ? {
            status: options.dryRun === true ? 'restore' : 'restored',
            detail: `${count(restored.length, 'object')} ${options.dryRun === true ? 'to restore' : 'restored'}`,
          }
        : { status: 'fine', detail: 'not changed by wheelfix' }
  return { ...outcome, nested }
}

function sayFacts({ summary, lacking }: RunFacts, status: ExitStatus, { dryRun }: AllCommandOptions): Outcome {
  const { restored, objects, refused, held } = summary
  const patched = summary.patched - restored
  const work = [
    ...(patched === 0 ? [] : [`${patched} ${dryRun === true ? 'to patch' : 'patched'}`]),
    ...(restored === 0 ? [] : [`${restored} ${dryRun === true ? 'to restore' : 'restored'}`]),
  ]
  if (status !== 0) {
    const names = [...new Set(lacking.flatMap(lack => lack.names))]
    const needs = [
      ...(names.length === 0 ? [] : [`needs ${names.slice(0, 3).join(', ')}${names.length > 3 ? ' …' : ''}`]),
      ...(refused === 0 ? [] : [`${refused} not changed`]),
      ...(held === 0 ? [] : [`${held} outside not changed`]),
    ]
    return { status: 'needs', detail: [...work, ...needs].join(', ') || 'see wheelfix doctor' }
  }
  if (summary.patched > 0) return { status: dryRun === true ? 'patch' : 'patched', detail: work.join(', ') }
  return { status: 'fine', detail: count(objects, 'object') }
}
