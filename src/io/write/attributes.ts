// What a file has besides bytes, mode, owner and times: an access control list, extended attributes, a label of SELinux. Node
// cannot read or write these. A copy without the access control list would be open to the wrong users, because stat(2)
// reports the mask of the list as the bits of the group.
import { spawnSync } from 'node:child_process'
import { encodeText } from '../../elf/text.ts'
import { WheelfixError } from '../error.ts'
import { directoryOf } from '../path.ts'
import { unescapeOctal } from '../words.ts'
import { within } from './folder.ts'
import { discardStaged, type Staged } from './replace.ts'

/** The most bytes of arguments for one process. An argument list may have 2 MiB, including the environment (execve(2)). */
const MOST_BYTES = 512 << 10
const TIMEOUT_MS = 10_000

/** The attributes of some files, read before the files are replaced. */
interface Extras {
  /**
   * Gives a staged file the attributes of its original.
   * @throws WheelfixError `IO`; the caller must then not replace the file
   */
  keep(this: void, staged: Staged): void
}

/**
 * Reads the attributes of files, with one process for all files. It runs getfattr where that is installed (NixOS has it).
 * Otherwise it runs ls, which only shows access control lists. Where neither works, it finds no attributes.
 */
export function extrasOf(paths: readonly string[]): Extras {
  const labelled = new Set<string>()
  const more = filesWithAttributes(paths, labelled)
  const labels = labelsOf([...labelled])
  const usual = new Map<string, string>()
  /** A new file gets its label from its folder, so one new file stands for all new files of a folder. */
  const hasOtherLabel = ({ path, temporary }: Staged): boolean => {
    const label = labels.get(path)
    if (label === undefined) return false
    const folder = directoryOf(path)
    const known = usual.get(folder) ?? labelsOf([temporary]).get(temporary) ?? ''
    usual.set(folder, known)
    return known !== label
  }
  return {
    keep(staged) {
      if (more.has(staged.path) || hasOtherLabel(staged)) keepAttributes(staged)
    },
  }
}

/**
 * Which of the files have an access control list or extended attributes?
 * @param labelled receives the files with a label of SELinux
 */
export function filesWithAttributes(all: readonly string[], labelled = new Set<string>()): Set<string> {
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
    for (const path of byGetfattr(some, labelled) ?? byLs(some)) found.add(path)
  }
  return found
}

/** The label of SELinux. */
const LABEL = 'security.selinux'

/** null where there is no getfattr. */
function byGetfattr(paths: readonly string[], labelled: Set<string>): string[] | null {
  const blocks = attributeLines(paths, ['-m', '-'])
  if (blocks === null) return null
  for (const [path, names] of blocks) if (names.includes(LABEL)) labelled.add(path)
  return [...blocks].flatMap(([path, names]) => (names.some(name => name !== LABEL) ? path : []))
}

/** The labels of the files that have a label. */
function labelsOf(paths: readonly string[]): Map<string, string> {
  const blocks = paths.length === 0 ? null : attributeLines(paths, ['-n', LABEL])
  return new Map([...(blocks ?? [])].map(([path, lines]) => [path, lines.join('')]))
}

/** What getfattr prints for each file, by lines; null where it cannot run. */
function attributeLines(paths: readonly string[], options: readonly string[]): Map<string, string[]> | null {
  const said = output('getfattr', ['--absolute-names', '-h', ...options, '--'], paths)
  if (said === null) return null
  const named = new Map(paths.map(path => [encodeText(path).toString('latin1'), path]))
  const blocks = said.split('\n\n').flatMap((block): [string, string[]][] => {
    const [head = '', ...lines] = block.split('\n').filter(line => line !== '')
    const file = unescapeOctal(head.replace(/^# file: /, ''))
    const path = named.get(file)
    return path === undefined ? [] : [[path, lines]]
  })
  return new Map(blocks)
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

/** @throws WheelfixError `IO` */
function keepAttributes(staged: Staged): void {
  const { path, temporary, folder } = staged
  // cp gets the open folder as its descriptor 3
  const files = [path, temporary].map(file => within(folder === null ? null : 3, file))
  const { status } = spawnSync('cp', ['--attributes-only', '--preserve=all', '--', ...files], {
    timeout: TIMEOUT_MS,
    stdio: ['ignore', 'ignore', 'ignore', ...(folder === null ? [] : [folder])],
  })
  if (status === 0) return
  discardStaged(staged)
  throw new WheelfixError('IO', `${REASON}: put cp from coreutils on PATH`, path)
}

const REASON = 'it has an access control list, extended attributes or an SELinux label, which cannot be kept'
