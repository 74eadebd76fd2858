// Which files some process of this machine has open or mapped, by their inode numbers. The answer is complete only for root
// outside any container: nobody else sees every process. The caller asks again after it has changed the headers of files,
// and cuts off only what nobody can have read before.
//
// What a process has in use passes to another one by fork(2). So the search goes on until a whole pass over the tasks meets
// no new one. Descriptors come before mappings, because a loader maps a file before it closes it.
//
// Only inode numbers are compared. The device of a mapping is another one than stat(2) gives on an overlay that has
// the file in one of its layers. A file that only has the same number counts as in use, which costs a copy.
import { lstatSync, readdirSync, readFileSync, readlinkSync, statfsSync } from 'node:fs'
import { errnoOf } from '../io/error.ts'
import { fsPath } from '../io/path.ts'

/**
 * On these file systems (`f_type` of statfs(2), linux/magic.h) every user of a file is a process of this machine. After a
 * power loss, they have the new size of one file if they have a later removal of another. btrfs does not: its log may have
 * the removal alone (fs/btrfs/tree-log.c, btrfs_del_dir_entries_in_log). It copies by reference, which costs little.
 */
const ORDERED: ReadonlySet<number> = new Set([
  // ext4
  0xef53,
  // xfs
  0x58465342,
  // tmpfs
  0x01021994,
])

/** Is a folder on a file system whose files may be cut? @throws the errors of statfs(2) */
export function isOnLocalDisk(path: string): boolean {
  return ORDERED.has(statfsSync(fsPath(path)).type)
}

/** The first namespaces of a machine (linux/proc_ns.h, PROC_PID_INIT_INO and PROC_USER_INIT_INO). */
const FIRST_PIDS = 'pid:[4026531836]'
const FIRST_USERS = 'user:[4026531837]'
/** CAP_SYS_PTRACE of capabilities(7): a process with it may read the /proc files of every other process. */
const SYS_PTRACE = 1n << 19n

/** Does this process see every process of the machine? */
export function seesAllProcesses(): boolean {
  if (process.geteuid?.() !== 0) return false
  try {
    return (
      readlinkSync('/proc/self') === String(process.pid) &&
      readlinkSync('/proc/self/ns/pid') === FIRST_PIDS &&
      readlinkSync('/proc/self/ns/user') === FIRST_USERS &&
      hasCapability(readFileSync('/proc/self/status', 'latin1'), SYS_PTRACE) &&
      !hidesProcesses(readFileSync('/proc/self/mountinfo', 'latin1'))
    )
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

function hasCapability(status: string, capability: bigint): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1]
  return effective !== undefined && (BigInt(`0x${effective}`) & capability) !== 0n
}

/** Is /proc mounted with an option that leaves out processes (proc(5), `hidepid` and `subset`)? */
function hidesProcesses(mountinfo: string): boolean {
  return mountinfo.split('\n').some(line => line.split(' ')[4] === '/proc' && /\b(?:hidepid|subset)=/.test(line))
}

/** The number of tasks of the machine (proc_loadavg(5)); null where it is unknown. */
export function taskCount(): number | null {
  try {
    const count = /\/(\d+) /.exec(readFileSync('/proc/loadavg', 'latin1'))?.[1]
    return count === undefined ? null : Number(count)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

/** On a machine that starts processes faster than this program lists them, the search gives up. */
const MOST_PASSES = 20

/**
 * Those of the files that a process has open or mapped.
 * @param inodes inode numbers, decimal
 * @returns null when one process cannot be read, or when the processes change too fast
 */
export function filesInUse(inodes: ReadonlySet<string>): ReadonlySet<string> | null {
  const found = new Set<string>()
  const seen = new Set<string>()
  const add = (inode: string | undefined): void => {
    if (inode !== undefined && inodes.has(inode)) found.add(inode)
  }
  try {
    for (let pass = 0; pass < MOST_PASSES; pass++) {
      const before = seen.size
      for (const name of readdirSync('/proc')) if (isNumber(name)) lookAt(`/proc/${name}`, seen, add)
      if (seen.size === before) return found
    }
    return null
  } catch (error) {
    // EACCES: a security module hides the process
    if (error instanceof Unknown || errnoOf(error) !== undefined) return null
    throw error
  }
}

function isNumber(name: string): boolean {
  const first = name.charCodeAt(0)
  return first >= 48 && first <= 57
}

/** What a process has in use cannot be told. */
class Unknown extends Error {}

/** Looks at the tasks of a process that are not `seen` yet. Each may have descriptors of its own (unshare(2)). */
function lookAt(folder: string, seen: Set<string>, add: (inode: string | undefined) => void): void {
  const tasks = orGone(() => readdirSync(`${folder}/task`)) ?? []
  let isNew = false
  for (const task of tasks) {
    const path = `${folder}/task/${task}`
    // the inode of the folder is another one when another task has the number
    const identity = orGone(() => `${task}:${lstatSync(path).ino}`)
    if (identity === null || seen.has(identity)) continue
    seen.add(identity)
    isNew = true
    addOpen(path, add)
  }
  if (isNew) addMapped([folder, ...tasks.map(task => `${folder}/task/${task}`)], add)
}

/** The links of descriptors that are not files. */
const NO_FILE = /^(?:socket|pipe|anon_inode):/

function addOpen(task: string, add: (inode: string | undefined) => void): void {
  for (const fd of orGone(() => readdirSync(`${task}/fd`)) ?? []) {
    const target = orGone(() => readlinkSync(`${task}/fd/${fd}`))
    if (target === null || NO_FILE.test(target)) continue
    // not stat(2), which waits for a file server that does not answer
    const text = orGone(() => readFileSync(`${task}/fdinfo/${fd}`, 'latin1'))
    if (text === null) continue
    const inode = /^ino:\t(\d+)$/m.exec(text)?.[1]
    // before Linux 5.14
    if (inode === undefined) throw new Unknown()
    add(inode)
  }
}

/** @param folders those of the process and its tasks: once the first task has ended, only the others show the mappings */
function addMapped(folders: readonly string[], add: (inode: string | undefined) => void): void {
  for (const folder of folders) {
    const maps = orGone(() => readFileSync(`${folder}/maps`, 'latin1')) ?? ''
    for (const [, inode] of maps.matchAll(/^\S+ \S+ \S+ \S+ ([1-9]\d*)/gm)) add(inode)
    if (maps !== '') return
  }
}

/** null where the task has ended, or has closed the file. @throws the other errors of /proc */
function orGone<Result>(read: () => Result): Result | null {
  try {
    return read()
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT' || errno === 'ESRCH') return null
    throw error
  }
}
