// What a user attaches to a report of a bug, and what a bug looks like.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { bytesSource } from '../../src/elf/source.ts'
import { outlineOf } from '../../src/elf/outline.ts'
import { anonymiser } from '../../src/inspect/bundle/anonymous.ts'
import { skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { installDemoWheel, makeVenv, sitePackages, WHEELFIX, wheelfix } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

const LIST = `
import json, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
print(json.dumps({i.filename: z.read(i).decode() for i in z.infolist()}))`

suite('wheelfix doctor --bundle', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('writes a report without the name of the user', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const home = join(world.root, 'home/jane.doe')
  const project = join(home, 'janes project')
  mkdirSync(project, { recursive: true })
  const env = { HOME: home, USER: 'jane.doe', LOGNAME: 'jane.doe', WHEELFIX_TEST_SECRET: 'secret' }
  const venv = makeVenv(world, join('home/jane.doe/janes project', '.venv'))
  installDemoWheel(world, venv)
  const module = join(sitePackages(world, venv), 'wheelfix_demo/_demo.abi3.so')
  const doctor = (...args: string[]) => wheelfix(world, ['doctor', venv, '--no-scan', ...args], env)
  const read = (path: string): Record<string, string> =>
    JSON.parse(runWell(world.host.python.executable, ['-c', LIST, path])) as Record<string, string>

  test('holds what doctor and why say, versions, outlines and the state, and tells what it holds', () => {
    const path = join(project, 'bug.zip')
    const { status, stdout } = doctor('--bundle', path)
    assert.equal(status, 1)
    const entries = read(path)
    const names = Object.keys(entries)
    assert.deepEqual(names, [
      'versions.json',
      'doctor.json',
      'elf/01-_demo.abi3.so.json',
      'why/01-_demo.abi3.so.json',
      'state/list.txt',
    ])
    const list = /bug\.zip holds:\n((?: {2}.*\n)+)/.exec(stdout)?.[1] ?? ''
    assert.deepEqual(
      list
        .trim()
        .split('\n')
        .map(line => line.trim().split(' ')[0]),
      names,
    )
    const json = (name: string) => JSON.parse(entries[name] ?? '') as Record<string, never>
    assert.equal(json('versions.json')['node'], process.version)
    assert.equal(json('doctor.json')['command'], 'doctor')
    assert.equal(json('why/01-_demo.abi3.so.json')['kind'], 'file')
    assert.match(entries['elf/01-_demo.abi3.so.json'] ?? '', /"needed": \[\s+"libz/)
  })

  test('has neither the name of the user nor the home folder in it, in texts and in bytes', () => {
    runWell('cp', [module, `${module}.orig`])
    runWell(process.execPath, [WHEELFIX, 'elf', '--set-rpath', `${home}/lib:/srv/jane.doe/lib`, module])
    const path = join(project, 'second.zip')
    const { stdout } = doctor('--bundle', path)
    assert.match(stdout, /second\.zip holds/)
    const entries = read(path)
    const decoded = Object.values(entries).flatMap(text => [
      text,
      ...[...text.matchAll(/"base64": "([^"]*)"/g)].map(([, base64 = '']) =>
        Buffer.from(base64, 'base64').toString('latin1'),
      ),
    ])
    for (const text of [...decoded, ...Object.keys(entries)]) assert.doesNotMatch(text, /jane\.doe|secret/)
    assert.match(entries['elf/01-_demo.abi3.so.json'] ?? '', /"runpath": "[^"]*\/home\/user\/lib:\/srv\/user\/lib/)
    assert.match(entries['doctor.json'] ?? '', /\/home\/user\/janes project/)
    runWell('mv', [`${module}.orig`, module])
  })

  test('holds the state that wheelfix keeps, and of files no code', () => {
    assert.equal(wheelfix(world, ['venv', venv, '--libs', world.libs.gcc, '--no-scan'], env).status, 0)
    const path = join(project, 'third.zip')
    doctor('--bundle', path)
    const entries = read(path)
    assert.match(entries['state/list.txt'] ?? '', /libs\.json \(file\)/)
    assert.match(entries['state/libs.json'] ?? '', /libstdc\+\+/)
    const bytes = readFileSync(module)
    const { ranges, object } = outlineOf(bytesSource(bytes))
    assert.ok(!(object instanceof Error))
    const code = object.programHeaders.filter(({ type, flags }) => type === 1 && (flags & 1) !== 0)
    assert.ok(code.length > 0)
    for (const { what, offset, bytes: part } of ranges) {
      if (what === 'PT_NOTE') continue
      for (const segment of code)
        assert.ok(offset + part.length <= segment.offset || offset >= segment.offset + segment.filesz, what)
    }
  })

  test('overwrites nothing, takes one folder, and is in the document with --json', () => {
    const path = join(project, 'there.zip')
    writeFileSync(path, 'mine')
    const again = doctor('--bundle', path)
    assert.equal(again.status, 2)
    assert.match(again.stderr, /there\.zip already exists/)
    assert.equal(readFileSync(path, 'utf8'), 'mine')
    assert.match(doctor(venv, '--bundle', join(project, 'x.zip')).stderr, /name one folder/)
    const { stdout } = doctor('--json', '--bundle', join(project, 'json.zip'))
    const { bundle } = JSON.parse(stdout) as { bundle: { entries: { name: string }[] } }
    assert.ok(bundle.entries.some(({ name }) => name === 'doctor.json'))
  })

  test('says what is wrong where the Python cannot start', () => {
    const broken = makeVenv(world, 'broken')
    runWell('ln', ['-sfn', '/nowhere/python3', join(broken, 'bin/python')])
    runWell('ln', ['-sfn', '/nowhere/python3', join(broken, 'bin/python3')])
    const path = join(project, 'broken.zip')
    assert.equal(wheelfix(world, ['doctor', broken, '--bundle', path], env).status, 1)
    assert.match(read(path)['doctor.json'] ?? '', /python-broken/)
  })

  // a preloaded module breaks a function of Node, and so the program
  const crash = join(world.root, 'crash.cjs')
  writeFileSync(
    crash,
    `const os = require('node:child_process'); os.spawnSync = () => { throw new TypeError('broken on purpose') }`,
  )
  const crashing = (...args: string[]) => wheelfix(world, args, { ...env, NODE_OPTIONS: `--require=${crash}` })

  test('a bug ends with status 70 and one sentence, which asks for the bundle', () => {
    const { status, stdout, stderr } = crashing('doctor', venv)
    assert.equal(status, 70)
    assert.equal(stdout, '')
    assert.match(stderr, /^error: this is a bug in wheelfix \(TypeError: broken on purpose\)\. .*doctor --bundle .*\n$/)
    assert.doesNotMatch(stderr, /\n.*\n/)
    assert.match(crashing('doctor', venv, '--verbose').stderr, /\n +at /)
    const json = crashing('doctor', venv, '--json')
    assert.equal((JSON.parse(json.stdout) as { error: { code: string } }).error.code, 'BUG')
  })

  test('a bug of doctor itself is in the bundle, with its stack', () => {
    const path = join(project, 'crash.zip')
    assert.equal(crashing('doctor', venv, '--bundle', path).status, 70)
    const entries = read(path)
    assert.match(entries['crash.txt'] ?? '', /TypeError: broken on purpose\n +at /)
    assert.ok('versions.json' in entries && !('doctor.json' in entries))
  })
})

test('a name is replaced where it stands alone, a home folder where it ends', () => {
  const { text, bytes } = anonymiser({ homes: ['/home/ann/', '/data/home/ann'], names: ['ann'] })
  assert.equal(text('/home/ann/x /home/anna /data/home/ann'), '/home/user/x /home/anna /home/user')
  assert.equal(text('ann: annotation, /srv/ann, "ann"'), 'user: annotation, /srv/user, "user"')
  assert.equal(bytes(Buffer.from('/home/ann/x\0annotation\0ann')).toString(), 'xxxxxxxxx/x\0annotation\0xxx')
  const odd = anonymiser({ homes: ['/home/ann-marie (x)'], names: ['ann-marie', 'a+b'] })
  assert.equal(odd.text('/home/ann-marie (x)/y ann-marie a+b a+bc'), '/home/user/y user user a+bc')
  const encoded = (bytes: string): string => JSON.stringify(Buffer.from(bytes).toString('base64'))
  assert.equal(text(encoded('\0/home/ann/x/and/more\0')), encoded('\0xxxxxxxxx/x/and/more\0'))
  assert.equal(text('"home/janeandothers/files"'), '"home/janeandothers/files"')
  const nobody = anonymiser({ homes: ['/root', '/', ''], names: ['root', ''] })
  assert.equal(nobody.text('{"root": "/root/x"}'), '{"root": "/root/x"}')
})

test('nothing of an outline reaches beyond the file, whatever its headers say', () => {
  const whole = readFileSync(process.execPath).subarray(0, 1 << 20)
  for (const length of [0, 3, 16, 63, 64, 200, 1000, 5000]) {
    const { ranges, object } = outlineOf(bytesSource(whole.subarray(0, length)))
    for (const { offset, bytes } of ranges) assert.ok(offset + bytes.length <= length)
    assert.ok(object instanceof Error)
  }
})
