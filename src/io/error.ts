// The error that ends a command with status 2: it holds a sentence for the user and a code for programs.

/**
 * The problems that can occur before any object is examined. `LIBS_*` is about the library set, `VENV_*` about the
 * venv.
 */
export type WheelfixErrorCode =
  | 'USAGE'
  | 'VENV_NOT_FOUND'
  | 'VENV_INVALID'
  | 'PATH_REFUSED'
  | 'PYTHON_NOT_FOUND'
  | 'PYTHON_UNSUPPORTED'
  | 'LOADER_NOT_FOUND'
  | 'LIBC_UNSUPPORTED'
  | 'LIBS_NOT_FOUND'
  | 'LIBS_EMPTY'
  | 'LIBS_NOT_IN_STORE'
  | 'CONFIG_INVALID'
  | 'WHEEL_INVALID'
  | 'BUSY'
  | 'INTERRUPTED'
  | 'IO'

/** An error with a sentence that names what is wrong, where, and what to do; printed without a stack trace. */
export class WheelfixError extends Error {
  override readonly name = 'WheelfixError'
  readonly code: WheelfixErrorCode
  readonly path: string | undefined

  constructor(code: WheelfixErrorCode, message: string, path?: string) {
    super(message)
    this.code = code
    this.path = path
  }
}

/** The error for a file that is not as the run found it any more. @param path null where the caller names it */
export function changedMeanwhile(path: string | null): WheelfixError {
  return new WheelfixError('BUSY', 'another program changed it during this run: run wheelfix again', path ?? undefined)
}

/**
 * The errno name of a failed call of node:fs (`ENOENT`, or Node's own `ERR_…`); undefined for wheelfix's own errors.
 */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined
  const { code } = error
  // writeSync reports UNKNOWN for an error number without a name in libuv
  if (code === 'UNKNOWN' && 'errno' in error && typeof error.errno === 'number') return errnoName(-error.errno)
  const number = /^Unknown system error -(\d+)$/.exec(code)?.[1]
  if (number !== undefined) return errnoName(Number(number))
  return code.startsWith('E') ? code : undefined
}

/**
 * Errors that say nothing about what is at a path: the disk, the memory or the table of files failed, and the next call may
 * succeed. Taken for "nothing is there", such an error would become a wrong answer that is written down. (ENOTCONN of an
 * abandoned mount is not such an error: it lasts, and the loader gets it too.)
 */
const UNKNOWING: ReadonlySet<string> = new Set(
  'EIO EREMOTEIO ESTALE EUCLEAN EBADMSG ENOMEM EMFILE ENFILE EAGAIN EINTR ETIMEDOUT'.split(' '),
)

/**
 * The errno name of a failed call about `path`, for a caller that takes such a path for absent.
 * @throws the error itself when no call of node:fs failed; WheelfixError `IO` when the system cannot say what is there
 */
export function errnoAt(path: string, error: unknown): string {
  const errno = errnoOf(error)
  if (errno === undefined) throw error
  if (!UNKNOWING.has(errno)) return errno
  throw new WheelfixError('IO', `${path}: ${systemReason(errno)}`, path)
}

/** Why the system refused to read or write, and what to do, for each errno that a user can do something about. */
const SYSTEM_REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: free some space and run wheelfix again',
  EDQUOT: 'your disk quota is used up: free some space and run wheelfix again',
  EROFS: 'the file system is read-only: mount it writable and run wheelfix again',
  ENOENT: 'it does not exist',
  EACCES: 'you have no permission for this: run wheelfix as the owner of the folder',
  EPERM:
    'the system does not permit it: the file or folder may be immutable (lsattr, chattr -i) or belong to another user',
  ETXTBSY: 'the program is running: end it and run wheelfix again',
  EIO: 'the disk reports an error: look at dmesg',
  EUCLEAN: 'the file system is damaged: run fsck',
  EBADMSG: 'the file system is damaged: run fsck',
  ESTALE: 'the file server does not know the file any more: run wheelfix again',
  EREMOTEIO: 'the file server reports an error: run wheelfix again',
  ETIMEDOUT: 'the file server did not answer in time: run wheelfix again',
  EAGAIN: 'the system could not answer at once: run wheelfix again',
  EINTR: 'the system was interrupted: run wheelfix again',
  ERR_ACCESS_DENIED: "Node's permission model forbids this: run wheelfix without --permission (NODE_OPTIONS)",
  EMFILE: 'too many open files: raise the limit (ulimit -n)',
  ENFILE: 'too many files are open on this machine: end some programs and run wheelfix again',
  ENOMEM: 'there is not enough memory: end some programs and run wheelfix again',
}

/** The second half of a message about a file: why the system refused, and what to do. `errno` is the name of the error. */
export function systemReason(errno: string): string {
  return SYSTEM_REASONS[errno] ?? `the system says ${errno}`
}

function errnoName(number: number): string {
  return UNNAMED[number] ?? `E${number}`
}

/** Names that libuv does not know, by their numbers in Linux's asm-generic/errno.h (mips and sparc have others). */
const UNNAMED: Readonly<Record<number, string>> = {
  61: 'ENODATA',
  74: 'EBADMSG',
  116: 'ESTALE',
  117: 'EUCLEAN',
  122: 'EDQUOT',
  123: 'ENOMEDIUM',
  126: 'ENOKEY',
  127: 'EKEYEXPIRED',
}
