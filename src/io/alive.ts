// Which processes of this machine are alive. A process number alone is not enough. Each container has its own process
// 1, the kernel reuses numbers, and after a boot they start from the beginning.
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import { errnoOf } from './error.ts'

/** What identifies a process to other processes. */
export interface ProcessIdentity {
  readonly pid: number
  /** The name of its pid namespace, `pid:[4026531836]`; null where /proc does not give it. */
  readonly namespace: string | null
  /** The kernel's name of the boot; null where /proc does not give it. */
  readonly boot: string | null
  /** Distinguishes another boot of this machine from another machine. */
  readonly host: string
  /** When it started, in clock ticks since the boot; null where /proc does not give it. */
  readonly start: string | null
}

/** The identity of this process. */
export function ownIdentity(): ProcessIdentity {
  return {
    pid: process.pid,
    namespace: orNull(() => readlinkSync('/proc/self/ns/pid')),
    boot: orNull(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    host: hostname(),
    start: startOf(process.pid),
  }
}

/** Is that process alive? null: unknown, because it is in a namespace or on a machine that cannot be inspected. */
export function isRunning({ pid, namespace, boot, host, start }: ProcessIdentity): boolean | null {
  const own = ownIdentity()
  if (boot !== own.boot) return boot !== null && own.boot !== null && host === own.host ? false : null
  if (namespace !== own.namespace) return null
  const now = startOf(pid)
  // a process with that number but another start time is another process
  if (now !== null && start !== null) return now === start
  return isAlive(pid)
}

/** Does another process with this number exist? */
export function isAlive(pid: number): boolean {
  if (pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errnoOf(error) === 'EPERM'
  }
}

/**
 * Field 22 of /proc/PID/stat (proc_pid_stat(5)); field 2, the name of the program, may hold spaces and parentheses.
 */
function startOf(pid: number): string | null {
  return orNull(() => {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null
  })
}

function orNull<T>(read: () => T): T | null {
  try {
    return read()
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}
