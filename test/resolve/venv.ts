// A venv with made-up distributions, in a world: small objects that need whatever a test is about.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type ObjectOptions, workshop } from '../ldso/objects.ts'
import { interpreterOf } from '../support/elf.ts'
import { makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'

/** The files of a distribution by their path below site-packages: an object, or the text of another file. */
export type Files = Readonly<Record<string, ObjectOptions | string>>

export interface TestVenv {
  readonly root: string
  readonly site: string
  /** Installs a distribution: its files, METADATA and RECORD. */
  install(name: string, files: Files, requires?: readonly string[]): void
  /** Puts a program into bin/. */
  program(name: string, options: ObjectOptions): string
  /** Runs wheelfix with these arguments, the venv and the rest. */
  run(command: string, ...rest: readonly string[]): ReturnType<typeof wheelfix>
  runWith(env: NodeJS.ProcessEnv, command: string, ...rest: readonly string[]): ReturnType<typeof wheelfix>
}

/** Needs gcc and ld. `suffix` of extension modules is that of the world's Python. */
export function testVenv(world: World, name: string): TestVenv {
  const root = makeVenv(world, name)
  const site = sitePackages(world, root)
  const interpreter = interpreterOf(world.python) ?? ''
  // what is left over goes with the world
  const shop = workshop({ compiler: 'gcc', interpreter, openerFlags: [] }, '/', world.root)
  const runWith: TestVenv['runWith'] = (env, command, ...rest) => wheelfix(world, [command, root, ...rest], env)
  return {
    root,
    site,
    install(name, files, requires = []) {
      for (const [path, content] of Object.entries(files)) {
        const file = join(site, path)
        mkdirSync(dirname(file), { recursive: true })
        if (typeof content === 'string') writeFileSync(file, content)
        else shop.library(file, content)
      }
      const info = `${name}-1.0.dist-info`
      mkdirSync(join(site, info), { recursive: true })
      const metadata = ['Metadata-Version: 2.1', `Name: ${name}`, 'Version: 1.0']
      writeFileSync(
        join(site, info, 'METADATA'),
        [...metadata, ...requires.map(name => `Requires-Dist: ${name}`), ''].join('\n'),
      )
      const rows = [...Object.keys(files), `${info}/METADATA`].map(path => `${path},,`)
      writeFileSync(join(site, info, 'RECORD'), [...rows, `${info}/RECORD,,`, ''].join('\n'))
    },
    program: (name, options) => shop.program(join(root, 'bin', name), options),
    run: (command, ...rest) => runWith({}, command, ...rest),
    runWith,
  }
}

/** The suffix of an extension module of the world's Python: `.abi3.so` is known to every one. */
export const MODULE = '.abi3.so'
