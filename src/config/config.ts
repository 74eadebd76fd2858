// The project's own settings: [tool.wheelfix] in pyproject.toml, or wheelfix.toml, in the folder of the venv or in one
// above.
import { statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parse, TomlError } from 'smol-toml'
import { readRegular } from '../io/beneath.ts'
import { WheelfixError } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { findConfig } from './find-config.ts'

/**
 * How the libraries reach a venv. `rpath` patches the objects. `loader` makes a private loader and does not change the
 * wheels. `both` makes a private loader, and patches the objects that even its libraries do not serve.
 */
export type Strategy = 'rpath' | 'loader' | 'both'

/**
 * The loader of a program that asks for another system's loader. `python`: the loader of the venv's Python. `nix-ld`:
 * nix-ld, which is at the path where such programs look for their loader.
 */
export type ProgramInterpreter = 'python' | 'nix-ld'

export interface Config {
  /** The path of the file; null when there is none. */
  readonly path: string | null
  /** The library directories, absolute. */
  readonly libs: readonly string[]
  readonly ignoreMissing: readonly string[]
  /** Globs of paths that wheelfix does not examine. */
  readonly ignore: readonly string[]
  readonly strategy: Strategy | null
  readonly interpreter: ProgramInterpreter | null
  /** Do not look for libraries in the local Nix store. */
  readonly noScan: boolean
  /** Also count libraries that only plugins miss. */
  readonly strict: boolean
}

/** The size limit in bytes. A file that a person writes has a few KB. */
const LARGEST_FILE = 4 << 20

const NO_CONFIG: Config = {
  path: null,
  libs: [],
  ignoreMissing: [],
  ignore: [],
  strategy: null,
  interpreter: null,
  noScan: false,
  strict: false,
}

/**
 * The settings for a venv.
 * @throws WheelfixError `CONFIG_INVALID` for a file that is not TOML or sets something unknown
 */
export function readConfig(venvRoot: string): Config {
  const path = findConfig(venvRoot)
  if (path === null) return NO_CONFIG
  const toml = readToml(path)
  if (path.endsWith('/wheelfix.toml')) return configOf(path, toml)
  const table = isTable(toml['tool']) ? toml['tool']['wheelfix'] : undefined
  return table === undefined ? { ...NO_CONFIG, path } : configOf(path, table)
}

function readToml(path: string): Record<string, unknown> {
  const bytes = readRegular(path, LARGEST_FILE)
  if (bytes === null) throw invalid(path, unreadableReason(path))
  try {
    return parse(bytes.toString('utf8'))
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    throw new WheelfixError('CONFIG_INVALID', `${path} is not valid TOML: ${error.message.split('\n')[0] ?? ''}`, path)
  }
}

/** Why `readRegular` gives nothing, and what to do. */
function unreadableReason(path: string): string {
  const status = statSync(fsPath(path), { throwIfNoEntry: false })
  if (status === undefined) return 'it was removed during this run: run wheelfix again'
  if (!status.isFile()) return 'it is not a regular file: replace it with a file, or remove it'
  if (status.size > LARGEST_FILE) return `it has ${status.size} bytes; at most ${LARGEST_FILE} are read`
  return 'it cannot be read: give yourself permission (chmod u+r)'
}

function configOf(path: string, table: unknown): Config {
  if (!isTable(table)) throw invalid(path, '[tool.wheelfix] is not a table')
  for (const key of Object.keys(table)) {
    if (!KNOWN.has(key)) throw invalid(path, `"${key}" is not a setting of wheelfix (known: ${[...KNOWN].join(', ')})`)
  }
  const folder = dirname(path)
  return {
    path,
    libs: strings(path, table, 'libs').map(entry => resolve(folder, entry)),
    ignoreMissing: strings(path, table, 'ignore-missing'),
    ignore: strings(path, table, 'ignore'),
    strategy: choice(path, table, 'strategy', ['rpath', 'loader', 'both']),
    interpreter: choice(path, table, 'interpreter', ['python', 'nix-ld']),
    noScan: flag(path, table, 'no-scan'),
    strict: flag(path, table, 'strict'),
  }
}

const KNOWN: ReadonlySet<string> = new Set([
  'libs',
  'ignore-missing',
  'ignore',
  'strategy',
  'interpreter',
  'no-scan',
  'strict',
])

function strings(path: string, table: Record<string, unknown>, key: string): string[] {
  const value = table[key] ?? []
  if (!Array.isArray(value) || !value.every(entry => typeof entry === 'string')) {
    throw invalid(path, `"${key}" must be a list of strings`)
  }
  return value
}

function flag(path: string, table: Record<string, unknown>, key: string): boolean {
  const value = table[key] ?? false
  if (typeof value !== 'boolean') throw invalid(path, `"${key}" must be true or false`)
  return value
}

function choice<T extends string>(
  path: string,
  table: Record<string, unknown>,
  key: string,
  known: readonly T[],
): T | null {
  const value = table[key]
  if (value === undefined) return null
  const chosen = known.find(word => word === value)
  if (chosen !== undefined) return chosen
  const words = known.map(word => `"${word}"`)
  throw invalid(path, `"${key}" must be ${words.slice(0, -1).join(', ')} or ${words.at(-1) ?? ''}`)
}

function invalid(path: string, what: string): WheelfixError {
  return new WheelfixError('CONFIG_INVALID', `${path}: ${what}`, path)
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
