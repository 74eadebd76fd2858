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

export function milliseconds({ seconds }: Measure): string {
  return `${(seconds * 1000).toFixed(0)} ms`
}

export function processorTime({ processorSeconds }: Measure): string {
  return `${(processorSeconds * 1000).toFixed(0)} ms`
}
