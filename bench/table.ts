// Tables of measurements, in Markdown.
import type { Measure } from './measure.ts'

export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = head.map((title, column) => Math.max(...[head, ...rows].map(row => (row[column] ?? title).length)))
  for (const row of [head, widths.map(width => '-'.repeat(width)), ...rows]) {
    console.log(`| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`)
  }
}

export function mega(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

/** A whole number as pages show it: 12,345. Messages of wheelfix have no separators, so that programs can read them. */
export function whole(number: number): string {
  return Math.round(number).toLocaleString('en')
}

export function milliseconds({ seconds }: Measure): string {
  return `${whole(seconds * 1000)} ms`
}

export function processorTime({ processorSeconds }: Measure): string {
  return `${whole(processorSeconds * 1000)} ms`
}
