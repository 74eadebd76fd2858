// The programs of an environment: which of them count, and which loader they get.
import { directoryOf, fileNameOf, isInside } from '../io/path.ts'
import { isThere } from '../ldso/file-tree.ts'
import { fits } from '../ldso/fits.ts'
import { isFhsLoader, type Libc } from '../ldso/libc.ts'
import type { ScannedObject } from './objects.ts'
import type { PythonProcess } from './python-process.ts'

/** What decides which loader a program gets. */
export interface ProgramLoaders {
  readonly python: PythonProcess
  /** The loader for programs that ask for that of an ordinary distribution; null: they are left alone. */
  readonly programInterpreter: string | null
  /** The libc behind nix-ld, where `programInterpreter` is nix-ld; else null. */
  readonly nixLd: Libc | null
  /** The folder of all store paths. */
  readonly store: string
}

/**
 * Is it a program that a wheel starts by itself? One in the environment's `bin` is (entry points are there), and one in a
 * package that the kernel can start as it was installed: it names its loader and has the permission to be executed, which
 * installers keep from the wheel. Static programs need nothing, so they never matter here.
 */
export function isStarted({ path, status, original }: ScannedObject, bin: string): boolean {
  return directoryOf(path) === bin || (original.ptInterp !== null && (status.mode & 0o111) !== 0)
}

/**
 * The new PT_INTERP of a program, or null when it keeps its own. Replaced are the loader that an ordinary distribution has
 * for this machine and libc, and one of the same name that is gone from the store. The loader of another system (Android's
 * /system/bin/linker64, uClibc's, another machine's) stays, though it does not exist here: no other loader can run that
 * program.
 */
export function interpreterOf(object: ScannedObject, loaders: ProgramLoaders): string | null {
  const { python, programInterpreter, store } = loaders
  const own = object.original.ptInterp
  if (programInterpreter === null || object.kind !== 'executable' || own === null || own === programInterpreter)
    return null
  if (!fits(object.original, python.interpreter.object)) return null
  const { ldso: loader } = loaders.nixLd ?? python.libc
  const name = commonName(own)
  if (name !== commonName(programInterpreter) && name !== commonName(loader)) return null
  const gone = isInside(own, store) && !isThere(python.loader.tree.open(own))
  return isFhsLoader(own) || gone ? programInterpreter : null
}

/** The loader's file name, which tells libc, machine and ABI apart; the Linux Standard Base has a name of its own for it. */
function commonName(loader: string): string {
  const name = fileNameOf(loader)
  const lsb = /^ld-lsb(?<machine>-[^.]+)?\.so\.\d+$/.exec(name)
  return lsb === null ? name : `ld-linux${lsb.groups?.['machine'] ?? ''}.so.2`
}
