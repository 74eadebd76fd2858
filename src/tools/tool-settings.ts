// The settings of Python tools that say where their environments are: variables and configuration files. A value that
// wheelfix cannot understand counts as not set, because wheelfix cannot find what it names.
import { isAbsolute, join, resolve } from 'node:path'
import { readRegularText } from '../io/beneath.ts'

/** The surroundings of a question: the tools' variables, and the folder whose projects count (tox, nox). */
export interface PlacesQuestion {
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
}

/** The user's folders, all absolute. */
export interface Folders extends PlacesQuestion {
  readonly home: string
  readonly data: string
  readonly cache: string
  readonly config: string
}

/** @returns null without a home: then no tool has a default folder */
export function foldersOf({ env, cwd }: PlacesQuestion): Folders | null {
  const home = env['HOME'] ?? ''
  if (!isAbsolute(home)) return null
  // by the XDG base directory specification a relative path counts as not set
  const base = (name: string, usual: string): string => {
    const named = env[name] ?? ''
    return isAbsolute(named) ? named : join(home, usual)
  }
  return {
    env,
    cwd,
    home,
    data: base('XDG_DATA_HOME', '.local/share'),
    cache: base('XDG_CACHE_HOME', '.cache'),
    config: base('XDG_CONFIG_HOME', '.config'),
  }
}

/** The folder that a variable names; null when it is not set or empty. */
export function named(folders: Folders, variable: string): string | null {
  return expanded(folders, folders.env[variable], folders.cwd)
}

/**
 * The folder that a text names, with `~` and `$NAME` replaced; null for no text, and for one whose variables are not set.
 * @param base the folder from which relative paths start
 */
export function expanded({ env, home }: Folders, text: unknown, base: string): string | null {
  if (typeof text !== 'string' || text === '') return null
  let isLost = false
  const plain = text.replaceAll(/\$(?:\{(\w+)\}|(\w+))/g, (_, braced?: string, bare?: string) => {
    const value = env[braced ?? bare ?? ''] ?? ''
    if (value === '') isLost = true
    return value
  })
  if (isLost) return null
  return plain === '~' || plain.startsWith('~/') ? join(home, plain.slice(1)) : resolve(base, plain)
}

/** The size limit in bytes. A configuration file has a few KB, and a pyproject.toml a few more. */
const LARGEST_FILE = 1 << 20

/** The text of a configuration file; '' for a file that does not exist or cannot be one. */
export function configText(path: string): string {
  return readRegularText(path, LARGEST_FILE)
}

/**
 * The value at a path of keys in a TOML file; undefined if there is none, or if the file is broken. The parser is loaded
 * only if there is a file.
 */
export async function tomlValue(path: string, ...keys: readonly string[]): Promise<unknown> {
  const text = configText(path)
  if (!text.includes(keys.at(-1) ?? '')) return undefined
  const { parse, TomlError } = await import('smol-toml')
  try {
    return keys.reduce<unknown>((value, key) => (isTable(value) ? value[key] : undefined), parse(text))
  } catch (error) {
    if (error instanceof TomlError) return undefined
    throw error
  }
}

/** Is this value of a configuration file a table? */
export function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
