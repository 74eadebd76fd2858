// How lines fit a terminal: its width and height, wrapping, and paths of the store without their hash.

/** What the lines have to fit. Infinity where the output is no terminal: a file has no edge. */
export interface Screen {
  readonly columns: number
  readonly rows: number
}

/** COLUMNS and LINES count first, as for ls and Python: a user exports them to say how wide the output may be. */
export function screenOf(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv): Screen {
  const asked = (name: string): number | undefined => {
    const value = Number(env[name])
    return Number.isInteger(value) && value > 0 ? value : undefined
  }
  const { columns, rows } = stream.isTTY ? stream : { columns: Infinity, rows: STANDARD_ROWS }
  // a pseudo-terminal that nobody gave a size has 0 columns
  return { columns: asked('COLUMNS') ?? (columns || Infinity), rows: asked('LINES') ?? (rows || STANDARD_ROWS) }
}

/** The height of a terminal that nobody made larger: what is written to a file is folded as for that. */
const STANDARD_ROWS = 24

/** Below this a line holds no path and no sentence, and is left to the terminal. */
const NARROWEST = 20

// oxlint-disable-next-line no-control-regex -- colours are control sequences
const COLOUR = /\x1b\[[\d;]*m/g

/** The width of a line without its colours. */
export function widthOf(line: string): number {
  return line.replaceAll(COLOUR, '').length
}

/**
 * Breaks a line between words so that no part is wider than the screen, but for words that are: a path is not broken, so
 * that it can be copied. Later parts begin with `indent` spaces. Spaces at the beginning stay.
 */
export function wrap(line: string, columns: number, indent = 0): string[] {
  if (columns < NARROWEST || widthOf(line) <= columns) return [line]
  const lines: string[] = []
  let current = ''
  for (const [word = ''] of line.matchAll(/ *[^ ]+/g)) {
    if (current !== '' && widthOf(current) + widthOf(word) > columns) {
      lines.push(current)
      current = `${' '.repeat(indent)}${word.trimStart()}`
    } else current += word
  }
  return [...lines, current]
}

/** The items that fit into `width`, and how many do not: `libGL.so.1 libz.so.1 +3`. At least one is shown. */
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

/** Paths of a store without the hash: `/nix/store/…-zlib-1.3.1/lib`. */
export function shortPath(path: string): string {
  return path.replaceAll(/\/store\/[0-9a-z]{32}-/g, '/store/…-')
}

/** `zlib-1.3.1` for a path in the store, the path itself for any other. */
export function packageOf(path: string): string {
  return /\/store\/[0-9a-z]{32}-([^/]+)/.exec(path)?.[1] ?? path
}
