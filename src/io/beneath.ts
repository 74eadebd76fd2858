// Opens files in a folder that somebody else may have filled: an unpacked archive, or a folder that several users write
// to. A name there may be a link to anywhere, a FIFO that never ends, a device, or a file of any size. This file opens
// only regular files below the folder, up to a size that the reader states.
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { decodeBytes } from '../elf/text.ts'
import { errnoAt, errnoOf } from './error.ts'
import { filled, withMemory } from './memory.ts'
import { fsPath } from './path.ts'

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants

/**
 * Opens a file below a folder and follows no link below the folder. The path of the folder itself may have links. Uses
 * openat(2) by way of /proc/self/fd, so nobody can replace a component by a link between the check and the use.
 * @param path relative, without `..`
 * @returns null for a path that does not exist, is not a regular file, or is not below the folder
 */
export function openBeneath(folder: string, path: string): number | null {
  const names = path.split('/')
  if (names.some(name => name === '' || name === '.' || name === '..')) return null
  try {
    let fd = openSync(fsPath(folder), O_RDONLY | O_DIRECTORY)
    for (const [index, name] of names.entries()) {
      const isLast = index === names.length - 1
      const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (isLast ? 0 : O_DIRECTORY)
      try {
        const next = openSync(fsPath(`/proc/self/fd/${fd}/${name}`), flags)
        closeSync(fd)
        fd = next
      } catch (error) {
        closeSync(fd)
        throw error
      }
    }
    if (fstatSync(fd).isFile()) return fd
    closeSync(fd)
    return null
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

/**
 * The content of a file below a folder; null in the cases of `openBeneath`, and for a file of more than `limit` bytes.
 */
export function readBeneath(folder: string, path: string, limit: number): Buffer | null {
  const fd = openBeneath(folder, path)
  if (fd === null) return null
  try {
    return readBounded(fd, limit)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  } finally {
    closeSync(fd)
  }
}

/**
 * The content of a regular file of at most `limit` bytes; null for anything else. Links to it are followed, because
 * package managers link the files that they install.
 * @param name the path to name in an error
 * @throws WheelfixError `IO` when the system cannot say what is there
 */
export function readRegular(path: string, limit: number, name = path): Buffer | null {
  return withRegular(path, name, fd => readBounded(fd, limit))
}

/** As `readRegular`, with one character for each byte; empty for anything else. */
export function readRegularLatin1(path: string, limit: number, name = path): string {
  return withRegular(path, name, fd => decodeBounded(fd, limit, bytes => bytes.toString('latin1'))) ?? ''
}

function withRegular<Result>(path: string, name: string, use: (fd: number) => Result | null): Result | null {
  const nothing = (error: unknown): null => {
    errnoAt(name, error)
    return null
  }
  let fd: number
  try {
    fd = openSync(fsPath(path), O_RDONLY | O_NONBLOCK)
  } catch (error) {
    return nothing(error)
  }
  try {
    return fstatSync(fd).isFile() ? use(fd) : null
  } catch (error) {
    return nothing(error)
  } finally {
    closeSync(fd)
  }
}

/** The text of a regular file, read as by `readRegular`; empty for anything else. elf/text.ts says how it is decoded. */
export function readRegularText(path: string, limit: number): string {
  return withRegular(path, path, fd => decodeBounded(fd, limit, decodeBytes)) ?? ''
}

function readBounded(fd: number, limit: number): Buffer | null {
  const { size } = fstatSync(fd)
  return size > limit ? null : filled(fd, Buffer.alloc(size))
}

/** @param decode makes something of the bytes, whose memory is only lent */
function decodeBounded(fd: number, limit: number, decode: (bytes: Buffer) => string): string | null {
  const { size } = fstatSync(fd)
  return size > limit ? null : withMemory(size, bytes => decode(filled(fd, bytes)))
}
