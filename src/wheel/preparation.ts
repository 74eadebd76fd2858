// What all wheels of a run share: the Python that they are for, and the libraries that may serve them.
import { join, resolve } from 'node:path'
import { readConfig } from '../config/config.ts'
import { diskTree } from '../ldso/file-tree.ts'
import { isFhsLoader, nixLdLibc } from '../ldso/libc.ts'
import { storeDirectory } from '../nix/store.ts'
import { findInterpreter } from '../python/interpreter.ts'
import { targetPython } from '../python/named.ts'
import { isInside } from '../io/path.ts'
import { type PythonProcess, startPython } from '../resolve/python-process.ts'
import { librarySources } from '../resolve/library-sources.ts'
import type { WheelContext } from './fix-wheel.ts'
import type { WheelOptions } from './wheel-report.ts'

/** What all wheels of a run share. */
export interface Preparation {
  readonly context: WheelContext
  /** Globs of sonames that are not reported as missing. */
  readonly ignored: readonly string[]
  /** Globs of entries that are not examined. */
  readonly ignoredPaths: readonly string[]
  /** The sonames to ask the store for: one question for several sonames is faster. */
  readonly wanted: Set<string>
  readonly warnings: string[]
}

/**
 * Finds the Python, its libraries and the configuration.
 * @throws WheelfixError when there is no Python, or no library directory with a given name
 */
export function prepareWheels(options: WheelOptions): Preparation {
  const { env, cwd } = options
  const store = storeDirectory(env)
  // the sonames of all wheels that are open at the first question to the store
  const wanted = new Set<string>()
  const interpreter = findInterpreter(targetPython(options.python, env, cwd))
  const python = startPython(interpreter, diskTree(), store, env)
  const config = readConfig(join(resolve(cwd), '.venv'))
  const { named, sources } = librarySources(python, options, wanted, config)
  const programs = options.interpreter ?? config.interpreter
  const nixLd = programs === 'nix-ld' ? nixLdLibc(interpreter.object, env) : null
  const programInterpreter = nixLd?.nixLd?.shim ?? (isFhsLoader(interpreter.interp) ? null : interpreter.interp)
  return {
    context: { python, sources, programInterpreter, nixLd },
    wanted,
    ignored: [...options.ignoreMissing, ...config.ignoreMissing],
    ignoredPaths: options.mode === 'restore' ? [] : [...options.ignore, ...config.ignore],
    warnings: [...named.warnings, ...(options.mode === 'restore' ? [] : foreignPython(python, store))],
  }
}

/** A Python of an ordinary distribution finds its libraries in /usr/lib. The user most likely meant another Python. */
function foreignPython({ interpreter, libc }: PythonProcess, store: string): string[] {
  if (isInside(libc.dir, store)) return []
  return [
    `${interpreter.program} is not a Nix Python: it searches the system's own folders, so wheels need no patch for it. ` +
      'Name the Python that the wheels are for with --python',
  ]
}
