// Options in the command lines of installers. It only knows words. A tool's own --help says which options take a value.
/** A command line, or a part of one, as words. */
export type Words = readonly string[]

/** The options before the command, and the command with its arguments. */
export function splitOptions(args: Words, help: string): { readonly options: Words; readonly command: Words } {
  const valued = valuedOptions(help)
  let at = 0
  while (at < args.length) {
    const word = args[at] ?? ''
    if (word === '--') return { options: args.slice(0, at), command: args.slice(at + 1) }
    if (!word.startsWith('-') || word === '-') break
    // -p3.12 and --python=3.12 hold their value
    at += valued.has(word) ? 2 : 1
  }
  return { options: args.slice(0, at), command: args.slice(at) }
}

/**
 * The options that take a value as a separate word. clap shows them as `-p, --python <PYTHON>`, and click as `-e, --env
 * TEXT`.
 */
function valuedOptions(help: string): ReadonlySet<string> {
  const names = [...help.matchAll(/^\s+(?:(-\w), )?(--[\w-]+) (?:<[^>]*>|[A-Z]{2,}\b)/gm)]
  return new Set(names.flatMap(([, short, long = '']) => (short === undefined ? [long] : [short, long])))
}

/** The last value of an option that has these names: `--project P`, `--project=P`, `-p P`, `-pP`; null without one. */
export function optionValue(args: Words, names: Words): string | null {
  let found: string | null = null
  for (const [at, word] of args.entries()) {
    const name = names.find(name => word.startsWith(name))
    if (name === undefined) continue
    const rest = word.slice(name.length)
    if (rest === '') found = args[at + 1] ?? found
    else if (!name.startsWith('--')) found = rest.replace(/^=/, '')
    else if (rest.startsWith('=')) found = rest.slice(1)
  }
  return found
}
