// One command for several folders, one after the other. It goes on after a failure, and ends with the worst status.
import { SCHEMA } from '../../report/schema.ts'
import { standardOutput } from '../../report/terminal/output.ts'
import type { ExitStatus } from './status.ts'

/** Prints a document, or keeps it for the document that holds all. */
export type PutDocument = (document: object) => void

interface SeveralOptions {
  readonly json?: boolean | undefined
  readonly quiet?: boolean | undefined
}

/** The result of one folder, and the folders that follow it: environments inside it. */
export interface FolderResult {
  readonly status: ExitStatus
  readonly next: readonly string[]
}

/** The command for one folder. */
export type RunOne = (folder: string | undefined, put: PutDocument) => FolderResult | Promise<FolderResult>

/**
 * Without a folder the command itself finds its environment. --json prints one document; for several folders this document
 * holds those of all.
 */
export async function overFolders(
  command: string,
  folders: readonly string[],
  { json = false, quiet = false }: SeveralOptions,
  runOne: RunOne,
  print: PutDocument = printDocument,
): Promise<ExitStatus> {
  const documents: object[] = []
  let worst: ExitStatus = 0
  const waiting: (string | undefined)[] = folders.length === 0 ? [undefined] : [...folders]
  const seen = new Set(waiting)
  for (let first = true; waiting.length > 0; first = false) {
    if (!first && !json && !quiet) standardOutput.write('\n')
    const { status, next } = await runOne(waiting.shift(), document => documents.push(document))
    for (const folder of next) if (!seen.has(folder)) waiting.push(folder)
    for (const folder of next) seen.add(folder)
    if (status > worst) worst = status
  }
  const [only] = documents
  const whole = seen.size === 1 ? only : { schema: SCHEMA, command, environments: documents }
  if (json && whole !== undefined) print(whole)
  return worst
}

export const printDocument: PutDocument = document => standardOutput.write(`${JSON.stringify(document)}\n`)
