// Many distributions in a venv of the world, and what they ask of the system beyond the world's libraries.
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { editElf } from '../support/elf.ts'
import { which } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { GLIBC_SONAME, traceLibraries } from '../world/host.ts'
import { pipInstall, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'

/** Installs wheels, with uv where there is one: it is much faster. @throws Error with what the installer said */
export function installWheels(world: World, venv: string, names: readonly string[]): void {
  const uv = which('uv')
  if (uv === undefined) pipInstall(world, venv, names)
  else {
    const env = { ...world.env, HOME: process.env['HOME'] }
    const target = ['--python', join(venv, 'bin/python'), '--only-binary', ':all:', '--no-progress']
    runWell(uv, ['pip', 'install', ...target, ...names], { env })
  }
}

/** Puts what is missing, and what that needs, into a package of the world's store. Gives its lib folder, where it holds any. */
export function hostLibraries(world: World, venv: string): string[] {
  const { stdout } = wheelfix(world, ['loader', venv, '--no-scan', '--dry-run', '--json', '--libs', world.libs.gcc])
  const { missing } = JSON.parse(stdout) as { missing: { soname: string }[] }
  const lib = join(world.store, '0123456789abcdfghijklmnpqrsvwxyz-host-libraries/lib')
  mkdirSync(lib, { recursive: true })
  // one by one: the loader stops at the first that the host does not have
  const found = new Map(missing.flatMap(({ soname }) => [...traceLibraries(world.host, [soname])]))
  const value = [lib, world.libs.gcc, world.libs.zlib, world.libs.glibc].join(':')
  for (const [soname, path] of found) {
    if (GLIBC_SONAME.test(soname) || /^lib(?:python|stdc|gcc_s|z\.)/.test(soname)) continue
    copyFileSync(path, join(lib, soname))
    editElf(join(lib, soname), { searchPath: { tag: 'DT_RUNPATH', value } })
  }
  return readdirSync(lib).length === 0 ? [] : [lib]
}
