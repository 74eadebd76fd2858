// The programs of an environment: which of them count, and which loader each one gets.
import { directoryOf, fileNameOf, isInside } from '../io/path.ts'
import { canBeOpened } from '../ldso/file-tree.ts'
import { fits } from '../ldso/fits.ts'
import { isFhsLoader, type Libc } from '../ldso/libc.ts'
import type { ScannedObject } from './objects.ts'
import type { PythonProcess } from './python-process.ts'

/** The facts that decide which loader a program gets. */
export interface ProgramLoaders {
  readonly python: PythonProcess
  /**
   * The loader for programs that ask for the loader of an ordinary distribution; null when such programs stay as they are.
   */
  readonly programInterpreter: string | null
  /** The libc behind nix-ld when `programInterpreter` is nix-ld; else null. */
  readonly nixLd: Libc | null
  /** The folder that holds all store paths. */
  readonly store: string
}

/**
 * Is this a program that a wheel starts by itself? A program in the environment's `bin` is one, because entry points are
 * there. A program in a package is one when the kernel can start it: it names its loader and has the execute permission,
 * which installers keep from the wheel. Static programs need nothing, so they never matter here.
 */
export function isStarted({ path, status, original }: ScannedObject, bin: string): boolean {
  return directoryOf(path) === bin || (original.ptInterp !== null && (status.mode & 0o111) !== 0)
}

/**
 * The new PT_INTERP of a program, or null when it keeps its own. wheelfix replaces the loader that an ordinary distribution
 * has for this machine and libc. It also replaces a loader of the same name that the store no longer has. Any other loader
 * stays, even when it does not exist here (/system/bin/linker64 of Android, the one of uClibc, one for another machine):
 * only that loader can run the program.
 */
export function newPtInterp(object: ScannedObject, loaders: ProgramLoaders): string | null {
  const { python, programInterpreter, store } = loaders
  const own = object.original.ptInterp
  if (programInterpreter === null || object.kind !== 'executable' || own === null || own === programInterpreter)
    return null
  if (!fits(object.original, python.interpreter.object)) return null
  const { ldso: loader, kind } = loaders.nixLd ?? python.libc
  const name = commonName(own)
  // before 2.34 the file of glibc's loader had its version as its name, on every machine
  const isVersioned = kind === 'glibc' && /^ld-2\.\d+(?:\.\d+)?\.so$/.test(name)
  if (!isVersioned && name !== commonName(programInterpreter) && name !== commonName(loader)) return null
  const gone = isInside(own, store) && !canBeOpened(python.loader.tree.open(own))
  return isFhsLoader(own) || gone ? programInterpreter : null
}

/**
 * The loader's file name, which identifies libc, machine and ABI. The Linux Standard Base has its own name for the loader.
 */
function commonName(loader: string): string {
  const name = fileNameOf(loader)
  const lsb = /^ld-lsb(?<machine>-[^.]+)?\.so\.\d+$/.exec(name)
  return lsb === null ? name : `ld-linux${lsb.groups?.['machine'] ?? ''}.so.2`
}
