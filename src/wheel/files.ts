// Which archives a run reads, and where it writes. A result must not overwrite another file.
import { existsSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { errnoOf, systemReason, WheelfixError } from '../io/error.ts'
import { fsPath, isWritable, listDirectory, realPath } from '../io/path.ts'
import { refuseStoreOutput } from '../nix/refuse-store.ts'
import type { WheelOptions } from './wheel-report.ts'

/** The paths that are taken: real paths of the input wheels, and results, each with its wheel. */
export interface Claims {
  readonly inputs: ReadonlyMap<string, string>
  readonly outputs: Map<string, string>
}

/**
 * Claims an output path. A new or removed tag may give a result the name of another wheel.
 * @throws WheelfixError `USAGE`
 */
export function claim(output: string, path: string, { inputs, outputs }: Claims): void {
  const other = outputs.get(output) ?? (leadsToFile(output) ? inputs.get(realPath(output)) : undefined)
  if (other !== undefined && other !== path)
    throw new WheelfixError(
      'USAGE',
      `${path}: its result would overwrite ${other}, or the result of that wheel: run wheelfix for each, with another -o DIR`,
      path,
    )
  outputs.set(output, path)
}

/** The folder for the result of a wheel: the folder that the user names, else the folder of the wheel. */
export function outputFolder(path: string, { output, cwd }: WheelOptions): string {
  // if the user names a link, the wheel that it leads to is replaced
  return output === null ? dirname(leadsToFile(path) ? realPath(path) : path) : resolve(cwd, output)
}

/**
 * The wheels that the user names; the wheels of a named folder in byte order. Each wheel once.
 * @throws WheelfixError
 */
export function findWheels(named: readonly string[], cwd: string): string[] {
  const found = new Map<string, string>()
  for (const name of named) {
    const path = resolve(cwd, name)
    try {
      const folder = statSync(fsPath(path)).isDirectory()
      const files = folder
        ? listDirectory(path)
            .filter(entry => entry.name.endsWith('.whl') && !entry.name.startsWith('.') && entry.kind !== 'directory')
            .map(entry => join(path, entry.name))
        : [path]
      if (files.length === 0) throw new WheelfixError('WHEEL_INVALID', `${path}: this folder contains no wheel`, path)
      // a dangling link counts as one bad wheel among the others
      for (const file of files) found.set(leadsToFile(file) ? realPath(file) : file, file)
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === undefined || error instanceof WheelfixError) throw error
      throw new WheelfixError('IO', `${path}: ${systemReason(errno)}`, path)
    }
  }
  return [...found.values()]
}

/** Checks that no result replaces a wheel by accident, or the result of another wheel. */
export function assertOutputs(files: readonly string[], options: WheelOptions): void {
  for (const folder of options.write ? new Set(files.map(file => outputFolder(file, options))) : [])
    refuseStoreOutput(folder, options.env, 'give -o a folder outside the store')
  if (options.output === null) {
    if (options.tag !== null)
      throw new WheelfixError('USAGE', '--tag gives the wheel another name: use it with -o DIR, not with --in-place')
    return
  }
  const folder = resolve(options.cwd, options.output)
  if (statSync(fsPath(folder), { throwIfNoEntry: false })?.isDirectory() === false)
    throw new WheelfixError('USAGE', `${folder} is not a folder: give -o a folder for the results`, folder)
  const seen = new Map<string, string>()
  for (const file of files) {
    const output = join(outputFolder(file, options), basename(file))
    const other = seen.get(output)
    if (other !== undefined)
      throw new WheelfixError(
        'USAGE',
        `${other} and ${file} would both become ${output}: run wheelfix for each, with another -o DIR`,
        file,
      )
    seen.set(output, file)
    if (existsSync(fsPath(output)) && realPath(output) === realPath(file))
      throw new WheelfixError(
        'USAGE',
        `${file} would be replaced by its own result: give --in-place if you want that`,
        file,
      )
  }
}

/**
 * Where the unpacked objects are kept during the work on a wheel: beside the result, or in the folder for large
 * temporary files.
 */
export function scratchFolder(options: WheelOptions, path: string): string {
  if (!options.write) {
    const temporary = options.env['TMPDIR'] ?? ''
    return temporary === '' && isWritable('/var/tmp') ? '/var/tmp' : tmpdir()
  }
  let folder = outputFolder(path, options)
  while (!existsSync(fsPath(folder))) folder = dirname(folder)
  return folder
}

/** Is there a file or folder at `path`? A link counts only if its target exists. */
export function leadsToFile(path: string): boolean {
  return existsSync(fsPath(path))
}
