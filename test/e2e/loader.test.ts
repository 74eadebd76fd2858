import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { rebuildElf } from '../support/elf.ts'
import { inapplicable, missing, skip } from '../support/requires.ts'
import { run, type RunResult, runWell } from '../support/run.ts'
import { treeContent } from '../support/tree.ts'
import { installDemoWheel, makeVenv, pipInstall, sitePackages, wheelfix, WHEELFIX, withWheels } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'
import { comparedWith, importAll } from './imports.ts'

const LOAD_CXX = 'import ctypes; ctypes.CDLL("libstdc++.so.6")'

/** As `changed`, for venvs in two folders: the texts that name their own place are not compared. */
function changedNames(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): string[] {
  return changed(before, now).filter(name => !/^(?:pyvenv\.cfg|bin\/[aA]ctivate.*)$/.test(name))
}

/** The names whose content differs between two snapshots. */
function changed(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): string[] {
  return [...new Set([...before.keys(), ...now.keys()])].filter(name => before.get(name) !== now.get(name)).sort()
}

function runPython(world: World, venv: string, code: string, env = world.env): RunResult {
  return run(join(venv, 'bin/python'), ['-c', code], { env })
}

function wellPython(world: World, venv: string, code: string): string {
  return runWell(join(venv, 'bin/python'), ['-c', code], { env: world.env }).trim()
}

