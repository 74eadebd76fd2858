// Programs that start another program: `env A=1 uv sync`, `nice uv sync`, `timeout 60 uv sync`. And programs whose arguments hold a
// command line that wheelfix cannot read: `sh -c '…'`, `nix develop -c …`. This file only knows words.
import { fileNameOf } from '../io/path.ts'
import type { Words } from './split-options.ts'

/** What comes before the program that counts. */
interface Unwrapped {
  /** The words of the wrappers. */
  readonly before: Words
  /** The program that counts, and its arguments. */
  readonly words: Words
  /** Does `env -i` start the program without the variables of this process? */
  readonly clears: boolean
  /** The variables that `env` sets, or removes (undefined). */
  readonly sets: ReadonlyMap<string, string | undefined>
  /** The folders into which `env -C` changes, one after the other. */
  readonly folders: readonly string[]
}

interface Wrapper {
  /** Options that take the next word as their value. */
  readonly valued: readonly string[]
  /** How many words come before the program: `timeout 60 …`. */
  readonly operands: number
}

/** Wrappers whose program works as if it was started alone (coreutils, util-linux, GNU time). */
const WRAPPERS: Readonly<Record<string, Wrapper>> = {
  env: { valued: ['-u', '--unset', '-C', '--chdir', '-a', '--argv0'], operands: 0 },
  nice: { valued: ['-n', '--adjustment'], operands: 0 },
  ionice: { valued: ['-c', '--class', '-n', '--classdata'], operands: 0 },
  nohup: { valued: [], operands: 0 },
  setsid: { valued: [], operands: 0 },
  stdbuf: { valued: ['-i', '--input', '-o', '--output', '-e', '--error'], operands: 0 },
  time: { valued: ['-f', '--format', '-o', '--output'], operands: 0 },
  timeout: { valued: ['-s', '--signal', '-k', '--kill-after'], operands: 1 },
}

/** The program that wrappers start, and what they change for it. */
export function unwrap(words: Words): Unwrapped {
  const sets = new Map<string, string | undefined>()
  const folders: string[] = []
  let clears = false
  let start = 0
  for (;;) {
    const name = fileNameOf(words[start] ?? '')
    const wrapper = Object.hasOwn(WRAPPERS, name) ? WRAPPERS[name] : undefined
    if (wrapper === undefined) break
    let at = start + 1
    while (words[at]?.startsWith('-') === true) {
      const word = words[at] ?? ''
      const { option, value, length } = optionAt(words, at, wrapper.valued)
      at += length
      if (word === '--') break
      if (name !== 'env') continue
      // one text that env itself takes apart
      if (/^(?:-\w*S|--split-string)/.test(word))
        return { before: [], words, clears: false, sets: new Map(), folders: [] }
      if (option === '-u' || option === '--unset') sets.set(value, undefined)
      if (option === '-C' || option === '--chdir') folders.push(value)
      if (word === '-' || word === '-i' || word === '--ignore-environment') {
        clears = true
        sets.clear()
      }
    }
    at += wrapper.operands
    if (name === 'env') {
      for (let match = assignment(words[at]); match !== null; match = assignment(words[++at])) sets.set(...match)
    }
    start = at
  }
  return { before: words.slice(0, start), words: words.slice(start), clears, sets, folders }
}

function assignment(word: string | undefined): [string, string] | null {
  const [, name, value] = /^([^=]+)=(.*)$/s.exec(word ?? '') ?? []
  return name === undefined || value === undefined ? null : [name, value]
}

/** The option at a place, its value ('' without one), and how many words both are. */
function optionAt(words: Words, at: number, valued: readonly string[]) {
  const word = words[at] ?? ''
  if (word.startsWith('--')) {
    const [option = '', value] = word.split(/=(.*)/s)
    if (value !== undefined) return { option, value, length: 1 }
  } else if (valued.includes(word.slice(0, 2)) && word.length > 2) {
    return { option: word.slice(0, 2), value: word.slice(2), length: 1 }
  }
  return valued.includes(word)
    ? { option: word, value: words[at + 1] ?? '', length: 2 }
    : { option: word, value: '', length: 1 }
}

/** The environment in which the program that counts runs. */
export function environmentOf({ clears, sets }: Unwrapped, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  // without HOME and PATH, no tool has a folder; the program takes the usual ones
  const { HOME, PATH } = env
  return { ...(clears ? { HOME, PATH } : env), ...Object.fromEntries(sets) }
}

/** Shells, and programs that start a command in another environment. Their arguments may hold whole command lines. */
const READERS = new Set('sh bash dash zsh fish ksh nu nix nix-shell direnv devenv devbox mise xvfb-run'.split(' '))

/** The names of programs that the command line of such a program may start; [] for other programs. */
export function mentioned([program = '', ...args]: Words): string[] {
  if (!READERS.has(fileNameOf(program))) return []
  return args.flatMap(word => word.split(/[\s;&|()'"`$]+/)).map(word => fileNameOf(word))
}
