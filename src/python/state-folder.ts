// What may be in the folder that wheelfix keeps for an environment. A user who unpacks or shares an environment gets
// this folder from somebody else. A link in it would make wheelfix read, write or remove files elsewhere.
import { WheelfixError } from '../io/error.ts'
import { readBeneath } from '../io/beneath.ts'
import { entriesIn, linkStatusOf } from '../io/path.ts'
import type { Place } from './environment.ts'

/** The size limit of a file in bytes. The pins and answers of the largest venvs have about 100 KB. */
const LARGEST_FILE = 16 << 20

/** The kind of file that each known name must be. Other names are unknown, and wheelfix never opens them. */
function kindOf(name: string): 'directory' | 'symlink' | 'file' | null {
  if (name === 'roots' || name === 'loader' || name === 'undo') return 'directory'
  // Nix's link to a library set that it built
  if (name === 'libs') return 'symlink'
  return name === 'interpreter' || /^(?:lock|journal)|\.json$/.test(name) ? 'file' : null
}

/**
 * Refuses a state folder that wheelfix cannot have made.
 * @throws WheelfixError `VENV_INVALID` for a folder that is a link, belongs to somebody else, or holds links, FIFOs or
 * devices
 */
export function checkStateFolder({ root, stateFolder }: Place): void {
  const status = linkStatusOf(stateFolder)
  if (status === null) return
  const refuse = (path: string, what: string) => {
    return new WheelfixError('VENV_INVALID', `${path} ${what}, so wheelfix did not create it: remove it`, path)
  }
  if (status.isSymbolicLink()) throw refuse(stateFolder, 'is a link')
  if (!status.isDirectory()) throw refuse(stateFolder, 'is not a folder')
  const owners = [0, process.getuid?.(), linkStatusOf(root)?.uid]
  if (!owners.includes(status.uid)) throw refuse(stateFolder, `belongs to user ${status.uid}`)
  for (const { name, kind } of entriesIn(stateFolder)) {
    const wanted = kindOf(name)
    if (wanted === null || kind === wanted) continue
    throw refuse(`${stateFolder}/${name}`, `is ${KINDS[kind]}, not a ${WANTED[wanted]}`)
  }
  for (const { name, kind } of entriesIn(`${stateFolder}/undo`)) {
    if (kind !== 'file') throw refuse(`${stateFolder}/undo/${name}`, `is ${KINDS[kind]}, not a file`)
  }
  for (const { name, kind } of entriesIn(`${stateFolder}/loader`)) {
    if (kind === 'file' || kind === 'directory') continue
    throw refuse(`${stateFolder}/loader/${name}`, `is ${KINDS[kind]}, not a file or folder`)
  }
}

const KINDS = { file: 'a file', directory: 'a folder', symlink: 'a link', other: 'a FIFO, socket or device' } as const
const WANTED = { file: 'file', directory: 'folder', symlink: 'link' } as const

/** The text of a file in the state folder; null where the file is missing or cannot be read. */
export function readState({ stateFolder }: Place, name: string): string | null {
  return readBeneath(stateFolder, name, LARGEST_FILE)?.toString('utf8') ?? null
}
