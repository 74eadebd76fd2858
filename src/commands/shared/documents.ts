// The JSON documents of commands that only look: schema wheelfix/1, described in the README.
import type { DoctorReport } from '../../inspect/diagnose.ts'
import type { WhyNeeded, WhyObject, WhyReport } from '../../inspect/reasons.ts'
import type { Environment } from '../../python/environment.ts'
import { SCHEMA } from '../../report/schema.ts'
import { standardOutput } from '../../report/terminal/output.ts'

/** Prints the JSON document of a command in one line. */
export function writeDocument(command: string, content: object): void {
  standardOutput.write(`${JSON.stringify({ schema: SCHEMA, command, ...content })}\n`)
}

/** The JSON document of `doctor`, as `schema/` describes it. */
export function doctorDocument({ venv, findings, asked, imported }: DoctorReport) {
  return { schema: SCHEMA, command: 'doctor', venv: venv.root, asked, imported, findings }
}

/**
 * The answer as data. For each object with the name it lists everything that the object loads, each object once.
 * Paths are absolute.
 */
export function whyDocument(name: string, { kind, processes }: WhyReport, venv: Environment) {
  return {
    schema: SCHEMA,
    command: 'why',
    venv: venv.root,
    name,
    kind,
    objects: processes.map(({ root, objects }) => ({ path: root.path, loads: objects.map(whyEntry) })),
  }
}

function whyEntry({ path, distribution, change, needed, foreign }: WhyObject) {
  return { path, distribution, foreign, change, needed: needed.map(neededEntry) }
}

function neededEntry({ soname, provider, how, because, loadedBy, tried, lackingVersions, hint }: WhyNeeded) {
  return { soname, provider, how, because, loadedBy, tried, lackingVersions, hint }
}
