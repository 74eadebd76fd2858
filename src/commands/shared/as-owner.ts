// Runs as root in another user's venv. The owner of the venv may put links at the paths to which wheelfix writes. With
// root's rights such a write could reach every file of the machine. So the process takes the owner's rights for good, and
// so do the programs that it starts.
import { userInfo } from 'node:os'
import { errnoOf } from '../../io/error.ts'
import { linkStatusOf } from '../../io/path.ts'
import type { Environment } from '../../python/environment.ts'

/** The owner of files whose user the user namespace does not know (kernel.overflowuid). */
const OVERFLOW_UID = 65_534

/**
 * Takes the rights of the venv's owner, when root runs this and the owner is another user. Root stays root in three cases:
 * the user asks for it, root may not change its rights (a container without CAP_SETUID), or folders in the venv do not
 * belong to the owner. In the last case root installed into a folder of a user, and only root can change the files.
 */
export function workAsOwner(venv: Environment, asRoot = false): void {
  if (asRoot || process.geteuid?.() !== 0) return
  const owner = linkStatusOf(venv.root)
  if (owner === null || owner.uid === 0 || owner.uid === OVERFLOW_UID) return
  if (venv.walk.some(folder => linkStatusOf(folder)?.uid !== owner.uid)) return
  try {
    const user = userOf(owner.uid)
    // the group of the folder may be root
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

/** The environment, with the rights of its owner. The state of a folder is kept in its owner's home, not in root's. */
export function foundAsOwner(find: () => Environment, asRoot = false): Environment {
  const environment = find()
  workAsOwner(environment, asRoot)
  return environment.kind === 'venv' ? environment : find()
}

/** The user of this number; null when the user database does not know it. @throws EPERM, EINVAL as seteuid(2) does */
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
