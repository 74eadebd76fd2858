// Why an environment that was found is not patched without being named: it is being written, is somebody else's, or lies on
// a disk of another machine.
import { lstatSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { errnoOf } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import type { ToolPlace } from './places.ts'

/** f_type of file systems whose files lie elsewhere (statfs(2), linux/magic.h). */
const REMOTE: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
  [0x01021997, '9P'],
  [0x00c36400, 'Ceph'],
  [0x5346414f, 'AFS'],
  [0x65735546, 'FUSE'],
])

/** The reason, in the second half of a sentence; null where it may be patched. */
export function reasonAgainst({ tool, root, locks }: ToolPlace): string | null {
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

let inodes: ReadonlySet<string> | undefined

/** The inodes of all locks, read once. Devices are left out: what btrfs and overlayfs say there is not what stat(2) says. */
function heldInodes(): ReadonlySet<string> {
  if (inodes !== undefined) return inodes
  let text = ''
  try {
    text = readFileSync('/proc/locks', 'utf8')
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
  // a shared lock is uv's on its cache for as long as a program runs that it started
  inodes = new Set([...text.matchAll(/ WRITE .*? [0-9a-f]+:[0-9a-f]+:(\d+) /g)].map(([, inode = '']) => inode))
  return inodes
}
