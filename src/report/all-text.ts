// The report of `wheelfix all`: one line for each environment, and one line for all of them.
import type { ChalkInstance } from 'chalk'
import { count } from '../io/words.ts'

/** One environment of a tool. */
export interface AllRow {
  readonly tool: string
  readonly kind: 'venv' | 'python' | 'folder'
  readonly root: string
  readonly name: string
  /**
   * - `found`: listed but not examined
   * - `patch`, `restore`: a change is pending (a dry run)
   * - `needs`: something is missing or was refused; the rest is done
   * - `skipped`: left alone, for the reason in `detail`
   */
  readonly status: 'found' | 'fine' | 'patch' | 'patched' | 'restore' | 'restored' | 'needs' | 'skipped' | 'failed'
  readonly detail: string
}

interface AllStyle {
  readonly chalk: ChalkInstance
  /** Show only environments that need something. */
  readonly quiet: boolean
}

/** The lines of `wheelfix all`: one for each environment, and a summary. */
export function allLines(rows: readonly AllRow[], { chalk, quiet }: AllStyle): string[] {
  const shown = quiet ? rows.filter(({ status }) => status === 'needs' || status === 'failed') : rows
  const width = (texts: readonly string[]) => Math.max(0, ...texts.map(text => text.length))
  const tools = width(shown.map(({ tool }) => tool))
  const names = width(shown.map(({ name }) => name))
  const lines = shown.flatMap(row => {
    const { tool, name, status, detail, root } = row
    const line = `${markOf(row, chalk)} ${tool.padEnd(tools)}  ${name.padEnd(names)}  ${chalk.dim(detail)}`
    return status === 'needs' ? [line, `    → to see more: wheelfix doctor ${root}`] : [line]
  })
  if (quiet) return lines
  if (rows.length === 0) return ['no tool environments found']
  return [...lines, '', summaryLine(rows)]
}

function markOf({ status }: AllRow, chalk: ChalkInstance): string {
  if (status === 'needs' || status === 'failed') return chalk.red('✗')
  if (status === 'patch' || status === 'restore') return chalk.green('•')
  if (status === 'patched' || status === 'restored') return chalk.green('✓')
  return chalk.dim('-')
}

const WORDS = {
  found: 'found',
  patched: 'patched',
  patch: 'to patch',
  restore: 'to restore',
  restored: 'restored',
  fine: 'fine',
  skipped: 'left alone',
  needs: 'with a problem',
  failed: 'failed',
} as const

function summaryLine(rows: readonly AllRow[]): string {
  const parts = Object.entries(WORDS).flatMap(([status, word]) => {
    const number = rows.filter(row => row.status === status).length
    return number === 0 ? [] : [`${number} ${word}`]
  })
  return `${count(rows.length, 'environment')}: ${parts.join(', ')}`
}
