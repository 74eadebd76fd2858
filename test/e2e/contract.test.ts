// The contract of the commands, as other programs rely on it: options, exit statuses, streams, JSON, and what bad input
// gets. In a world of its own, without a network and without a compiler.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { skip } from '../support/requires.ts'
import { installDemoWheel, makeVenv, sitePackages, WHEELFIX, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

suite('the contract of the commands', () => {
  const world = buildWorld()
  if (typeof world === 'string') test('holds', { skip: skip(world) })
  else {
    after(() => world.dispose())
    streams(world)
    usage(world)
    documents(world)
    badInput(world)
    nothingToDo(world)
    restoring(world)
  }
})

/** A venv with one wheel, whose objects lack libstdc++ and zlib. */
function demoVenv(world: World, name: string): string {
  const venv = makeVenv(world, name)
  installDemoWheel(world, venv)
  return venv
}

function streams(world: World): void {
  const venv = demoVenv(world, 'streams')

  test('--quiet prints nothing when there is no problem, else where, what, and how much', () => {
    const pending = wheelfix(world, ['check', venv, '--quiet'])
    assert.equal(pending.status, 1)
    assert.match(pending.stdout, /\/streams\n\n1 object: 1 to patch\n→ to patch: wheelfix venv \S+\/streams\n$/)
    const lacking = wheelfix(world, ['check', venv, '--quiet', '--no-scan'])
    assert.match(lacking.stdout, /\/streams\n\n(✗ .* (?:is|are) missing: .*\n)+\n.* missing\n→ [^]*$/)
    assert.deepEqual(wheelfix(world, ['venv', venv, '--quiet', '--dry-run']), { status: 0, stdout: '', stderr: '' })
  })

  test('colour goes to a terminal only, or where it is asked for', () => {
    const isColoured = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
      wheelfix(world, ['check', venv, ...args], env).stdout.includes('\u001B[')
    assert.equal(isColoured([]), false)
    assert.equal(isColoured(['--color', 'auto']), false)
    assert.equal(isColoured(['--color=always']), true)
    assert.equal(isColoured([], { FORCE_COLOR: '1' }), true)
    assert.equal(isColoured([], { FORCE_COLOR: '1', NO_COLOR: '1' }), false)
    assert.equal(isColoured(['--color', 'never'], { FORCE_COLOR: '1' }), false)
  })

  test('a reader that leaves early changes no status and costs no stack trace', () => {
    const command = `{ "${process.execPath}" "${WHEELFIX}" check "${venv}" --json; echo $? >&2; } | true`
    const { stderr } = spawnSync('/bin/sh', ['-c', command], { env: world.env, encoding: 'utf8' })
    assert.equal(stderr, '1\n')
  })

  test('a report that cannot be written gives a sentence and no success', () => {
    const full = openSync('/dev/full', 'w')
    const args = [WHEELFIX, 'venv', venv, '--dry-run']
    const { status, stderr } = spawnSync(process.execPath, args, { env: world.env, stdio: ['ignore', full, 'pipe'] })
    closeSync(full)
    assert.equal(status, 1)
    assert.match(stderr.toString(), /^error: the report cannot be written: .*\n$/)
  })
}

function usage(world: World): void {
  test('wrong usage has status 2, and with --json a document', () => {
    for (const args of [['venv', '--bogus'], ['libs', 'a', 'b'], ['check', '--color', 'purple'], ['frobnicate']]) {
      assert.equal(wheelfix(world, args).status, 2)
      const { status, stdout } = wheelfix(world, [...args, '--json'])
      assert.equal(status, 2)
      const { schema, error } = JSON.parse(stdout)
      assert.equal(schema, 'wheelfix/1')
      assert.equal(error.code, 'USAGE')
      assert.doesNotMatch(error.message, /^error/)
    }
  })
}

function documents(world: World): void {
  test('the document of venv and check has the fields that docs/json.md names, and no others', () => {
    const venv = demoVenv(world, 'document')
    const whole = [
      'schema',
      'command',
      'venv',
      'python',
      'libs',
      'objects',
      'conflicts',
      'windows',
      'missing',
      'held',
      'summary',
    ]
    for (const args of [
      ['check', venv],
      ['venv', venv, '--no-scan'],
      ['venv', venv],
      ['check', venv],
    ]) {
      const document = JSON.parse(wheelfix(world, [...args, '--json']).stdout) as Record<string, unknown>
      assert.deepEqual(Object.keys(document), whole, args.join(' '))
      const { python, libs, objects, missing, summary } = document as unknown as {
        [name: string]: Record<string, unknown> & Record<string, unknown>[]
      }
      const keysOf = (rows: readonly object[] | undefined) => [...new Set((rows ?? []).flatMap(Object.keys))]
      const isBelow = (keys: readonly string[], names: string) =>
        assert.deepEqual(
          keys.filter(key => !names.split(' ').includes(key)),
          [],
          names,
        )
      assert.deepEqual(Object.keys(python ?? {}), ['version', 'executable', 'interpreter', 'libc'])
      isBelow(keysOf(libs), 'soname path source')
      isBelow(keysOf(objects), 'path distribution kind needed change missing status reason')
      isBelow(keysOf(objects?.flatMap(object => object['needed'] as object[])), 'soname provider because')
      isBelow(keysOf(objects?.map(object => object['change'] ?? {})), 'rpath interpreter')
      isBelow(keysOf(missing), 'soname neededBy optional hint')
      assert.deepEqual(Object.keys(summary ?? {}), [
        'objects',
        'patched',
        'restored',
        'fine',
        'missing',
        'optional',
        'refused',
        'broken',
        'held',
      ])
      const readme = readFileSync(join(import.meta.dirname, '../../../docs/json.md'), 'utf8')
      for (const name of [...whole, ...Object.keys(summary ?? {})]) assert.ok(readme.includes(`"${name}": `), name)
    }
  })
}

function badInput(world: World): void {
  const venv = demoVenv(world, 'bad input')

  test('a directory of --libs that cannot be used is named with what is wrong with it', () => {
    mkdirSync(join(world.root, 'empty'))
    for (const [libs, code, sentence] of [
      ['/nowhere', 'LIBS_NOT_FOUND', /\/nowhere does not exist: give --libs/],
      [world.python, 'LIBS_NOT_FOUND', /python3 is a file: give --libs/],
      ['', 'USAGE', /the word after --libs is empty: check the variable that it comes from/],
      ['empty', 'LIBS_EMPTY', /empty contains no shared library: give --libs/],
      [world.host.libcDirectory, 'LIBS_NOT_IN_STORE', /contains nothing from the Nix store/],
    ] as const) {
      const { status, stdout } = wheelfix(world, ['venv', venv, '--json', '--libs', libs])
      assert.equal(status, 2)
      const { error } = JSON.parse(stdout)
      assert.equal(error.code, code)
      assert.match(error.message, sentence)
    }
  })

  test('a file name moves no cursor and makes no line of its own', () => {
    const named = demoVenv(world, 'names')
    const name = 'evil\u001B[2J\nall\u001B[8m\u202E well.so'
    writeFileSync(join(sitePackages(world, named), name), readFileSync(world.python).subarray(0, 1000))
    for (const args of [['check'], ['check', '--color', 'always'], ['doctor']]) {
      const [command = '', ...rest] = args
      const { status, stdout } = wheelfix(world, [command, named, ...rest])
      assert.equal(status, 1)
      assert.match(stdout, /evil\\x1b\[2J\\x0aall\\x1b\[8m\\u202e well\.so/)
      for (const hidden of ['\u001B[2J', '\u001B[8m', '\u202E']) assert.equal(stdout.includes(hidden), false)
    }
    const { stderr } = wheelfix(world, ['venv', join(world.root, 'none\u001B[2J')])
    assert.match(stderr, /none\\x1b\[2J/)
  })

  test('a pyvenv.cfg that never ends is called broken, and is not waited for', () => {
    const odd = join(world.root, 'odd')
    mkdirSync(odd)
    spawnSync('mkfifo', [join(odd, 'pyvenv.cfg')])
    const options = { env: world.env, encoding: 'utf8', timeout: 20_000 } as const
    const { status, stderr } = spawnSync(process.execPath, [WHEELFIX, 'venv', odd], options)
    assert.equal(status, 2)
    assert.match(stderr, /odd\/pyvenv\.cfg is broken: it is not a file/)
  })

  test('a bin/ that leads out of the venv is not followed', () => {
    const linked = demoVenv(world, 'linked')
    renameSync(join(linked, 'bin'), join(world.root, 'elsewhere'))
    symlinkSync('../elsewhere', join(linked, 'bin'))
    cpSync(world.python, join(world.root, 'elsewhere/tool'))
    const { status, stdout } = wheelfix(world, ['venv', linked, '--dry-run', '--json'])
    assert.equal(status, 0)
    const { objects } = JSON.parse(stdout)
    assert.deepEqual(
      objects.filter(({ path }: { path: string }) => path.startsWith('bin/')),
      [],
    )
  })
}

/** What an unchanged venv is answered from memory must never be older than what it depends on. */
function nothingToDo(world: World): void {
  const venv = demoVenv(world, 'nothing to do')
  const stamp = join(venv, '.wheelfix/state.json')

  test('a library that comes into the store is found by the next run', () => {
    const aside = join(world.root, 'aside')
    renameSync(world.outputs.gcc, aside)
    assert.equal(wheelfix(world, ['venv', venv]).status, 1)
    assert.equal(wheelfix(world, ['check', venv]).status, 1)
    renameSync(aside, world.outputs.gcc)
    assert.match(wheelfix(world, ['check', venv]).stdout, /to patch/)
    assert.equal(wheelfix(world, ['venv', venv]).status, 0)
  })

  test('a package that comes into the store and serves nothing that is missing does not start a whole run', () => {
    const aside = join(world.root, 'aside')
    renameSync(world.outputs.gcc, aside)
    assert.equal(wheelfix(world, ['venv', venv]).status, 1)
    const mark = () => writeFileSync(stamp, readFileSync(stamp, 'utf8').replaceAll('"glibc 2.', '"an old answer 2.'))
    const isQuick = (command: string) => {
      const { status, stdout } = wheelfix(world, [command, venv])
      assert.equal(status, 1)
      return stdout.includes('an old answer')
    }
    mark()
    assert.ok(isQuick('venv'))
    const unrelated = join(world.store, `${'a'.repeat(32)}-unrelated-1.0`)
    mkdirSync(join(unrelated, 'lib'), { recursive: true })
    writeFileSync(join(unrelated, 'lib/libunrelated.so.1'), '')
    // check writes nothing, so it scans the store each time
    assert.deepEqual([isQuick('check'), isQuick('venv'), isQuick('venv')], [true, true, true])
    // a package with another name that has the library
    cpSync(join(aside, 'lib'), join(unrelated, 'lib'), { recursive: true })
    const other = join(world.store, `${'b'.repeat(32)}-unrelated-2.0`)
    renameSync(unrelated, other)
    assert.doesNotMatch(wheelfix(world, ['check', venv]).stdout, /an old answer/)
    assert.doesNotMatch(wheelfix(world, ['venv', venv, '--dry-run']).stdout, /an old answer/)
    rmSync(other, { recursive: true })
    renameSync(aside, world.outputs.gcc)
    assert.match(wheelfix(world, ['check', venv]).stdout, /to patch/)
    assert.equal(wheelfix(world, ['venv', venv]).status, 0)
  })

  test('a run with nothing to do writes nothing, from another shell either', () => {
    const shell = { NIX_LDFLAGS: `-L${world.libs.zlib}` }
    wheelfix(world, ['venv', venv], shell)
    const look = () => {
      const { ino, mtimeMs, ctimeMs } = statSync(stamp)
      return { text: readFileSync(stamp, 'utf8'), ino, mtimeMs, ctimeMs }
    }
    const before = look()
    for (const env of [{}, shell]) {
      for (const options of [[], ['--json'], ['--verbose']]) wheelfix(world, ['venv', venv, ...options], env)
    }
    assert.deepEqual(look(), before)
    assert.equal(JSON.parse(before.text).answers.length, 2)
  })

  test('a folder that was named and now leads elsewhere is looked at again', () => {
    const result = join(world.root, 'result')
    const other = join(world.store, 'newer-gcc-lib')
    cpSync(world.outputs.gcc, other, { recursive: true })
    symlinkSync(world.outputs.gcc, result)
    const args = ['venv', venv, '--libs', `${result}/lib`]
    assert.equal(wheelfix(world, args).status, 0)
    rmSync(result)
    symlinkSync(other, result)
    assert.match(wheelfix(world, [...args, '--dry-run']).stdout, /to patch/)
    rmSync(result)
    rmSync(other, { recursive: true })
  })

  test('relative folders mean those of the folder that one is in', () => {
    const runIn = (cwd: string) =>
      spawnSync(process.execPath, [WHEELFIX, 'venv', venv, '--libs', 'lib', '--quiet'], { cwd, env: world.env }).status
    assert.equal(runIn(world.outputs.gcc), 0)
    assert.equal(runIn(world.root), 2)
  })

  test('a Python that is broken in place is seen', () => {
    const copy = join(world.root, 'copies')
    const make = ['-m', 'venv', '--without-pip', '--copies', copy]
    assert.equal(spawnSync(world.python, make, { env: world.env }).status, 0)
    installDemoWheel(world, copy)
    assert.equal(wheelfix(world, ['venv', copy]).status, 0)
    writeFileSync(join(copy, 'bin/python'), 'no program')
    assert.equal(wheelfix(world, ['check', copy]).status, 2)
  })
}

function restoring(world: World): void {
  test('a RECORD that cannot be written is distinguished from an object that was left alone', t => {
    const venv = demoVenv(world, 'unwritable')
    const site = sitePackages(world, venv)
    const record = join(site, readdirSync(site).find(name => name.endsWith('.dist-info')) ?? '', 'RECORD')
    if (spawnSync('chattr', ['+i', record]).status !== 0) {
      t.skip('no file can be made immutable here')
      return
    }
    let first
    try {
      first = wheelfix(world, ['venv', venv])
    } finally {
      spawnSync('chattr', ['-i', record])
    }
    assert.equal(first.status, 1)
    assert.match(first.stdout, / needs another run: it is patched, but its RECORD is not up to date/)
    assert.doesNotMatch(first.stdout, /was not changed/)
    assert.equal(wheelfix(world, ['venv', venv]).status, 0)
    assert.match(readFileSync(record, 'utf8'), /\.so,,\n/)
  })

  test('restore --verbose names what it gave back', () => {
    const venv = demoVenv(world, 'verbose')
    const [demo] = JSON.parse(wheelfix(world, ['venv', venv, '--json']).stdout).objects
    const { stdout } = wheelfix(world, ['restore', venv, '--verbose'])
    assert.match(stdout, /\/verbose\n(  .+\n)+\d+ objects? restored\n$/)
    assert.ok(stdout.includes(`  ${demo.path}\n`))
  })

  test('a damaged file that came with a wheel does not keep a venv from being restored', () => {
    const venv = demoVenv(world, 'damaged')
    const demo = JSON.parse(wheelfix(world, ['check', venv, '--json']).stdout).objects[0].path
    writeFileSync(join(venv, `${demo}.cut.so`), readFileSync(join(venv, demo)).subarray(0, 1000))
    assert.equal(wheelfix(world, ['venv', venv]).status, 0)
    const { status, stdout } = wheelfix(world, ['restore', venv])
    assert.equal(status, 0, stdout)
    assert.equal(statSync(join(venv, '.wheelfix'), { throwIfNoEntry: false }), undefined)
  })
}
