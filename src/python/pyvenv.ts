// What a venv is and where it is: pyvenv.cfg (PEP 405), its folders, and the rule that finds a venv when the user names
// none. This file runs nothing and follows no link out of the venv.
import { accessSync, constants, existsSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { readRegular } from '../io/beneath.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { exists, fsPath, isFolder, isInside, listDirectory, realPath } from '../io/path.ts'
import { type Environment, isVenv, stateFolderIn } from './environment.ts'
import { adviceWithoutVenv, searchVenv } from './search-venv.ts'

import { checkStateFolder } from './state-folder.ts'

/** A virtual environment. `python` is bin/python, or bin/python3 where bin/python does not exist. */
interface Venv extends Environment {
  readonly kind: 'venv'
  readonly python: string
}

/** The input of the search for a venv. */
interface VenvQuestion {
  /** The folder that the user names; without it $VIRTUAL_ENV, then the result of search-venv.ts. */
  readonly argument?: string | undefined
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  /** The command that needs the venv, for advice, with DIR in the place of the folder. */
  readonly usage?: string
}

/** The size limit in bytes. A real pyvenv.cfg has about 500. */
const LARGEST_CONFIG = 1 << 20

/**
 * Finds and reads the venv.
 * @throws WheelfixError `VENV_NOT_FOUND` when there is none, or the folder is something else; `VENV_INVALID` when its
 * pyvenv.cfg is broken or cannot be read
 */
export function findVenv({ argument, env, cwd, usage = 'wheelfix venv DIR' }: VenvQuestion): Venv {
  if (argument !== undefined) return readVenv(resolve(cwd, argument))
  const active = env['VIRTUAL_ENV']
  if (active !== undefined && active !== '') return readVenv(resolve(cwd, active), 'VIRTUAL_ENV names ')
  const found = searchVenv(cwd, env)
  if (found !== null) return readVenv(found)
  throw new WheelfixError(
    'VENV_NOT_FOUND',
    `no virtual environment: VIRTUAL_ENV is not set, and there is no .venv, venv or env in ${resolve(cwd)} or above; ` +
      adviceWithoutVenv(cwd, env, usage),
  )
}

function readVenv(root: string, prefix = ''): Venv {
  const config = readPyvenvCfg(root, prefix)
  try {
    return describeVenv(root, config)
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    throw new WheelfixError(
      'VENV_INVALID',
      `a folder of the virtual environment ${root} cannot be read (${errno}): give yourself permission, or run wheelfix as its owner`,
      root,
    )
  }
}

function describeVenv(root: string, config: ReadonlyMap<string, string>): Venv {
  const home = config.get('home')
  if (home === undefined || home === '') {
    throw new WheelfixError(
      'VENV_INVALID',
      `${join(root, 'pyvenv.cfg')} has no line "home = …", so Python itself does not accept ${root} as a virtual ` +
        'environment; make it again (python3 -m venv --clear, uv venv --clear)',
      root,
    )
  }
  const bin = join(root, 'bin')
  const sitePackages = findSitePackages(root, config)
  const place = { root, stateFolder: stateFolderIn(root) }
  checkStateFolder(place)
  return {
    kind: 'venv',
    ...place,
    config,
    home,
    python: pythonOf(bin),
    program: null,
    systemSitePackages: config.get('include-system-site-packages')?.toLowerCase() === 'true',
    sitePackages,
    bin,
    // links that leave the venv are not followed
    walk: [...sitePackages, ...(isFolder(bin) && isInside(realPath(bin), realPath(root)) ? [bin] : [])],
    files: [],
  }
}

function readPyvenvCfg(root: string, prefix: string): Map<string, string> {
  const path = join(root, 'pyvenv.cfg')
  const bytes = readRegular(path, LARGEST_CONFIG)
  if (bytes === null) throw unreadable(root, path, prefix)
  const text = bytes.toString('utf8')
  if (text.includes('\0') || text.includes('\uFFFD')) throw broken(path, 'it is not text')
  const config = new Map<string, string>()
  for (const line of text.split(/\r?\n/)) {
    const equals = line.indexOf('=')
    if (equals > 0) config.set(line.slice(0, equals).trim().toLowerCase(), line.slice(equals + 1).trim())
  }
  return config
}

/** Why pyvenv.cfg cannot be read. */
function unreadable(root: string, path: string, prefix: string): WheelfixError {
  try {
    const status = statSync(fsPath(path))
    if (status.isDirectory()) return broken(path, 'it is a folder')
    if (!status.isFile()) return broken(path, 'it is not a file')
    if (status.size > LARGEST_CONFIG) return broken(path, 'it is too large')
    accessSync(fsPath(path), constants.R_OK)
    return broken(path, 'it cannot be read')
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    return errno === 'ENOENT' || errno === 'ENOTDIR'
      ? noVenv(root, prefix)
      : broken(path, `it cannot be read (${errno})`)
  }
}

function broken(path: string, why: string): WheelfixError {
  return new WheelfixError(
    'VENV_INVALID',
    `${path} is broken: ${why}; make the environment again (python3 -m venv --clear, uv venv --clear)`,
    path,
  )
}

/** Why a folder without pyvenv.cfg is not a venv, and what the user most likely meant. */
function noVenv(root: string, prefix: string): WheelfixError {
  const say = (text: string) => new WheelfixError('VENV_NOT_FOUND', `${prefix}${root}${text}`, root)
  if (!existsSync(fsPath(root))) {
    return say(
      prefix === ''
        ? ' does not exist; name an existing virtual environment (python3 -m venv or uv venv creates one)'
        : ', which does not exist: unset it, or activate another environment',
    )
  }
  if (!isFolder(root)) return say(' is a file; name the folder of a virtual environment')
  if (existsSync(fsPath(join(root, 'conda-meta')))) {
    return say(
      ' is a conda environment, which brings its own libraries; use a virtual environment instead (python3 -m venv)',
    )
  }
  for (let folder = root; folder !== dirname(folder); folder = dirname(folder)) {
    if (isVenv(folder)) return say(` is a folder of the virtual environment ${folder}; name that environment`)
  }
  if (basename(root) === 'site-packages' || basename(root) === 'dist-packages') {
    return say(' is a bare package folder without a pyvenv.cfg; name a virtual environment')
  }
  if (isVenv(join(root, '.venv'))) {
    return say(` is not a virtual environment (no pyvenv.cfg): did you mean ${join(root, '.venv')}?`)
  }
  return say(
    ' is not a virtual environment (no pyvenv.cfg): name an existing one (python3 -m venv or uv venv creates one). ' +
      'For another kind of folder, use wheelfix path',
  )
}

function pythonOf(bin: string): string {
  return join(bin, ['python', 'python3'].find(name => exists(join(bin, name))) ?? 'python')
}

/**
 * lib/pythonX.Y[t]/site-packages (pypyX.Y for PyPy), and the same below lib64 where lib64 is not a link to lib. An
 * upgrade leaves folders of several versions; only the version that pyvenv.cfg names is in use, or all if none has it.
 */
function findSitePackages(root: string, config: ReadonlyMap<string, string>): string[] {
  const version = configVersion(config)?.split('.').slice(0, 2).join('.')
  const found: { path: string; version: string | undefined }[] = []
  const seen = new Set<string>()
  for (const lib of ['lib', 'lib64']) {
    if (!isFolder(join(root, lib))) continue
    for (const { name } of listDirectory(join(root, lib))) {
      const match = /^(?:python|pypy)(\d+\.\d+)t?$/.exec(name)
      const path = join(root, lib, name, 'site-packages')
      const stat = match === null ? undefined : statSync(path, { bigint: true, throwIfNoEntry: false })
      if (stat === undefined || !stat.isDirectory() || seen.has(`${stat.dev}:${stat.ino}`)) continue
      seen.add(`${stat.dev}:${stat.ino}`)
      if (!isInside(realPath(path), realPath(root))) {
        throw new WheelfixError(
          'VENV_INVALID',
          `${path} is a link that leaves the environment: name the environment that it leads to`,
          path,
        )
      }
      found.push({ path, version: match?.[1] })
    }
  }
  const current = found.filter(folder => folder.version === version)
  return (current.length > 0 ? current : found).map(({ path }) => path)
}

/** The version in pyvenv.cfg: `version` from venv, `version_info` from uv and virtualenv (`3.11.7.final.0`). */
export function configVersion(config: ReadonlyMap<string, string>): string | undefined {
  return /^\d+\.\d+(?:\.\d+)?/.exec(config.get('version_info') ?? config.get('version') ?? '')?.[0]
}
