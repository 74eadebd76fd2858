// Root in somebody else's venv: whoever owns the venv may put links in the way of what is written there, and with root's rights
// that reaches every file of the machine. So root becomes the owner, for good, and so do the programs that it starts.
import { lstatSync, type Stats } from 'node:fs'
import { userInfo } from 'node:os'
import { errnoOf } from '../../io/error.ts'
import { fsPath } from '../../io/path.ts'
import type { Environment } from '../../python/environment.ts'

/** The owner of files whose user a user namespace does not know (kernel.overflowuid). */
const OVERFLOW_UID = 65_534

/**
 * Takes the rights of the venv's owner, where root runs this and the owner is somebody else. Root stays root where it is told
 * to, where it may not change (a container without CAP_SETUID), and where folders in the venv are not the owner's: what root
 * installed into a folder of a user, only root can change.
 */
export function workAsOwner(venv: Environment, asRoot = false): void {
  if (asRoot || process.geteuid?.() !== 0) return
  const owner = statusOf(venv.root)
  if (owner === null || owner.uid === 0 || owner.uid === OVERFLOW_UID) return
  if (venv.walk.some(folder => statusOf(folder)?.uid !== owner.uid)) return
  try {
    const user = userOf(owner.uid)
    // the group of a folder may be root's
    const group = user?.gid ?? (owner.gid === 0 ? owner.uid : owner.gid)
    process.setgroups?.([group])
    process.setgid?.(group)
    process.setuid?.(owner.uid)
    if (user !== null) process.env['HOME'] = user.homedir
  } catch (error) {
    const errno = errnoOf(error)
    if (errno !== 'EPERM' && errno !== 'EINVAL') throw error
  }
}

/** The environment, with the rights of its owner: what belongs to a folder is kept in its owner's home, not in root's. */
export function foundAsOwner(find: () => Environment, asRoot = false): Environment {
  const environment = find()
  workAsOwner(environment, asRoot)
  return environment.kind === 'venv' ? environment : find()
}

/** The user of that number; null where the user database does not know it. @throws EPERM, EINVAL as seteuid(2) does */
function userOf(uid: number): { readonly gid: number; readonly homedir: string } | null {
  process.seteuid?.(uid)
  try {
    return userInfo({ encoding: 'utf8' })
  } catch {
    return null
  } finally {
    process.seteuid?.(0)
  }
}

function statusOf(path: string): Stats | null {
  try {
    return lstatSync(fsPath(path))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}
