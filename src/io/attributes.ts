// What a file has besides bytes, mode, owner and times: an access control list and extended attributes. Node cannot
// read or write these. A copy without its list would be open to the wrong users: in stat(2) the list's mask stands for
// the group's bits.
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { encodeText } from '../elf/text.ts'
import { WheelfixError } from './error.ts'
import { fsPath } from './path.ts'
import type { Staged } from './replace.ts'

/** An argument list may have 2 MiB (execve(2)), including the environment. */
const MOST_BYTES = 512 << 10
const TIMEOUT_MS = 10_000

/**
 * Which of the files have more than that. Uses one process for all files: getfattr where it is installed (NixOS has
 * it), else ls, which shows only access control lists. Returns none where neither works.
 */
export function filesWithMore(all: readonly string[]): Set<string> {
  const found = new Set<string>()
  // Node passes to programs only bytes that are UTF-8
  const paths = all.filter(path => path.isWellFormed())
  for (let from = 0; from < paths.length;) {
    const some: string[] = []
    for (let bytes = 0; from < paths.length && (some.length === 0 || bytes < MOST_BYTES); from++) {
      const path = paths[from] ?? ''
      bytes += encodeText(path).length + 1
      some.push(path)
    }
    for (const path of byGetfattr(some) ?? byLs(some)) found.add(path)
  }
  return found
}

/** The label of SELinux; a new file gets the same label from its folder. */
const LABEL = 'security.selinux'

/** null where there is no getfattr. */
function byGetfattr(paths: readonly string[]): string[] | null {
  const said = output('getfattr', ['--absolute-names', '-h', '-m', '-', '--'], paths)
  if (said === null) return null
  const named = new Map(paths.map(path => [encodeText(path).toString('latin1'), path]))
  return said.split('\n\n').flatMap(block => {
    const [head = '', ...names] = block.split('\n').filter(line => line !== '')
    const file = head.replace(/^# file: /, '').replaceAll(/\\([0-7]{3})/g, (_, octal) => fromOctal(octal))
    return names.some(name => name !== LABEL) ? (named.get(file) ?? []) : []
  })
}

function fromOctal(digits: string): string {
  return String.fromCharCode(Number.parseInt(digits, 8))
}

/** ls prints a line for each file, in order: `-rw-rw-r--+ 1 0 0 …` has an access control list. */
function byLs(paths: readonly string[]): string[] {
  const lines = (output('ls', ['-ldnqU', '--'], paths) ?? '').trimEnd().split('\n')
  return lines.length === paths.length ? paths.filter((_, index) => lines[index]?.[10] === '+') : []
}

/**
 * The output of a program, one character for each byte; null where the program is missing or does not know its options.
 */
function output(program: string, options: readonly string[], paths: readonly string[]): string | null {
  const { status, stdout, error } = spawnSync(program, [...options, ...paths], {
    encoding: 'latin1',
    timeout: TIMEOUT_MS,
    maxBuffer: 1 << 26,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return error !== undefined || status === null || (status !== 0 && stdout === '') ? null : stdout
}

/**
 * Gives a staged file everything that its original has besides bytes.
 * @throws WheelfixError `IO`: then do not replace the file
 */
export function keepMore({ path, temporary }: Staged): void {
  const { status } = spawnSync('cp', ['--attributes-only', '--preserve=all', '--', path, temporary], {
    timeout: TIMEOUT_MS,
    stdio: 'ignore',
  })
  if (status === 0) return
  rmSync(fsPath(temporary), { force: true })
  throw new WheelfixError('IO', `${REASON}: it needs cp of coreutils on PATH`, path)
}

const REASON = 'it has an access control list or extended attributes, which cannot be kept'
