// Fits lines to a terminal: its width and height, line breaks, and store paths without their hash.
import type { Output } from './terminal/output.ts'

/**
 * The size that the lines must fit, in columns and rows. Infinity if the output is not a terminal, because a file has no
 * edge.
 */
export interface Screen {
  readonly columns: number
  readonly rows: number
}

/** The size of the output. COLUMNS and LINES come first, as for ls and Python: a user exports them to choose the width. */
export function screenOf(output: Output, env: NodeJS.ProcessEnv): Screen {
  const asked = (name: string): number | undefined => {
    const value = Number(env[name])
    return Number.isInteger(value) && value > 0 ? value : undefined
  }
  const { columns, rows } = output.isTTY ? output : { columns: Infinity, rows: STANDARD_ROWS }
  // a pseudo-terminal without a size has 0 columns
  return { columns: asked('COLUMNS') ?? (columns || Infinity), rows: asked('LINES') ?? (rows || STANDARD_ROWS) }
}

/** The height of a standard terminal. Output to a file is folded for this height. */
const STANDARD_ROWS = 24

/**
 * The least width, in columns, for which lines are broken here. No path fits into less, so the terminal itself breaks the
 * lines there.
 */
const NARROWEST = 20

// oxlint-disable-next-line no-control-regex -- colours are control sequences
const COLOUR = /\x1b\[[\d;]*m/g

/** The width of a line without its colours. */
export function widthOf(line: string): number {
  return line.replaceAll(COLOUR, '').length
}

/**
 * Breaks a line between words, so that each part fits the screen. A single word may be wider: a path is not broken, so that
 * users can copy it. Later parts begin with `indent` spaces. Spaces at the beginning stay.
 */
export function wrap(line: string, columns: number, indent = 0): string[] {
  if (columns < NARROWEST || widthOf(line) <= columns) return [line]
  const lines: string[] = []
  let current = ''
  for (const [word = ''] of line.matchAll(/ *[^ ]+/g)) {
    // a colour before the first word takes no room
    if (widthOf(current) > 0 && widthOf(current) + widthOf(word) > columns) {
      lines.push(current)
      current = `${' '.repeat(indent)}${word.trimStart()}`
    } else current += word
  }
  return [...lines, current]
}

/** The items that fit into `width`, and the number of the others: `libGL.so.1 libz.so.1 +3`. At least one item is shown. */
export function fitItems(items: readonly string[], width: number): string {
  for (let shown = items.length; shown > 1; shown -= 1) {
    const text = itemsText(items, shown)
    if (text.length <= width) return text
  }
  return itemsText(items, 1)
}

function itemsText(items: readonly string[], shown: number): string {
  const more = items.length - shown
  return [...items.slice(0, shown), ...(more > 0 ? [`+${more}`] : [])].join(' ')
}

/** Store paths without the hash: `/nix/store/…-zlib-1.3.1/lib`. */
export function shortPath(path: string): string {
  return path.replaceAll(/\/store\/[0-9a-z]{32}-/g, '/store/…-')
}

/** Returns `zlib-1.3.1` for a path in the store, and any other path unchanged. */
export function storeName(path: string): string {
  return /\/store\/[0-9a-z]{32}-([^/]+)/.exec(path)?.[1] ?? path
}
