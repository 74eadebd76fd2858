// The variables of the shell that help an environment where a search path cannot. This file only looks, and sets
// nothing.
import type { Examination } from '../../environment/examine.ts'
import { driverDirectory } from '../../resolve/drivers.ts'
import { type Facts, isThere } from './facts.ts'
import { VARIABLES } from './table.ts'

/** One variable, with the value that helps. */
export interface Variable {
  readonly name: string
  readonly value: string
  /** A sentence for a person, without a full stop. */
  readonly reason: string
  /** The code that reads the variable, or a report of what fails without it. */
  readonly source: string
  /** The distribution that reads it; null: the Python itself. */
  readonly distribution: string | null
  /** The value that the caller's shell already has. It is not changed. */
  readonly current: string | null
}

export interface VariableOptions {
  readonly env: NodeJS.ProcessEnv
  /** Also what builds from source need. */
  readonly build: boolean
  /** Another machine, for tests. */
  readonly machine?: Pick<Facts, 'isThere' | 'driver'>
}

/** The facts of an environment as it is now. */
export function variableFacts(examination: Examination, { env, machine }: Omit<VariableOptions, 'build'>): Facts {
  const { loader, loaderPending, resolution } = examination
  // a private loader that is not made yet finds nothing
  const python = loader !== null && !loaderPending ? resolution.input.python : examination.python
  return { isThere, driver: driverDirectory(), ...machine, ...examination, python, env }
}

/** The variables that help, each once. The first row that gives a value wins. */
export function variablesOf(examination: Examination, options: VariableOptions): readonly Variable[] {
  const { env, build } = options
  const facts = variableFacts(examination, options)
  const found = new Map<string, Variable>()
  for (const { variable, distributions, forBuild, value: find, reason, source } of VARIABLES) {
    if (found.has(variable) || (forBuild === true && !build)) continue
    const distribution = distributions.map(name => examination.distributions.get(name)).find(Boolean)?.name ?? null
    if (distributions.length > 0 && distribution === null) continue
    const value = find(facts)
    const current = env[variable] ?? ''
    if (value === null || value === current) continue
    const why = typeof reason === 'string' ? reason : reason(facts)
    found.set(variable, {
      name: variable,
      value,
      reason: `${distribution ?? 'this Python'} ${why}`,
      source,
      distribution,
      current: current === '' ? null : current,
    })
  }
  return [...found.values()]
}