suite('the private loader', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('needs a world', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
  let count = 0
  /** A venv of the world, with a private loader. */
  const loaded = (make: (world: World, name: string) => string = makeVenv): string => {
    const venv = make(world, `v${count++}`)
    const { status, stdout, stderr } = wheelfix(world, ['loader', venv, ...libs])
    assert.equal(status, 0, stdout + stderr)
    return venv
  }

  test('a library of the set loads by its bare name, and did not before', () => {
    const venv = makeVenv(world, 'bare')
    assert.match(runPython(world, venv, LOAD_CXX).stderr, /libstdc\+\+\.so\.6: cannot open shared object file/)
    assert.equal(wheelfix(world, ['loader', venv, ...libs]).status, 0)
    const names = [world.libs.gcc, world.libs.zlib].flatMap(folder =>
      readdirSync(folder).map(name => join(folder, name)),
    )
    for (const path of names) {
      const name = path.slice(path.lastIndexOf('/') + 1)
      const code = `import ctypes; ctypes.CDLL("${name}"); print(any("${path}" in line for line in open("/proc/self/maps")))`
      assert.equal(wellPython(world, venv, code), 'True', name)
    }
  })

  test('the objects that venv patched get their bytes back, and the report calls them restored', () => {
    const venv = makeVenv(world, 'restored')
    installDemoWheel(world, venv)
    const objects = () => treeContent(join(sitePackages(world, venv), 'wheelfix_demo'))
    const before = objects()
    const patched = wheelfix(world, ['venv', venv, ...libs])
    assert.match(patched.stdout, /✓ \d objects?: (\d) patched\n/)
    const number = / (\d) patched\n/.exec(patched.stdout)?.[1] ?? ''
    const { stdout } = wheelfix(world, ['loader', venv, ...libs])
    assert.match(stdout, new RegExp(`✓ wheelfix-demo {2}${number} restored\n`))
    assert.match(stdout, new RegExp(`✓ \\d objects?: ${number} restored\n`))
    assert.deepEqual(changed(before, objects()), [])
  })

  test('ctypes.util.find_library names what the loader finds', () => {
    const folder = join(world.store, '0123456789abcdfghijklmnpqrsvwxyz-find-1.0/lib')
    mkdirSync(folder, { recursive: true })
    // a library under names of its own, and one with its DT_SONAME beside a longer one
    for (const name of [
      'libwheelfixfind.so',
      'libwheelfixfind.so.3',
      'libwheelfixfind.so.12',
      'libz.so.1',
      'libz.so.1.99',
    ]) {
      copyFileSync(join(world.libs.zlib, 'libz.so.1'), join(folder, name))
    }
    const venv = makeVenv(world, 'find')
    const before = treeContent(venv)
    const ask = 'from ctypes.util import find_library; print(find_library("wheelfixfind"), find_library("no-such"))'
    assert.equal(wellPython(world, venv, ask), 'None None')
    assert.equal(wheelfix(world, ['loader', venv, '--libs', folder]).status, 0)
    const compiled = { ...world.env }
    delete compiled['PYTHONDONTWRITEBYTECODE']
    assert.equal(runPython(world, venv, ask, compiled).stdout.trim(), 'libwheelfixfind.so.12 None')
    assert.equal(wellPython(world, venv, 'from ctypes.util import find_library; print(find_library("z"))'), 'libz.so.1')
    unlinkSync(join(folder, 'libwheelfixfind.so.12'))
    assert.equal(wellPython(world, venv, ask), 'None None')
    assert.equal(wheelfix(world, ['restore', venv]).status, 0)
    assert.deepEqual(changed(before, treeContent(venv)), [])
  })

  test('the Python reports the same prefixes and paths as before, and so do its child processes', () => {
    const plain = makeVenv(world, 'plain')
    const venv: string = loaded()
    const ask =
      'import sys, sysconfig, json; print(json.dumps([sys.prefix, sys.base_prefix, sys.executable, sys.path, ' +
      'sysconfig.get_paths(), sysconfig.get_config_vars()["EXT_SUFFIX"]]))'
    assert.equal(wellPython(world, venv, ask), wellPython(world, plain, ask).replaceAll(plain, venv))
    const children = `
import multiprocessing, subprocess, sys
sys.path.insert(0, ${JSON.stringify(world.root)})
def main():
    for how in "spawn", "fork":
        with multiprocessing.get_context(how).Pool(1) as pool: assert pool.map(abs, [-3]) == [3]
    code = "import ctypes, sys; ctypes.CDLL('libstdc++.so.6'); print(sys.prefix)"
    print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
if __name__ == "__main__": main()
`
    const script = join(world.root, 'children.py')
    writeFileSync(script, children)
    assert.equal(runWell(join(venv, 'bin/python'), [script], { env: world.env }).trim(), venv)
  })

  test(
    'programs that it starts have an unchanged environment and their own libraries',
    { skip: missing('git') },
    () => {
      const venv = loaded()
      const env = { ...world.env, PATH: '/usr/bin:/bin', MARK: '1' }
      // /bin/sh and git are of the host's glibc, not of the world's
      const files = "sed -n 's,.* /,/,p' /proc/self/maps"
      for (const [program = '', ...args] of [
        ['/usr/bin/env'],
        ['/bin/sh', '-c', `env; ${files}`],
        ['git', '-c', 'alias.told=!env', 'told'],
        ['git', '-c', `alias.mapped=!${files}`, 'mapped'],
      ]) {
        const lines = (text: string) =>
          [...new Set(text.trim().split('\n'))].filter(line => !line.startsWith('_=')).sort()
        const direct: string = runWell(program, args, { env, cwd: world.root })
        const code = 'import subprocess, sys; subprocess.run(sys.argv[1:], check=True)'
        const started: string = runWell(join(venv, 'bin/python'), ['-c', code, program, ...args], {
          env,
          cwd: world.root,
        })
        assert.deepEqual(lines(started), lines(direct), program)
        assert.ok(direct.includes('MARK=1') || direct.includes('/libc.so.6'), direct)
        assert.ok(!started.includes(join(venv, '.wheelfix')))
      }
    },
  )

  test('a program of another libc that it starts has its own libraries', { skip: missing('musl-gcc') }, () => {
    const venv = loaded()
    const program = join(world.root, 'of-musl')
    const source = `${program}.c`
    writeFileSync(
      source,
      `#include <stdio.h>
extern char **environ;
int main() {
  for (char **at = environ; *at; at++) puts(*at);
  FILE *maps = fopen("/proc/self/maps", "r");
  for (int c; (c = getc(maps)) != EOF;) putchar(c);
}`,
    )
    runWell('musl-gcc', [source, '-o', program])
    const said = wellPython(world, venv, `import subprocess; subprocess.run(["${program}"], check=True)`)
    assert.match(said, /libc\.so|ld-musl/)
    assert.ok(!said.includes('.wheelfix') && !said.includes('libc.so.6'), said)
    assert.ok(!/^LD_/m.test(said))
  })

  test('a venv made from this venv belongs to the base Python, and needs a loader of its own', () => {
    const venv = loaded()
    const inner = join(world.root, 'inner')
    runWell(join(venv, 'bin/python'), ['-m', 'venv', '--without-pip', inner], { env: world.env })
    assert.equal(wellPython(world, inner, 'import sys; print(sys.base_prefix)'), world.outputs.python)
    const { status, stdout, stderr } = wheelfix(world, ['loader', inner, ...libs])
    assert.equal(status, 0, stdout + stderr)
    wellPython(world, inner, LOAD_CXX)
    // the outer one may go
    rmSync(venv, { recursive: true })
    wellPython(world, inner, LOAD_CXX)
  })

  test('the environment settings of a compiled wrapper are kept', { skip: missing('gcc') }, () => {
    const bin = join(world.root, 'env/bin')
    mkdirSync(bin, { recursive: true })
    const program = runWell('readlink', ['-f', world.python]).trim()
    // what nixpkgs' makeBinaryWrapper writes for python3.withPackages
    const code = `#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
  setenv("PYTHONNOUSERSITE", "true", 1);
  setenv("WRAPPED", "1", 1);
  return execv("${program}", argv);
}`
    writeFileSync(join(bin, 'wrapper.c'), code)
    const loader = join(world.libs.glibc, readdirSync(world.libs.glibc).find(name => name.startsWith('ld-linux')) ?? '')
    const options = [`-Wl,--dynamic-linker=${loader}`, '-o', join(bin, 'python3')]
    runWell('gcc', ['-O2', join(bin, 'wrapper.c'), ...options])
    const venv = join(world.root, 'wrapped')
    runWell(join(bin, 'python3'), ['-m', 'venv', '--without-pip', venv], { env: world.env })
    const before = treeContent(venv)
    const ask = 'import os, sys; print(os.environ["WRAPPED"], sys.prefix, sys.executable, sys.base_prefix)'
    const plain = wellPython(world, venv, ask)
    assert.match(plain, /^1 /)
    const loaded = wheelfix(world, ['loader', venv, ...libs])
    assert.equal(loaded.status, 0, loaded.stderr)
    assert.equal(wheelfix(world, ['check', venv]).status, 0)
    assert.equal(wellPython(world, venv, `${LOAD_CXX}; ${ask}`), plain)
    assert.equal(wheelfix(world, ['restore', venv]).status, 0)
    assert.deepEqual(changed(before, treeContent(venv)), [])
  })

  test('a second run writes nothing, with any command and without the flags of the first run', () => {
    const venv = loaded()
    const state = () =>
      readdirSync(venv, { recursive: true, encoding: 'utf8' })
        // the answer to other options is remembered beside the first one
        .filter(name => name !== '.wheelfix' && name !== '.wheelfix/state.json')
        .map(name => {
          const { mtimeMs, ino, size } = lstatSync(join(venv, name))
          return `${name} ${ino} ${size} ${mtimeMs}`
        })
    const before = state()
    for (const args of [
      ['loader', venv],
      ['venv', venv],
      ['check', venv],
      ['venv', venv, '--strategy', 'both'],
    ]) {
      const { status, stdout, stderr } = wheelfix(world, args)
      assert.equal(status, 0, stdout + stderr)
      assert.deepEqual(state(), before, args.join(' '))
    }
  })

  for (const [name, make] of [
    ['links', makeVenv],
    ['copies', copiedVenv],
    ['uv', uvLikeVenv],
  ] as const) {
    test(`restore gives back a venv made with ${name}, also when .wheelfix is gone`, () => {
      for (const remove of [false, true]) {
        const venv: string = make(world, `${name}${Number(remove)}`)
        const before = treeContent(venv)
        assert.equal(wheelfix(world, ['loader', venv, ...libs]).status, 0)
        wellPython(world, venv, LOAD_CXX)
        if (remove) rmSync(join(venv, '.wheelfix'), { recursive: true })
        const { status, stdout, stderr } = wheelfix(world, ['restore', venv])
        assert.equal(status, 0, stdout + stderr)
        assert.deepEqual(changed(before, treeContent(venv)), [])
      }
    })
  }

  test('a dry run writes nothing and says what would be done; --json tells the loader', () => {
    const venv = makeVenv(world, 'dry')
    const before = treeContent(venv)
    const { status, stdout } = wheelfix(world, ['loader', venv, ...libs, '--dry-run', '--json'])
    assert.equal(status, 0)
    assert.deepEqual(changed(before, treeContent(venv)), [])
    const { command, loader } = JSON.parse(stdout) as { command: string; loader: Record<string, unknown> }
    assert.equal(command, 'loader')
    assert.equal(loader['status'], 'patch')
    assert.equal(loader['path'], join(venv, '.wheelfix/loader/ld-linux-x86-64.so.2'))
    assert.ok(Array.isArray(loader['libraries']) && loader['libraries'].length > 5)
    const program = runWell('readlink', ['-f', world.python]).trim()
    const names = readdirSync(join(venv, 'bin')).filter(name => name.startsWith('python'))
    assert.deepEqual(
      loader['pythons'],
      names.sort().map(name => ({ path: `bin/${name}`, program })),
    )
    assert.equal(wheelfix(world, ['loader', venv, ...libs]).status, 0)
    assert.equal(wheelfix(world, ['check', venv]).status, 0)
  })

  test('a removed loader and a cut cache are named by check and doctor, mended, or restored', () => {
    const plain = treeContent(makeVenv(world, 'undamaged'))
    const venv = loaded()
    const loader = join(venv, '.wheelfix/loader')
    const damages: [() => void, RegExp][] = [
      [() => rmSync(loader, { recursive: true }), /cannot start: its loader .* is gone/],
      [() => truncateSync(join(loader, 'ld.so.cache'), statSync(join(loader, 'ld.so.cache')).size / 2), /is damaged/],
      [() => writeFileSync(join(loader, 'ld.so.cache'), ''), /is damaged/],
      [() => unlinkSync(join(loader, 'ld.so.cache')), /ld\.so\.cache is gone/],
      [
        () =>
          writeFileSync(
            join(loader, 'ld-linux-x86-64.so.2'),
            readFileSync(join(world.libs.glibc, 'ld-linux-x86-64.so.2')),
          ),
        /made from a different libc/,
      ],
    ]
    for (const [damage, sentence] of damages) {
      damage()
      const checked = wheelfix(world, ['check', venv])
      assert.equal(checked.status, 1, checked.stdout)
      assert.match(checked.stderr, sentence)
      assert.match(checked.stderr, /run wheelfix loader/)
      const { status, stdout } = wheelfix(world, ['doctor', venv, '--json'])
      assert.equal(status, 1)
      const { findings } = JSON.parse(stdout) as { findings: { code: string; message: string; remedy: string }[] }
      const fault = findings.find(({ code }) => code === 'loader-fault')
      assert.match(fault?.message ?? '', sentence)
      assert.equal(fault?.remedy, `wheelfix loader ${venv}`)
      const copy = `${venv}-${count++}`
      cpSync(venv, copy, { recursive: true, verbatimSymlinks: true })
      assert.equal(wheelfix(world, ['restore', copy]).status, 0)
      assert.deepEqual(changedNames(plain, treeContent(copy)), [])
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      assert.equal(wheelfix(world, ['check', venv]).status, 0)
      wellPython(world, venv, LOAD_CXX)
    }
  })

  test('a venv whose path is too long for the loader has it in a folder of the cache', t => {
    // far more than the room behind the loader's constants, and than there is in a path of Nix
    const deep = Array.from({ length: 12 }, () => 'd'.repeat(200)).join('/')
    const venv = makeVenv(world, `${deep}/long`)
    const before = treeContent(venv)
    const cache = join(world.root, 'cache')
    const run = (...args: string[]) => wheelfix(world, [...args], { XDG_CACHE_HOME: cache })
    const { status, stdout, stderr } = run('loader', venv, ...libs, '--json')
    assert.equal(status, 0, stderr)
    const { path } = (JSON.parse(stdout) as { loader: { path: string } }).loader
    if (path.startsWith(venv)) return t.skip(inapplicable('this loader has room for a path of 2400 bytes'))
    assert.match(path, new RegExp(`^${cache}/wheelfix/[0-9a-f]{8}/ld-linux`))
    assert.match(
      stderr,
      /the path of this environment is too long for the loader: its cache is in .*\/cache\/wheelfix\//,
    )
    wellPython(world, venv, LOAD_CXX)
    for (const args of [['check'], ['doctor'], ['loader'], ['venv']]) {
      const { status, stdout, stderr } = run(...args, venv)
      assert.equal(status, 0, stdout + stderr)
    }
    // it stays where it is when the cache is elsewhere
    assert.equal(wheelfix(world, ['check', venv]).status, 0)
    assert.equal(wheelfix(world, ['venv', venv]).status, 0)
    assert.ok(!existsSync(join(world.root, 'home/.cache/wheelfix')))

    // somebody cleans the cache
    rmSync(cache, { recursive: true })
    assert.throws(() => wellPython(world, venv, ''), /ENOENT/)
    const checked = run('check', venv)
    assert.equal(checked.status, 1)
    assert.match(checked.stderr, /cannot start: its loader .*\/cache\/wheelfix\/.* is gone/)
    assert.match(run('doctor', venv).stdout, /is gone {2}loader-fault/)
    assert.equal(wheelfix(world, ['loader', venv, ...libs]).status, 0)
    wellPython(world, venv, LOAD_CXX)
    const folder = dirname(path)
    assert.ok(existsSync(folder))
    assert.equal(wheelfix(world, ['restore', venv]).status, 0)
    assert.deepEqual(changed(before, treeContent(venv)), [])
    assert.ok(!existsSync(folder))

    assert.equal(run('loader', venv, ...libs).status, 0)
    rmSync(cache, { recursive: true })
    assert.equal(run('restore', venv).status, 0)
    assert.deepEqual(changed(before, treeContent(venv)), [])
  })

  test('a moved venv is recognised, and mended', () => {
    const venv = loaded()
    const moved = `${venv}-moved`
    renameSync(venv, moved)
    assert.throws(() => run(join(moved, 'bin/python'), ['-V']), /ENOENT/)
    const checked = wheelfix(world, ['check', moved])
    assert.equal(checked.status, 1)
    assert.match(checked.stderr, /was moved/)
    assert.equal(wheelfix(world, ['loader', moved, ...libs]).status, 0)
    wellPython(world, moved, LOAD_CXX)
  })

  test('a base Python that was rebuilt with another glibc is recognised, mended, and restored', () => {
    const other = buildWorld({ compilerInClosure: true })
    if (typeof other === 'string') throw new Error(other)
    try {
      // a profile leads to another Python after the rebuild, and what the venv says of it stays
      const profile = join(world.root, 'profile')
      symlinkSync(world.outputs.python, profile)
      const venv = join(world.root, 'rebuilt')
      runWell(join(profile, 'bin/python3'), ['-m', 'venv', '--without-pip', venv], { env: world.env })
      assert.equal(readlinkSync(join(venv, 'bin/python3')), join(profile, 'bin/python3'))
      const before = treeContent(venv)
      assert.equal(wheelfix(world, ['loader', venv, ...libs]).status, 0)
      unlinkSync(profile)
      symlinkSync(other.outputs.python, profile)
      // the copy is of the old one, and still runs
      wellPython(world, venv, '')

      const checked = wheelfix(other, ['check', venv])
      assert.equal(checked.status, 1, checked.stderr)
      assert.match(checked.stderr, /was made from a different libc than this Python now has; run wheelfix loader/)
      assert.match(wheelfix(other, ['doctor', venv]).stdout, /made from a different libc .* {2}loader-fault/)
      const mended = wheelfix(other, ['loader', venv, '--libs', other.libs.gcc])
      assert.equal(mended.status, 0, mended.stderr)
      const mapped = 'print(open("/proc/self/maps").read())'
      const said = runWell(join(venv, 'bin/python3'), ['-c', `${LOAD_CXX}; ${mapped}`], { env: other.env })
      assert.ok(said.includes(other.libs.glibc) && said.includes(other.libs.gcc), said)
      assert.ok(!said.includes(world.store), said)
      assert.equal(wheelfix(other, ['check', venv]).status, 0)
      assert.equal(wheelfix(other, ['restore', venv]).status, 0)
      assert.deepEqual(changed(before, treeContent(venv)), [])
    } finally {
      other.dispose()
    }
  })

  test('a missing base Python is named, with what to do, and restore still works', () => {
    const gone = join(world.root, 'gone')
    mkdirSync(join(gone, 'bin'), { recursive: true })
    symlinkSync(world.python, join(gone, 'bin/python3'))
    const venv = makeVenv(world, 'orphan')
    unlinkSync(join(venv, 'bin/python3'))
    symlinkSync(join(gone, 'bin/python3'), join(venv, 'bin/python3'))
    const before = treeContent(venv)
    assert.equal(wheelfix(world, ['loader', venv, ...libs]).status, 0)
    rmSync(gone, { recursive: true })
    const checked = wheelfix(world, ['check', venv])
    assert.equal(checked.status, 2)
    assert.match(checked.stderr, /is a copy of the Python at .*\/gone\/bin\/python3, which no longer exists/)
    assert.equal(wheelfix(world, ['restore', venv]).status, 0)
    assert.deepEqual(changed(before, treeContent(venv)), [])
  })

  test('a read-only venv stays as it is', () => {
    const venv = makeVenv(world, 'readonly')
    const before = treeContent(venv)
    chmodSync(world.root, 0o755)
    chmodSync(join(world.root, 'home'), 0o777)
    chmodSync(join(venv, 'bin'), 0o555)
    chmodSync(venv, 0o555)
    const asNobody: { uid?: number; gid?: number } = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
    // the clone may be where nobody else may look
    cpSync(dirname(WHEELFIX), join(world.root, 'dist'), { recursive: true })
    const program = join(world.root, 'dist', basename(WHEELFIX))
    const { status, stderr } = spawnSync(process.execPath, [program, 'loader', venv, ...libs], {
      env: world.env,
      encoding: 'utf8',
      ...asNobody,
    })
    assert.equal(status, 2, stderr)
    assert.match(stderr, /cannot be written/)
    assert.match(
      stderr,
      asNobody.uid === undefined ? /make it writable first \(chmod -R u\+w\)/ : /run wheelfix as its owner/,
    )
    assert.doesNotMatch(stderr, /\n\s+at /)
    chmodSync(venv, 0o755)
    chmodSync(join(venv, 'bin'), 0o755)
    assert.deepEqual(changed(before, treeContent(venv)), [])
  })

  test('the configuration chooses the strategy, and another choice takes the loader away', () => {
    const venv = makeVenv(world, 'project/.venv')
    const config = join(world.root, 'project/wheelfix.toml')
    const lines = ['strategy = "loader"', `libs = ${JSON.stringify([world.libs.gcc])}`]
    writeFileSync(config, `${lines.join('\n')}\n`)
    assert.equal(wheelfix(world, ['venv', venv]).status, 0)
    assert.ok(lstatSync(join(venv, 'bin/python3')).isFile())
    wellPython(world, venv, LOAD_CXX)
    assert.equal(wheelfix(world, ['venv', venv, '--strategy', 'rpath']).status, 0)
    assert.ok(lstatSync(join(venv, 'bin/python3')).isSymbolicLink())
    assert.ok(!existsSync(join(venv, '.wheelfix/loader')))
    writeFileSync(config, 'strategy = "magic"\n')
    const wrong = wheelfix(world, ['venv', venv])
    assert.equal(wrong.status, 2)
    assert.match(wrong.stderr, /"strategy" must be "rpath", "loader" or "both"/)
  })
})

