// Our resolution beside the real loader's, object by object: what is mapped, which file serves each needed, what is missing.
import { readFileSync, realpathSync } from 'node:fs'
import { withSource } from '../../src/io/source.ts'
import { isElf, readElf } from '../../src/elf/read.ts'
import type { ElfObject } from '../../src/elf/types.ts'
import { type PythonProcess, startPython } from '../../src/resolve/python-process.ts'
import { scanVenv } from '../../src/environment/scan.ts'
import type { ScannedObject } from '../../src/resolve/objects.ts'
import { load } from '../../src/resolve/simulate.ts'
import { readLoaderCache } from '../../src/ldso/cache/cache.ts'
import { identifyLibc } from '../../src/ldso/libc.ts'
import type { Loader, Process } from '../../src/ldso/search.ts'
import { diskTree } from '../../src/ldso/file-tree.ts'
import { storeDirectory } from '../../src/nix/store.ts'
import { findInterpreter } from '../../src/python/interpreter.ts'
import { findVenv } from '../../src/python/pyvenv.ts'
import { judgeExecutable, judgeLibraries, type Verdict } from '../world/oracle.ts'

export interface Comparison {
  /** Objects that both were asked about. */
  readonly objects: number
  /** Pairs of an object and a needed on which an answer was compared. */
  readonly needed: number
  /** Objects that the real loader gave up on for a version or a symbol, after it had found every library. */
  readonly unloadable: number
  /** One line for each difference. */
  readonly differences: readonly string[]
}

/** Compares all objects of a venv as they are now, each loaded alone in a fresh process of the venv's Python. */
export function compareVenv(root: string, env: NodeJS.ProcessEnv): Comparison {
  const venv = findVenv({ argument: root, env, cwd: '/' })
  const interpreter = findInterpreter(venv)
  const python = startPython(interpreter, diskTree(), storeDirectory(env), env)
  const { objects } = scanVenv(venv, interpreter.extensionSuffixes, storeDirectory(env))
  const states = new Map(objects.map(object => [object.identity, object.current]))
  const programLoader = programLoaders(python, env)

  const simulated = objects.flatMap(object => {
    const everything = { counts: () => true, isForThisLibc: () => true }
    const process = load(object, { objects, states, python, programLoader, ...everything })
    return process === null ? [] : [{ object, process }]
  })
  const libraries = simulated.filter(({ object }) => object.kind !== 'executable').map(({ object }) => object.path)
  const verdicts = new Map(judgeLibraries(venv.python, libraries, env).map(verdict => [verdict.path, verdict]))

  const differences: string[] = []
  let unloadable = 0
  let needed = 0
  for (const { object, process } of simulated) {
    const verdict = object.kind === 'executable' ? judgeExecutable(object.path, env) : verdicts.get(object.path)
    if (verdict === undefined) differences.push(`${object.relative}: no verdict`)
    else {
      if (verdict.error !== null) unloadable++
      needed += compareOne(object, process, verdict, differences)
    }
  }
  return { objects: simulated.length, needed, unloadable, differences }
}

function programLoaders(python: PythonProcess, env: NodeJS.ProcessEnv) {
  const known = new Map<string, Loader | null>()
  return (object: ScannedObject, state: ElfObject): Loader | null => {
    const { ptInterp: interpreter } = state
    if (interpreter === null) return null
    if (interpreter === python.interpreter.interp) return python.loader
    let loader = known.get(interpreter)
    if (loader === undefined) {
      loader = loaderNamed(object.path, state, python, env)
      known.set(interpreter, loader)
    }
    return loader
  }
}

function loaderNamed(path: string, state: ElfObject, python: PythonProcess, env: NodeJS.ProcessEnv): Loader | null {
  try {
    const libc = identifyLibc(path, state, env)
    const cache = libc.cache === null ? [] : readLoaderCache(readFileSync(libc.cache))
    return { tree: python.loader.tree, libc, cache, environment: [] }
  } catch {
    return null // it cannot start here
  }
}

function compareOne(object: ScannedObject, process: Process, verdict: Verdict, differences: string[]): number {
  const ours = new Map<string, ReadonlyMap<string, string>>()
  const lost = new Set<string>()
  for (let at: Process | null = process; at !== null; at = at.base) {
    for (const map of at.maps) {
      const found = new Map<string, string>()
      for (const { soname, provider } of map.needed) {
        if (provider === null) lost.add(soname)
        else found.set(soname, realpathSync(provider.path))
      }
      ours.set(realpathSync(map.path), found)
    }
  }
  let count = 0
  const say = (text: string) => differences.push(`${object.relative}: ${text}`)
  const missing = new Set(verdict.missing)
  for (const soname of new Set([...lost, ...missing])) {
    count++
    if (!missing.has(soname)) say(`${soname} is not found by us, but by the loader`)
    else if (!lost.has(soname)) say(`${soname} is found by us, but not by the loader`)
  }
  // what did not load for another reason is not mapped any more
  if (verdict.error !== null) return count
  for (const [file, found] of ours) {
    const real = verdict.providers.get(file)
    if (real === undefined) {
      say(`${file} is mapped by us alone`)
      continue
    }
    for (const [soname, path] of found) {
      count++
      if (real.get(soname) !== path) say(`${soname} of ${file} is ${path} to us, ${real.get(soname)} to the loader`)
    }
  }
  for (const file of verdict.providers.keys()) if (!ours.has(file) && isObject(file)) say(`${file} is not mapped by us`)
  return count
}

function isObject(path: string): boolean {
  return withSource(path, source => isElf(source.read(0, Math.min(4, source.size))) && readElf(source).dynamic !== null)
}
