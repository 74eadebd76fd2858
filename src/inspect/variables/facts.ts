// What the table of variables asks about an environment and its machine, and the answers that several rows share. Each
// answer is a path that exists, or null.
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter } from 'node:path'
import type { Examination } from '../../environment/examine.ts'
import { errnoOf } from '../../io/error.ts'
import { directoryOf, entriesIn, fsPath, realPath } from '../../io/path.ts'
import { chooseProvider } from '../../resolve/providers.ts'
import type { PythonProcess } from '../../resolve/python-process.ts'
import { readElf } from '../../elf/read.ts'
import { ElfError } from '../../elf/error.ts'
import { withSource } from '../../io/source.ts'

/** An environment as it is now, and the machine around it. */
export interface Facts extends Pick<
  Examination,
  'venv' | 'interpreter' | 'distributions' | 'scan' | 'sources' | 'store' | 'libraries'
> {
  /** The Python as it starts now: with the private loader, where there is one. */
  readonly python: PythonProcess
  readonly env: NodeJS.ProcessEnv
  /** The folder of the driver's libraries; null where there is none. */
  readonly driver: string | null
  /** Is there a file or a folder at this path? Tests use their own machine. */
  readonly isThere: (path: string) => boolean
}

/** Gives the value of a variable; null where it would not help. */
export type Find = (facts: Facts) => string | null

/** Follows links, so that a dangling link counts as absent. */
export function isThere(path: string): boolean {
  try {
    return statSync(fsPath(path), { throwIfNoEntry: false }) !== undefined
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

/** The driver's library, or its folder. */
export function ofDriver(soname: string, part: 'file' | 'folder'): Find {
  return ({ driver, isThere }) => {
    if (driver === null || !isThere(`${driver}/${soname}`)) return null
    return part === 'file' ? `${driver}/${soname}` : driver
  }
}

/** A library of the library set: the file, its folder, or the folder above `lib`. */
export function ofSet(sonames: readonly string[], part: 'file' | 'folder' | 'prefix'): Find {
  return ({ python, sources }) => {
    for (const soname of sonames) {
      const path = chooseProvider(soname, [], python, sources).provider?.path
      if (path === undefined) continue
      if (part === 'file') return path
      return part === 'folder' ? directoryOf(path) : directoryOf(directoryOf(path))
    }
    return null
  }
}

/** The first of these paths below site-packages that exists. */
export function inPackages(...paths: readonly string[]): Find {
  return ({ venv, isThere }) =>
    venv.sitePackages.flatMap(folder => paths.map(path => `${folder}/${path}`)).find(path => isThere(path)) ?? null
}

/** The first of these absolute paths that exists. */
export function onMachine(...paths: readonly string[]): Find {
  return ({ isThere }) => paths.find(path => isThere(path)) ?? null
}

/** The value with `path` added, if the result exists. */
export function below(find: Find, path: string): Find {
  return facts => {
    const folder = find(facts)
    return folder !== null && facts.isThere(`${folder}/${path}`) ? `${folder}/${path}` : null
  }
}

/** The value, if `path` exists below it. */
export function holding(find: Find, path: string): Find {
  return facts => {
    const folder = find(facts)
    return folder !== null && facts.isThere(`${folder}/${path}`) ? folder : null
  }
}

/** The first rule that gives a value. */
export function firstOf(...finds: readonly Find[]): Find {
  return facts => {
    for (const find of finds) {
      const value = find(facts)
      if (value !== null) return value
    }
    return null
  }
}

/** A program on PATH by one of these names, the first name first. */
export function onPath(...names: readonly string[]): Find {
  return ({ env }) => {
    const folders = (env['PATH'] ?? '').split(delimiter).filter(folder => folder.startsWith('/'))
    for (const name of names) {
      const found = folders.map(folder => `${folder}/${name}`).find(path => isProgram(path))
      if (found !== undefined) return found
    }
    return null
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(fsPath(path), constants.X_OK)
    return statSync(fsPath(path)).isFile()
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

/** The folder `levels` levels above the real path of a program. */
export function above(find: Find, levels: number): Find {
  return facts => {
    const path = find(facts)
    if (path === null) return null
    let folder = realPath(path)
    for (let level = 0; level < levels; level++) folder = directoryOf(folder)
    return folder === '' ? null : folder
  }
}

/** A program that this machine can start: its loader exists, or it needs none. */
export function starting(find: Find): Find {
  return facts => {
    const path = find(facts)
    return path !== null && starts(path) ? path : null
  }
}

function starts(path: string): boolean {
  try {
    const { ptInterp } = withSource(path, readElf)
    return ptInterp === null || isThere(ptInterp)
  } catch (error) {
    if (error instanceof ElfError) return isProgram(path)
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

/** The newest folder of the store whose name matches and for which `isRight` is true. Only trusted packages count. */
export function inStore(name: RegExp, isRight: (path: string, facts: Facts) => boolean): Find {
  return facts => {
    const { store, sources } = facts
    const names = entriesIn(store).flatMap(({ name: base }) => (name.test(base.slice(33)) ? [base] : []))
    // a name begins with a hash, so names are ordered by what follows the hash: the version
    const ordered = names.toSorted((a, b) => b.slice(33).localeCompare(a.slice(33), 'en', { numeric: true }))
    const right = ordered.slice(0, MOST_IN_STORE).map(base => `${store}/${base}`)
    return right.find(path => isRight(path, facts) && sources.trust.reasonFor(path) !== null) ?? null
  }
}

const MOST_IN_STORE = 64