test('under musl a prefix of ours with a link to the loader does the same', { skip: missing('musl-gcc') }, () => {
  const root = mkdtempSync(join(tmpdir(), 'wheelfix-musl-'))
  try {
    const [store, venv] = [join(root, 'store'), join(root, 'venv')]
    for (const folder of ['python/bin', 'set/lib']) mkdirSync(join(store, folder), { recursive: true })
    for (const folder of ['bin', 'lib/python3.11/site-packages']) mkdirSync(join(venv, folder), { recursive: true })
    // stands in for Python: large, of its name, and loads what it is told to
    const program = join(store, 'python/bin/python3.11')
    writeFileSync(
      join(root, 'python.c'),
      `#include <dlfcn.h>
#include <stdio.h>
static char large[2 << 20] = {1};
int main(int argc, char **argv) {
  printf("%s", dlopen(argv[1], RTLD_NOW) ? "loaded" : dlerror());
  return large[argc];
}`,
    )
    runWell('musl-gcc', ['-o', program, join(root, 'python.c')])
    const library = join(store, 'set/lib/libwheelfix-test.so.1')
    const soname = '-Wl,-soname,libwheelfix-test.so.1'
    runWell('musl-gcc', ['-shared', '-nostdlib', soname, '-x', 'c', '/dev/null', '-o', library])
    // a module that needs it, in the report of the first run already
    const module = join(venv, 'lib/python3.11/site-packages/needs_it.cpython-311-x86_64-linux-musl.so')
    const linked = ['-Wl,--no-as-needed', '-x', 'none', library]
    runWell('musl-gcc', ['-shared', '-nostdlib', '-x', 'c', '/dev/null', ...linked, '-o', module])
    writeFileSync(join(venv, 'pyvenv.cfg'), `home = ${store}/python/bin\nversion = 3.11.7\n`)
    symlinkSync(program, join(venv, 'bin/python3'))
    const before = treeContent(venv)
    const load = () => run(join(venv, 'bin/python3'), ['libwheelfix-test.so.1'], { env: {} }).stdout
    const wheelfixed = (...args: string[]) =>
      run(process.execPath, [WHEELFIX, ...args], { env: { NIX_STORE_DIR: store, HOME: root } })
    assert.match(load(), /Error loading shared library libwheelfix-test\.so\.1/)
    const { status, stderr } = wheelfixed('loader', venv, '--libs', join(store, 'set/lib'))
    assert.equal(status, 0, stderr)
    assert.equal(load(), 'loaded')
    assert.equal(wheelfixed('check', venv).status, 0)
    assert.equal(wheelfixed('restore', venv).status, 0)
    assert.deepEqual(changed(before, treeContent(venv)), [])
  } finally {
    rmSync(root, { recursive: true })
  }
})

