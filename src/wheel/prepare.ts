// What is the same for all wheels of a run: the Python that they are for, and the libraries that may serve them.
import { existsSync, statSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { readConfig } from '../config/config.ts'
import { WheelfixError } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { diskTree } from '../ldso/file-tree.ts'
import { isFhsLoader, nixLdLibc } from '../ldso/libc.ts'
import { namedDirectories } from '../nix/libset.ts'
import { storeDirectory } from '../nix/store.ts'
import { type PythonEnvironment, stateFolderIn } from '../python/environment.ts'
import { findInterpreter } from '../python/interpreter.ts'
import { findVenv } from '../python/pyvenv.ts'
import type { ProviderSources } from '../resolve/providers.ts'
import { startPython } from '../resolve/python-process.ts'
import { scanSources } from '../resolve/scan-sources.ts'
import type { WheelContext } from './fix-wheel.ts'
import type { WheelOptions } from './report.ts'

/** What is the same for all wheels of a run. */
export interface Preparation {
  readonly context: WheelContext
  /** Globs of sonames that are not reported. */
  readonly ignored: readonly string[]
  /** Globs of entries that are not looked at. */
  readonly ignoredPaths: readonly string[]
  /** The sonames that the store may be asked for: it answers several at once faster. */
  readonly wanted: Set<string>
  readonly warnings: string[]
}

export function prepare(options: WheelOptions): Preparation {
  const { env, cwd } = options
  const store = storeDirectory(env)
  // those of the wheels that are open when the store is first asked
  const wanted = new Set<string>()
  const interpreter = findInterpreter(targetPython(options.python, env, cwd))
  const python = startPython(interpreter, diskTree(), store, env)
  const config = readConfig(join(resolve(cwd), '.venv'))
  const named = namedDirectories({ flags: options.libs, config: config.libs, closure: python.closure, env, cwd, store })
  const sources: ProviderSources = {
    directories: named.directories,
    pins: new Map(),
    ...scanSources(python, { ...options, noScan: options.noScan || config.noScan }, wanted),
    store,
  }
  const programs = options.interpreter ?? config.interpreter
  const nixLd = programs === 'nix-ld' ? nixLdLibc(interpreter.object, env) : null
  const programInterpreter = nixLd?.nixLd?.shim ?? (isFhsLoader(interpreter.interp) ? null : interpreter.interp)
  return {
    context: { python, sources, programInterpreter, nixLd },
    wanted,
    ignored: [...options.ignoreMissing, ...config.ignoreMissing],
    ignoredPaths: options.mode === 'restore' ? [] : [...options.ignore, ...config.ignore],
    warnings: [...named.warnings],
  }
}

/** The Python that is named; without a name that of the venv, as for the other commands, else `python3` on PATH. */
export function targetPython(named: string | undefined, env: NodeJS.ProcessEnv, cwd: string): PythonEnvironment {
  if (named === undefined) {
    try {
      return findVenv({ env, cwd })
    } catch (error) {
      if (!(error instanceof WheelfixError) || error.code !== 'VENV_NOT_FOUND') throw error
      return targetPython('python3', env, cwd)
    }
  }
  // a name without a slash is a program of PATH, unless it is a folder: --python .venv
  const folder = statSync(fsPath(resolve(cwd, named)), { throwIfNoEntry: false })?.isDirectory() === true
  const path = folder || named.includes('/') ? resolve(cwd, named) : onPath(named, env)
  if (path === null || !existsSync(fsPath(path))) {
    throw new WheelfixError(
      'PYTHON_NOT_FOUND',
      `there is no Python ${named}: name the one that the wheel is for (--python .venv, --python /nix/store/…/bin/python3)`,
      named,
    )
  }
  if (statSync(fsPath(path)).isDirectory()) {
    if (existsSync(fsPath(join(path, 'pyvenv.cfg')))) return findVenv({ argument: path, env, cwd })
    return bare(join(path, 'bin/python3'))
  }
  const root = dirname(dirname(path))
  return existsSync(fsPath(join(root, 'pyvenv.cfg')))
    ? { ...findVenv({ argument: root, env, cwd }), python: path }
    : bare(path)
}

function onPath(program: string, env: NodeJS.ProcessEnv): string | null {
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program)
    if (folder !== '' && existsSync(fsPath(path))) return path
  }
  return null
}

/** An interpreter without a venv, as a venv of nothing else. */
function bare(python: string): PythonEnvironment {
  const bin = dirname(python)
  const root = dirname(bin)
  return {
    kind: 'python',
    root,
    stateFolder: stateFolderIn(root),
    config: new Map(),
    home: bin,
    python,
    systemSitePackages: false,
    sitePackages: [],
    bin,
    walk: [],
  }
}
