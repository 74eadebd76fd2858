// Why wheelfix does not patch an environment that the user has not named: a tool is writing it, it belongs to another user,
// or it is on a disk of another machine.
import { lstatSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { errnoOf } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import type { ToolPlace } from './places.ts'

/** f_type of file systems whose files are on another machine (statfs(2), linux/magic.h). */
const REMOTE: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
  [0x01021997, '9P'],
  [0x00c36400, 'Ceph'],
  [0x5346414f, 'AFS'],
  [0x65735546, 'FUSE'],
])

/** The reason, as the second half of a sentence; null if the environment may be patched. */
export function reasonToSkip({ tool, root, locks }: ToolPlace): string | null {
  try {
    const { uid } = lstatSync(fsPath(root))
    if (uid !== process.geteuid?.()) return `belongs to another user (${uid})`
    const remote = REMOTE.get(statfsSync(fsPath(root)).type >>> 0)
    if (remote !== undefined) return `is on a file system of another machine (${remote})`
    const held = locks.find(path => isHeld(path))
    return held === undefined ? null : `is being written: ${tool} holds ${held}. Run wheelfix again later`
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    return `cannot be read (${errno})`
  }
}

/** Does a process hold a lock on the file? /proc/locks has a line for each, with device and inode (proc_locks(5)). */
function isHeld(path: string): boolean {
  const status = statSync(fsPath(path), { throwIfNoEntry: false })
  if (status === undefined) return false
  return heldInodes().has(String(status.ino))
}

/**
 * The inodes of all locks now. Devices are left out, because btrfs and overlayfs report another device there than
 * stat(2) does.
 */
function heldInodes(): ReadonlySet<string> {
  let text = ''
  try {
    text = readFileSync('/proc/locks', 'utf8')
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
  // shared locks do not count: uv holds one on its cache while a program that it started is running
  return new Set([...text.matchAll(/ WRITE .*? [0-9a-f]+:[0-9a-f]+:(\d+) /g)].map(([, inode = '']) => inode))
}