const CROSS = '/usr/aarch64-linux-gnu/lib'
const LD_AARCH64 = 'ld-linux-aarch64.so.1'
const lacksAarch64 =
  missing('qemu-aarch64-static') || (!existsSync(join(CROSS, LD_AARCH64)) && skip('needs libc6-arm64-cross'))

test('a venv of another machine gets a private loader, which an emulator runs', { skip: lacksAarch64 }, () => {
  const root = mkdtempSync(join(tmpdir(), 'wheelfix-aarch64-'))
  try {
    const [store, venv] = [join(root, 'store'), join(root, 'venv')]
    for (const folder of ['glibc/lib', 'set/lib']) mkdirSync(join(store, folder), { recursive: true })
    for (const folder of ['bin', 'lib/python3.11/site-packages']) mkdirSync(join(venv, folder), { recursive: true })
    for (const name of [LD_AARCH64, 'libc.so.6']) copyFileSync(join(CROSS, name), join(store, 'glibc/lib', name))
    chmodSync(join(store, 'glibc/lib', LD_AARCH64), 0o755)
    // the libc is a program that says what it is; large and of this name it passes for Python
    const program = join(store, 'glibc/lib/python3.11')
    copyFileSync(join(CROSS, 'libc.so.6'), program)
    rebuildElf(program, { interpreter: join(store, 'glibc/lib', LD_AARCH64) })
    chmodSync(program, 0o755)
    const soname = 'libwheelfix-test.so.1'
    copyFileSync(join(CROSS, 'libBrokenLocale.so.1'), join(store, 'set/lib', soname))
    const searchPath = { tag: 'DT_RUNPATH', value: join(store, 'glibc/lib') } as const
    rebuildElf(join(store, 'set/lib', soname), { soname, searchPath })
    writeFileSync(join(venv, 'pyvenv.cfg'), `home = ${store}/glibc/lib\nversion = 3.11.7\n`)
    symlinkSync(program, join(venv, 'bin/python3'))
    const before = treeContent(venv)
    const load = () => {
      const { stdout, stderr } = run('qemu-aarch64-static', ['-E', `LD_PRELOAD=${soname}`, join(venv, 'bin/python3')])
      assert.match(stdout, /^GNU C Library/)
      return stderr
    }
    // a shell that takes an ELF file for a script leaves files behind
    const cwd = join(root, 'cwd')
    mkdirSync(cwd)
    const wheelfixed = (...args: string[]) =>
      run(process.execPath, [WHEELFIX, ...args], {
        env: { NIX_STORE_DIR: store, HOME: root, PATH: process.env['PATH'] },
        cwd,
      })
    assert.match(load(), /libwheelfix-test\.so\.1' from LD_PRELOAD cannot be preloaded/)
    const { status, stderr } = wheelfixed('loader', venv, '--libs', join(store, 'set/lib'))
    assert.equal(status, 0, stderr)
    assert.match(stderr, /for another machine: it was not tried/)
    assert.equal(load(), '')
    assert.equal(wheelfixed('check', venv).status, 0)
    const doctor = wheelfixed('doctor', venv)
    assert.match(doctor.stdout, /for another machine, so .* {2}other-machine/)
    assert.equal(doctor.status, 0)
    assert.equal(wheelfixed('restore', venv).status, 0)
    assert.deepEqual(changed(before, treeContent(venv)), [])
    assert.deepEqual(readdirSync(cwd), [])
  } finally {
    rmSync(root, { recursive: true })
  }
})

suite('the private loader and real wheels', () => {
  const world = withWheels(buildWorld())
  if (typeof world === 'string') {
    test('needs wheels', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]

  test('wheels stay as they are and import, also those that are installed later', () => {
    const venv = makeVenv(world, 'wheels')
    pipInstall(world, venv, ['numpy', 'ruff', 'lxml', 'pillow', 'greenlet'])
    const site = sitePackages(world, venv)
    const onHost = importAll(world.host.python.executable, site, world.env)
    assert.notDeepEqual(comparedWith(onHost, importAll(join(venv, 'bin/python'), site, world.env)).failing, [])
    assert.match(runPython(world, venv, 'import numpy').stderr, /libstdc\+\+\.so\.6: cannot open shared object file/)
    const before = treeContent(join(venv, 'lib'))
    const { status, stdout } = wheelfix(world, ['loader', venv, ...libs, '--json'])
    assert.equal(status, 0)
    // RECORD of the package whose program was changed has its fields emptied
    assert.deepEqual(
      changed(before, treeContent(join(venv, 'lib'))).filter(
        name => !/ruff-.*\/RECORD$|\/_wheelfix_find_library\./.test(name),
      ),
      [],
    )
    const { objects } = JSON.parse(stdout) as { objects: { path: string; status: string }[] }
    assert.deepEqual(
      objects.filter(object => object.status === 'patched').map(object => object.path),
      ['bin/ruff'],
    )
    const { modules, failing } = comparedWith(onHost, importAll(join(venv, 'bin/python'), site, world.env))
    assert.deepEqual(failing, [])
    assert.ok(modules > 20)
    const svd = 'import numpy as np; print(np.linalg.svd(np.eye(3))[1].sum())'
    assert.equal(wellPython(world, venv, svd), '3.0')
    assert.match(runWell(join(venv, 'bin/ruff'), ['--version'], { env: world.env }), /^ruff /)
    pipInstall(world, venv, ['pyzmq', 'shapely'])
    assert.equal(wellPython(world, venv, 'import zmq, shapely; print(shapely.box(0, 0, 2, 2).area)'), '4.0')
    assert.equal(wheelfix(world, ['check', venv]).status, 0)
  })
})

/** A venv whose bin/python is a file: Python's own `--copies`. */
function copiedVenv(world: World, name: string): string {
  const venv = join(world.root, name)
  runWell(world.python, ['-m', 'venv', '--without-pip', '--copies', venv], { env: world.env })
  return venv
}

/** uv's way: python leads out of the venv, python3 and python3.X lead to python. */
function uvLikeVenv(world: World, name: string): string {
  const venv = makeVenv(world, name)
  const bin = join(venv, 'bin')
  const names = readdirSync(bin).filter(entry => entry.startsWith('python'))
  const program = readlinkSync(join(bin, names.find(entry => readlinkSync(join(bin, entry)).startsWith('/')) ?? ''))
  for (const entry of names) unlinkSync(join(bin, entry))
  symlinkSync(program, join(bin, 'python'))
  for (const entry of names) if (entry !== 'python') symlinkSync('python', join(bin, entry))
  return venv
}
