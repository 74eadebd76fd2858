// The content of a bug report, as entries of an archive: the output of doctor and why, the versions, the headers and dynamic
// tables of the files concerned, and wheelfix's state of the environment. It has no code of these files, and no copy of any
// file.
import { release } from 'node:os'
import { ElfError } from '../../elf/error.ts'
import { outlineOf } from '../../elf/outline.ts'
import { type Examination, examine } from '../../environment/examine.ts'
import { lookingOnly } from '../../environment/run-options.ts'
import { readRegular } from '../../io/beneath.ts'
import { errnoOf, WheelfixError } from '../../io/error.ts'
import { entriesIn, fileNameOf, readLink } from '../../io/path.ts'
import { withSource } from '../../io/source.ts'
import type { Environment } from '../../python/environment.ts'
import { readState } from '../../python/state-folder.ts'
import type { Anonymiser } from './anonymous.ts'
import type { DoctorOptions, DoctorReport } from '../diagnose.ts'
import { whyOf, type WhyReport } from '../reasons.ts'
import { subjectOf } from '../subject.ts'

export interface BundleInput {
  readonly venv: Environment
  readonly options: DoctorOptions
  readonly report: DoctorReport | null
  /** The report as `--json` prints it; null when doctor itself crashed. */
  readonly doctor: object | null
  readonly why: (name: string, report: WhyReport) => object
  /** The error that crashed doctor. */
  readonly crash: unknown
  readonly version: string
  readonly anonymous: Anonymiser
}

/** An entry of the archive. */
interface BundleEntry {
  readonly name: string
  readonly content: Buffer
}

/** The most files in a bundle. Findings may be about thousands of files, but then these files are similar. */
const MOST_FILES = 50
/** The size limit in bytes of a file of the state. Real ones are smaller. */
const LARGEST_STATE = 1 << 20

/** The entries of the archive, without the user's names and paths. */
export function bundleOf(input: BundleInput): BundleEntry[] {
  const { venv, report, anonymous } = input
  const examination = examined(input)
  const files = report === null ? [] : filesOf(report, examination)
  const json = (name: string, value: unknown): BundleEntry => {
    return { name, content: Buffer.from(`${anonymous.text(JSON.stringify(value, plain, 2))}\n`) }
  }
  const entries = [
    json('versions.json', versionsOf(input, examination)),
    ...(input.doctor === null ? [] : [json('doctor.json', input.doctor)]),
    ...(input.crash instanceof Error ? [text('crash.txt', input.crash.stack ?? input.crash.message, anonymous)] : []),
    ...files.map((path, index) => json(entryName('elf', index, path, anonymous), elfOf(path, anonymous))),
    ...whyEntries(files, examination, input).map(([path, why], index) =>
      json(entryName('why', index, path, anonymous), why),
    ),
    ...stateEntries(venv, anonymous),
  ]
  return entries
}

function text(name: string, content: string, anonymous: Anonymiser): BundleEntry {
  return { name, content: Buffer.from(`${anonymous.text(content)}\n`) }
}

/** Shows addresses in hex, because JSON has no bigint. */
function plain(_: string, value: unknown): unknown {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`
  return value instanceof Map || value instanceof Set ? [...value] : value
}

function entryName(folder: string, index: number, path: string, anonymous: Anonymiser): string {
  const name = anonymous.text(fileNameOf(path)).replaceAll(/[^\w.+-]/g, '_')
  return `${folder}/${String(index + 1).padStart(2, '0')}-${name.slice(0, 100)}.json`
}

/** Examines the environment; null when that fails. doctor's findings say why. */
function examined({ venv, options }: BundleInput): Examination | null {
  try {
    return examine(venv, lookingOnly(options))
  } catch {
    // doctor reports this error, or the bundle is made because of it
    return null
  }
}

/** The files of errors and warnings, absolute. */
function filesOf({ findings, venv }: DoctorReport, examination: Examination | null): string[] {
  const known = new Map(examination?.scan.objects.map(({ path, relative }) => [relative, path]))
  const concerned = findings.filter(({ severity }) => severity !== 'note').flatMap(({ paths }) => paths)
  const paths = concerned.map(path => known.get(path) ?? (path.startsWith('/') ? path : `${venv.root}/${path}`))
  return [...new Set(paths)].slice(0, MOST_FILES)
}

function elfOf(path: string, anonymous: Anonymiser): object {
  try {
    const { size, ranges, object } = withSource(path, outlineOf)
    return {
      path,
      size,
      ranges: ranges.map(({ what, offset, bytes }) => {
        return { what, offset, length: bytes.length, base64: anonymous.bytes(bytes).toString('base64') }
      }),
      ...(object instanceof ElfError ? { error: object.message } : { object }),
    }
  } catch (error) {
    if (errnoOf(error) === undefined && !(error instanceof ElfError)) throw error
    return { path, error: error instanceof Error ? error.message : '' }
  }
}

function whyEntries(
  files: readonly string[],
  examination: Examination | null,
  { why, options }: BundleInput,
): [string, object][] {
  if (examination === null) return []
  const subject = subjectOf(examination)
  return files.flatMap((path): [string, object][] => {
    try {
      return [[path, why(path, whyOf(path, subject, options.cwd))]]
    } catch (error) {
      // the file is not an object of the environment
      if (!(error instanceof WheelfixError)) throw error
      return []
    }
  })
}

function versionsOf({ venv, version }: BundleInput, examination: Examination | null) {
  const { interpreter, python } = examination ?? {}
  const system = /^PRETTY_NAME="?([^"\n]*)/m.exec(readRegular('/etc/os-release', 1 << 16)?.toString() ?? '')?.[1]
  return {
    wheelfix: version,
    node: process.version,
    kernel: `${process.platform} ${release()} ${process.arch}`,
    system: system ?? null,
    kind: venv.kind,
    config: Object.fromEntries(venv.config),
    python: interpreter === undefined ? null : { version: interpreter.version, loader: interpreter.interp },
    libc: python === undefined ? null : { kind: python.libc.kind, version: python.libc.version, dir: python.libc.dir },
  }
}

/** The files of the state folder, and a list of everything in it. */
function stateEntries(venv: Environment, anonymous: Anonymiser): BundleEntry[] {
  const { stateFolder } = venv
  const list: string[] = []
  const entries: BundleEntry[] = []
  for (const folder of ['', 'roots/', 'loader/', 'undo/']) {
    for (const { name, kind } of entriesIn(`${stateFolder}/${folder}`)) {
      const path = `${folder}${name}`
      list.push(kind === 'symlink' ? `${path} -> ${readLink(`${stateFolder}/${path}`)}` : `${path} (${kind})`)
      if (folder !== '' || kind !== 'file' || !/^[\w.-]+$/.test(name)) continue
      const content = readState(venv, name)
      if (content !== null && content.length <= LARGEST_STATE) entries.push(text(`state/${name}`, content, anonymous))
    }
  }
  return [text('state/list.txt', list.join('\n'), anonymous), ...entries]
}
