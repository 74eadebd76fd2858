// Which processes of this machine are alive.
import { errnoOf } from './error.ts'

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
