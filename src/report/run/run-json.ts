// The JSON document of `wheelfix venv` and `wheelfix check`: schema wheelfix/1, described in docs/json.md. Programs rely on
// it: new fields may come, existing ones never change.
import type { Applied } from '../../resolve/plan.ts'
import type { LoaderReport, VenvReport } from '../../environment/venv-report.ts'
import { relativeTo } from '../../io/path.ts'
import { because } from '../because.ts'
import { summaryOf } from './collect-facts.ts'
import { SCHEMA } from '../schema.ts'

/** The printed data of a report. Paths of objects are relative to the venv. */
export function venvDocument(command: 'venv' | 'check' | 'loader' | 'path', report: VenvReport) {
  const { venv, interpreter, libc, plan, outcomes, unreadable, stacks, missing } = report
  return {
    schema: SCHEMA,
    command,
    venv: venv.root,
    python: {
      version: interpreter.version === '' ? null : interpreter.version,
      executable: venv.python === null && venv.program === null ? null : interpreter.program,
      interpreter: interpreter.interp,
      libc: { kind: libc.kind, version: libc.version, dir: libc.dir },
    },
    libs: plan.libraries,
    objects: [
      ...outcomes.map(outcome => objectEntry(outcome, path => relativeTo(venv.root, path))),
      ...unreadable.map(({ relative, reason, broken }) => ({
        path: relative,
        distribution: null,
        kind: 'library',
        needed: [],
        change: null,
        missing: [],
        status: broken ? 'broken' : 'refused',
        reason,
      })),
    ],
    conflicts: plan.conflicts,
    ...(stacks.length === 0 ? {} : { executableStacks: stacks.map(({ relative }) => relative) }),
    windows: report.windows,
    missing: missing.map(({ soname, neededBy, through, optional, hint }) => {
      return { soname, neededBy, ...(through.length === 0 ? {} : { through }), optional, hint }
    }),
    held: report.held.map(({ folder, by, objects }) => ({ folder, by, objects: objects.map(({ path }) => path) })),
    ...(report.loader === null ? {} : { loader: loaderEntry(report.loader, venv.root) }),
    ...(report.nixLd?.nixLd == null ? {} : { nixLd: { path: report.nixLd.nixLd.shim, loader: report.nixLd.ldso } }),
    summary: summaryOf(report),
  }
}

function loaderEntry({ plan, status, faults }: LoaderReport, root: string) {
  return {
    path: plan.loader,
    cache: plan.cache,
    how: plan.how,
    pythons: plan.copies.flatMap(({ paths, source }) =>
      paths.map(path => ({ path: relativeTo(root, path), program: source })),
    ),
    libraries: plan.content.libraries.map(({ soname, path, hwcapName, source }) => {
      return { soname, path, ...(hwcapName == null ? {} : { hwcap: hwcapName }), source }
    }),
    status,
    faults,
  }
}

/**
 * @param show turns a path into its form in sentences
 * @param provider turns the path of a provider into its form in the document
 */
export function objectEntry(
  { planned, status, reason }: Applied,
  show: (path: string) => string,
  provider = (path: string): string => path,
) {
  const { relative, kind, distribution, needed, change, missing } = planned
  return {
    path: relative,
    distribution,
    kind,
    needed: needed.map(item => ({
      soname: item.soname,
      provider: item.provider === null ? null : provider(item.provider),
      because: because(item, show),
    })),
    change,
    missing,
    status,
    ...(reason === null ? {} : { reason }),
  }
}
