// A venv that somebody else has packed names its own file as the loader: who only looks at it must not run that file.
import assert from 'node:assert/strict'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { interpreterOf } from '../support/elf.ts'
import { missing, skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { installDemoWheel, makeVenv, sitePackages, wheelfix, WHEELFIX } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

test(
  'the loader of a venv is not started when it is in the venv, by no command but doctor',
  { skip: missing('gcc') },
  t => {
    const world = buildWorld()
    if (typeof world === 'string') return t.skip(skip(world))
    t.after(() => world.dispose())
    const venv = makeVenv(world, 'venv')
    installDemoWheel(world, venv)
    const mark = join(world.root, 'started')
    const folder = join(venv, 'x')
    mkdirSync(folder)
    const program = realpathSync(world.python)
    const loader = join(folder, basename(interpreterOf(program) ?? ''))
    // a program that has the strings of a glibc loader, and leaves a mark
    const source = join(world.root, 'loader.c')
    writeFileSync(
      source,
      `#include <fcntl.h>
#include <unistd.h>
const char *strings = "x/ld.so.cache --list-diagnostics release version 2.36 GLIBC_PRIVATE";
const char cache[] = "\\0/etc/ld.so.cache\\0/lib/x86_64-linux-gnu/\\0";
int main(void) { return close(open("${mark}", O_CREAT | O_WRONLY, 0644)) + (int)(cache[0] + strings[0]) * 0; }`,
    )
    runWell('gcc', ['-static', '-O0', '-o', loader, source])
    copyFileSync(join(world.libs.glibc, 'libc.so.6'), join(folder, 'libc.so.6'))
    const python = join(venv, 'bin/python3')
    rmSync(python)
    copyFileSync(program, python)
    chmodSync(python, 0o755)
    const elf = (...args: string[]) => runWell(process.execPath, [WHEELFIX, 'elf', ...args])
    elf('--set-interpreter', loader, python)
    rmSync(join(venv, 'bin/python'))
    symlinkSync('python3', join(venv, 'bin/python'))
    // what only the loader's diagnostics tell is asked for
    const [module = ''] = runWell('find', [sitePackages(world, venv), '-name', '*.so'])
      .trim()
      .split('\n')
    elf('--set-rpath', '$ORIGIN/$LIB:$ORIGIN/$PLATFORM', module)
    // it would be started, were it the store's
    const started = (args: readonly string[], env: NodeJS.ProcessEnv = {}) => {
      rmSync(mark, { force: true })
      const { stderr } = wheelfix(world, args, env)
      assert.doesNotMatch(stderr, /\n\s+at /)
      return existsSync(mark)
    }
    assert.equal(started(['check', venv], { NIX_STORE_DIR: world.root }), true)
    for (const args of [
      ['check', venv],
      ['why', venv, basename(module)],
      ['libs', venv],
      ['venv', venv, '--dry-run'],
      ['loader', venv, '--dry-run'],
      ['venv', venv],
      ['loader', venv],
      ['restore', venv],
    ])
      assert.equal(started(args), false, args.join(' '))
  },
)
