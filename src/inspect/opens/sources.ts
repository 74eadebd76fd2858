// The names of libraries that Python code opens by ctypes, cffi and ctypes.util.find_library.
import { spawnSync } from 'node:child_process'
import { readRegular } from '../../io/beneath.ts'
import { entriesIn, isInside, relativeTo } from '../../io/path.ts'
import type { Environment } from '../../python/environment.ts'
import { readDistributions } from '../../python/distributions.ts'
import { LARGEST_RECORD } from '../../python/record.ts'
import { plainEnvironment } from '../real-loader/ask-python.ts'
import { SOURCE_SCRIPT } from './source-script.ts'

/** The size limit of a source file in bytes. A larger file is data. */
const LARGEST_SOURCE = 2 << 20
/**
 * The most files that are parsed. No environment with more such files is known. Python parses this many in a few seconds.
 */
const MOST_FILES = 3000
/** The time limit for parsing. What is known by then counts. */
const TIME_LIMIT_MS = 60_000

/** One library that code opens. Any one of its names is enough. */
export interface OpenedLibrary {
  /** The distribution as it spells its name, or the top folder of code that no distribution owns. */
  readonly owner: string
  /** Relative to the environment. */
  readonly file: string
  /** `find`: the argument of find_library. `open`: a file name, for dlopen. */
  readonly names: readonly { readonly how: 'find' | 'open'; readonly name: string }[]
}

const MARKS = ['find_library', 'CDLL', 'cdll', 'PyDLL', 'LoadLibrary', 'dlopen'] as const

/** Folders and files for other systems, code that no user runs, and PyInstaller's hooks for other packages. */
const NOT_FOR_LINUX =
  /^(?:__pycache__|tests?|testing|_?examples?|benchmarks?|_?win(?:dows|32|64)?|darwin|mac(?:os|osx)?|cocoa|ios|android|hook-.*|.*\.dist-info)(?:\.pyc?)?$/i

/**
 * What the Python code of the environment opens by name.
 * @param python the Python that parses the code; it imports and runs none of it
 */
export function openedBySources(venv: Environment, python: string, env: NodeJS.ProcessEnv): OpenedLibrary[] {
  const files = venv.sitePackages.flatMap(folder => filesIn(folder)).slice(0, MOST_FILES)
  const groups = groupsOf(venv, files)
  if (groups.length === 0) return []
  const { stdout } = spawnSync(python, ['-I', '-S', '-B', '-c', SOURCE_SCRIPT], {
    env: plainEnvironment(env),
    input: JSON.stringify(groups),
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    timeout: TIME_LIMIT_MS,
    killSignal: 'SIGKILL',
  })
  return (stdout ?? '').split('\n').flatMap(line => openedIn(line, venv.root))
}

interface Group {
  readonly name: string
  readonly files: readonly string[]
  /** Other code of the same distribution, which may call its functions. */
  readonly folders: readonly string[]
}

/** Code that opens libraries, and bytecode without its code. */
function filesIn(directory: string): string[] {
  const entries = entriesIn(directory)
  const names = new Set(entries.map(({ name }) => name))
  return entries.flatMap(({ name, kind }) => {
    const path = `${directory}/${name}`
    if (NOT_FOR_LINUX.test(name)) return []
    if (kind === 'directory') return filesIn(path)
    const isSource = name.endsWith('.py') || (name.endsWith('.pyc') && !names.has(name.slice(0, -1)))
    return kind === 'file' && isSource && isMarked(path) ? [path] : []
  })
}

function isMarked(path: string): boolean {
  const source = readRegular(path, LARGEST_SOURCE)
  return source !== null && MARKS.some(mark => source.includes(mark))
}

function groupsOf(venv: Environment, files: readonly string[]): Group[] {
  const ownerOf = topOwners(venv)
  const groups = new Map<string, { files: string[]; folders: Set<string> }>()
  for (const path of files) {
    const site = venv.sitePackages.find(folder => path.startsWith(`${folder}/`)) ?? ''
    const [top = ''] = path.slice(site.length + 1).split('/')
    const name = ownerOf(top) ?? top.replace(/\.py$/, '')
    const group = groups.get(name) ?? { files: [], folders: new Set() }
    group.files.push(path)
    if (path !== `${site}/${top}`) group.folders.add(`${site}/${top}`)
    groups.set(name, group)
  }
  return [...groups].map(([name, { files, folders }]) => ({ name, files, folders: [...folders] }))
}

/**
 * The distribution to which a top folder or module of site-packages belongs. It is read from RECORD, because the index of
 * owners leaves out code.
 */
function topOwners(venv: Environment): (top: string) => string | null {
  const known = new Map<string, string>()
  for (const { name, recordPath } of readDistributions(venv.sitePackages).all) {
    const text = recordPath === null ? null : readRegular(recordPath, LARGEST_RECORD)
    for (const [, top = ''] of text?.toString('latin1').matchAll(/^"?([^/,"\n]+)(?=[/,])/gm) ?? []) {
      if (!known.has(top)) known.set(top, name)
    }
  }
  return top => known.get(top) ?? null
}

/** Is a file of an environment for another system, or a test? `relative` leaves out where the environment is. */
function isForOthers(relative: string): boolean {
  return relative.split('/').some(part => NOT_FOR_LINUX.test(part))
}

/** The opened libraries of one line. A line that was cut off tells nothing. */
function openedIn(line: string, root: string): OpenedLibrary[] {
  try {
    const { group, found } = JSON.parse(line) as {
      group: string
      found: readonly { file: string; names: readonly (readonly ['find' | 'open', string])[] }[]
    }
    return found
      .filter(({ file }) => !isInside(file, root) || !isForOthers(relativeTo(root, file)))
      .map(({ file, names }) => ({
        owner: group,
        file: relativeTo(root, file),
        names: names.map(([how, name]) => ({ how, name })),
      }))
  } catch (error) {
    if (error instanceof SyntaxError) return []
    throw error
  }
}
