// Copies of the environment that is measured. Only one exists at a time, because a large environment has gigabytes.
import { lstatSync, rmSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { runWell } from '../test/support/run.ts'
import type { World } from '../test/world/world.ts'
import { files } from './peers.ts'
import { mega } from './table.ts'

/** A peer writes new files before it removes the old ones, and all ways make files grow. */
const ROOM = 1.1

/** The bytes of all files of a folder. */
export function totalSize(folder: string): number {
  return files(folder).reduce((sum, path) => sum + lstatSync(path).size, 0)
}

/**
 * Makes a copy, waits until it is on the disk, and removes it after `use`.
 * @param size the bytes of the original
 * @throws Error if the disk has no room for the copy
 */
export function withCopy<Result>(world: World, original: string, size: number, use: (copy: string) => Result): Result {
  const { bavail, bsize } = statfsSync(world.root)
  if (bavail * bsize < size * ROOM) {
    throw new Error(`${world.root} has ${mega(bavail * bsize)} left; a copy needs ${mega(size * ROOM)}`)
  }
  const copy = join(world.root, 'copy')
  try {
    runWell('cp', ['-a', original, copy])
    runWell('sync', ['-f', world.root])
    return use(copy)
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}
