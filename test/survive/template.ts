// A small venv with objects of every kind that is written differently: extension modules of some KiB and of some MiB, one
// with a second link, programs with the loader of another system, and a RECORD that lists them.
import { cpSync, linkSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run, runWell } from '../support/run.ts'
import { treeContent } from '../support/tree.ts'
import { buildThrowingModules, recordRow } from '../world/throwing-module.ts'
import { makeVenv, sitePackages } from '../world/venv.ts'
import type { World } from '../world/world.ts'

export { hasHeaders, withCompiledWorld } from '../world/throwing-module.ts'

const PROGRAM = `
#include <stdexcept>
int main() { try { throw std::runtime_error("42"); } catch (const std::exception &) { return 42; } }
`

const MODULES = ['small', 'large', 'linked']

export function makeTemplate(world: World): string {
  const venv = makeVenv(world, 'template')
  const site = sitePackages(world, venv)
  const rows = buildThrowingModules(world, site, MODULES)
  const program = join(world.root, 'program.cc')
  writeFileSync(program, PROGRAM)
  runWell('g++', ['-O1', '-o', join(venv, 'bin/tool'), program])
  rows.push(recordRow(join(venv, 'bin/tool'), '../../../bin/tool'))
  const info = join(site, 'trio-1.0.dist-info')
  mkdirSync(info)
  writeFileSync(join(info, 'METADATA'), 'Metadata-Version: 2.1\nName: trio\nVersion: 1.0\n')
  writeFileSync(join(info, 'RECORD'), [...rows, 'trio-1.0.dist-info/RECORD,,', ''].join('\n'))
  return venv
}

/** Copies the template; one module gets a second link outside, as uv's cache has one. */
export function copyTemplate(world: World, template: string, venv: string): void {
  cpSync(template, venv, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
  const site = sitePackages(world, venv)
  const name = [...treeContent(site).keys()].find(name => name.startsWith('linked.')) ?? ''
  try {
    linkSync(join(site, name), join(world.root, 'cache'))
  } catch {
    // the link of an earlier copy
    cpSync(join(world.root, 'cache'), join(site, name))
  }
}

/** What of the venv works: the modules import, the program runs. */
export function whatWorks(world: World, venv: string): { readonly modules: boolean; readonly tool: boolean } {
  const code = `import ${MODULES.join(', ')}; assert ${MODULES.map(name => `${name}.answer()`).join(' + ')} == ${42 * MODULES.length}`
  return {
    modules: runs(join(venv, 'bin/python'), ['-c', code], world, 0),
    tool: runs(join(venv, 'bin/tool'), [], world, 42),
  }
}

/** Does the venv's Python start at all? */
export function pythonStarts(world: World, venv: string): boolean {
  return runs(join(venv, 'bin/python'), ['-c', ''], world, 0)
}

function runs(program: string, args: readonly string[], world: World, wanted: number): boolean {
  try {
    return run(program, args, { env: world.env }).status === wanted
  } catch {
    // ENOENT: its loader is not there
    return false
  }
}

/** The files of a venv but those that wheelfix keeps for itself. */
export function venvFiles(venv: string): Map<string, string> {
  return new Map([...treeContent(venv)].filter(([name]) => !name.startsWith('.wheelfix')))
}

/** The names under `.wheelfix`, but for what is kept for a while. */
export function stateNames(venv: string): string[] {
  return [...treeContent(venv).keys()].filter(
    // The undo of a program is kept before its edit. After a kill between the two it stays, and never applies to other bytes.
    name => name.startsWith('.wheelfix') && !/\/(?:journal\.kept|state\.json|lock|undo\/.*|roots\/.*)$/.test(name),
  )
}

/** RECORD of the template's distribution. */
export function recordOf(world: World, venv: string): string {
  return readFileSync(join(sitePackages(world, venv), 'trio-1.0.dist-info/RECORD'), 'latin1')
}
