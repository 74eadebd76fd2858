// Makes sure that written bytes are on the disk. A rename may reach the disk before the bytes of the renamed file. After
// a power loss the file is then empty. wheelfix never syncs the whole file system, because that would also write out an 8
// GB install that has just ended.
import { closeSync, constants, fdatasyncSync, openSync, statfsSync } from 'node:fs'
import { errnoOf } from '../error.ts'
import { fsPath } from '../path.ts'

/** `f_type` of statfs(2), as linux/magic.h names it. */
const EXT4_SUPER_MAGIC = 0xef53

/**
 * Does the file system write the new blocks of a file before a rename, if the file replaces another one? ext4 does
 * (auto_da_alloc, the default, Documentation/admin-guide/ext4.rst). btrfs begins to write them, but a commit of the names
 * may come first (fs/btrfs/inode.c, btrfs_rename). xfs does not begin. No file system does it for a new name.
 */
export function ordersReplacement(path: string): boolean {
  try {
    return statfsSync(fsPath(path)).type === EXT4_SUPER_MAGIC
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

/** Waits until the bytes of a regular file are on the disk. @throws the errors of open(2) and fdatasync(2) */
export function syncFile(path: string): void {
  const fd = openSync(fsPath(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    fdatasyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
