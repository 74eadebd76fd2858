// `wheelfix doctor --bundle`: the file to attach to a bug report. The user can read its content before sending it.
import { writeFileSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { resolve } from 'node:path'
import { anonymiser, type Person } from '../inspect/bundle/anonymous.ts'
import { bundleOf, type BundleInput } from '../inspect/bundle/bundle.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { fsPath, realPathOrNull } from '../io/path.ts'
import { makeArchive } from '../zip/new-archive.ts'
import { doctorDocument, whyDocument } from './shared/documents.ts'

export interface Bundle {
  readonly path: string
  readonly entries: readonly { readonly name: string; readonly size: number }[]
}

type BundleContents = Omit<BundleInput, 'doctor' | 'why' | 'anonymous'>

/** @throws WheelfixError `IO` when the file cannot be written, or exists */
export async function writeBundle(file: string, contents: BundleContents): Promise<Bundle> {
  const { report, venv } = contents
  const path = resolve(process.cwd(), file)
  const entries = bundleOf({
    ...contents,
    doctor: report === null ? null : doctorDocument(report),
    why: (name, why) => whyDocument(name, why, venv),
    anonymous: anonymiser(person(process.env)),
  })
  const archive = await makeArchive(entries)
  try {
    writeFileSync(fsPath(path), archive, { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    throw new WheelfixError('IO', `${path} already exists: give --bundle the name of a new file`, path)
  }
  return { path, entries: entries.map(({ name, content }) => ({ name, size: content.length })) }
}

/** The list of what a bug report holds, with sizes in bytes. */
export function bundleLines({ path, entries }: Bundle): string[] {
  const width = Math.max(...entries.map(({ name }) => name.length))
  return [
    '',
    `${path} holds:`,
    ...entries.map(({ name, size }) => `  ${name.padEnd(width)}  ${size} bytes`),
    'The file contains no code, and your home folder and user name are replaced in it. Read it before you attach it to a report.',
  ]
}

/** The user, whose names and paths must not be in a bundle. */
function person(env: NodeJS.ProcessEnv): Person {
  const account = accountOf()
  const homes = [env['HOME'] ?? '', ...account.homes]
  return {
    homes: [...homes, ...homes.flatMap(home => realOrNothing(home))],
    names: [env['USER'] ?? '', env['LOGNAME'] ?? '', env['SUDO_USER'] ?? '', ...account.names],
  }
}

function accountOf(): Person {
  try {
    const { homedir: home, username } = userInfo()
    return { homes: [home], names: [username] }
  } catch {
    // a user without an entry in passwd, as in containers
    return { homes: [homedir()], names: [] }
  }
}

function realOrNothing(path: string): string[] {
  const real = path === '' ? null : realPathOrNull(path)
  return real === null ? [] : [real]
}
