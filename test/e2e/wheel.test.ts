// `wheelfix wheel` as a user runs it: patched wheels are installed into the world's venvs and import without `wheelfix venv`.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { missing, skip } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { hashFile } from '../support/tree.ts'
import { makeVenv, sitePackages, WHEELFIX, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'
import { makeZip, type Part } from '../wheel/archives.ts'
import { partsOf as partsOfWheel } from '../wheel/parts.ts'
import { TESTED_PACKAGES, usePackage } from './packages.ts'

const FIXTURES = join(import.meta.dirname, '../../../fixtures/demo-wheel')
const DEMO = readdirSync(FIXTURES).find(name => name.endsWith('.whl')) ?? ''

/** What Python makes of a wheel: contents are sound, RECORD is true; prints names with hashes and what else an entry has. */
const EXAMINE = `
import base64, csv, hashlib, io, json, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
record = next(n for n in z.namelist() if n.endswith('.dist-info/RECORD'))
wrong = []
for name, digest, size in csv.reader(io.StringIO(z.read(record).decode())):
    if name == record: continue
    data = z.read(name)
    want = 'sha256=' + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')
    if (digest, size) != (want, str(len(data))): wrong.append(name)
print(json.dumps({'wrong': wrong, 'entries': {i.filename: [hashlib.sha256(z.read(i)).hexdigest(), i.external_attr, list(i.date_time), i.compress_type] for i in z.infolist()}}))
`

/** Packs a wheel as `wheel` and `auditwheel` do, with more entries in front of RECORD. */
const REPACK = `
import json, sys, zipfile
old = zipfile.ZipFile(sys.argv[1])
with zipfile.ZipFile(sys.argv[2], 'w', zipfile.ZIP_DEFLATED) as new:
    for i in old.infolist():
        if i.filename.endswith('RECORD'):
            for name, text in json.loads(sys.argv[3]).items(): new.writestr(name, text)
        j = zipfile.ZipInfo(i.filename, i.date_time)
        j.external_attr, j.compress_type = i.external_attr, zipfile.ZIP_DEFLATED
        new.writestr(j, old.read(i))
`

/** Changes what a patched wheel tells of its original. */
const CRAFT = `
import base64, io, json, sys, zipfile
def evil(name):
    b = io.BytesIO()
    with zipfile.ZipFile(b, 'w') as z: z.writestr(name, 'evil')
    at = z.start_dir
    raw = b.getvalue()
    return {'position': 0, 'index': 0, 'local': base64.b64encode(raw[:at]).decode(), 'central': base64.b64encode(raw[at:-22]).decode()}
with zipfile.ZipFile(sys.argv[1], 'a') as z:
    head, _, tail = z.comment.partition(b'wheelfix-undo ')
    u = json.loads(tail)
    exec(sys.argv[2])
    z.comment = head + b'wheelfix-undo ' + json.dumps(u).encode()
`

/** A build backend that needs the demo wheel, and builds an empty one. */
const BACKEND = `
import os, wheelfix_demo, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = 'built-1-py3-none-any.whl', 'built-1.dist-info/'
    with zipfile.ZipFile(os.path.join(folder, name), 'w') as z:
        z.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: built\\nVersion: 1\\n')
        z.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        z.writestr(info + 'RECORD', ''.join(info + file + ',,\\n' for file in ('METADATA', 'WHEEL', 'RECORD')))
    return name
`

interface Examined {
  readonly wrong: readonly string[]
  readonly entries: Readonly<Record<string, readonly unknown[]>>
}

suite('wheelfix wheel', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('patches the demo wheel', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const python = world.host.python.executable
  const demo = join(world.root, DEMO)
  copyFileSync(join(FIXTURES, DEMO), demo)
  const out = join(world.root, 'out')
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
  const partsOf = (path: string, change: (name: string, data: Buffer) => Buffer) => partsOfWheel(python, path, change)
  const wheel = (...args: string[]) => wheelfix(world, ['wheel', ...args, '--python', world.python, '--no-scan'])
  const examine = (path: string): Examined => JSON.parse(runWell(python, ['-c', EXAMINE, path])) as Examined
  const imports = (path: string, name: string): ReturnType<typeof run> => {
    const venv = makeVenv(world, name)
    runWell(python, ['-m', 'zipfile', '-e', path, sitePackages(world, venv)])
    return run(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env: world.env })
  }

  /** The demo wheel in a folder of its own, with another RECORD. */
  const withRecord = (name: string, change: (text: string) => string): string => {
    const folder = join(world.root, name)
    mkdirSync(folder)
    const path = join(folder, DEMO)
    const record = (entry: string, data: Buffer): Buffer =>
      entry.endsWith('/RECORD') ? Buffer.from(change(data.toString())) : data
    writeFileSync(path, makeZip(partsOf(demo, record)))
    return path
  }

  test('the wheel as it comes does not import', () => {
    const { status, stderr } = imports(demo, 'before')
    assert.equal(status, 1)
    assert.match(stderr, /cannot open shared object file/)
  })

  test('a dry run says what would be done and writes nothing', () => {
    const files = readdirSync(world.root).sort()
    const { status, stdout } = wheel(demo, '-o', out, '--dry-run', ...libs)
    assert.equal(status, 0)
    assert.match(stdout, /1 of 1 object to patch → .*\/out\//)
    assert.deepEqual(readdirSync(world.root).sort(), files)
  })

  test('the patched wheel imports, with a true RECORD and everything else as it was', () => {
    const { status, stdout, stderr } = wheel(demo, '-o', out, ...libs)
    assert.equal(status, 0, stdout + stderr)
    assert.deepEqual(readdirSync(out), [DEMO])
    const patched = imports(join(out, DEMO), 'after')
    assert.equal(patched.status, 0, patched.stderr)
    const [old, now] = [examine(demo), examine(join(out, DEMO))]
    assert.deepEqual(now.wrong, [])
    assert.deepEqual(Object.keys(now.entries), Object.keys(old.entries))
    const changed = Object.keys(now.entries).filter(name => now.entries[name]?.[0] !== old.entries[name]?.[0])
    assert.equal(changed.length, 2, `the module and RECORD: ${changed.join(' ')}`)
    for (const [name, entry] of Object.entries(now.entries))
      assert.deepEqual(entry.slice(1), old.entries[name]?.slice(1))
  })

  test('patching twice gives the same bytes, and a patched wheel is copied bit for bit', () => {
    const first = readFileSync(join(out, DEMO))
    const again = join(world.root, 'again')
    assert.equal(wheel(demo, '-o', again, ...libs).status, 0)
    assert.deepEqual(readFileSync(join(again, DEMO)), first)
    const moved = join(world.root, 'moved')
    mkdirSync(moved)
    copyFileSync(demo, join(moved, DEMO))
    utimesSync(join(moved, DEMO), 1, 1)
    const options = [join(moved, DEMO), '-o', join(moved, 'out'), '--python', world.python, '--no-scan', ...libs]
    const elsewhere = { TZ: 'Pacific/Apia', LC_ALL: 'tr_TR.UTF-8', UV_THREADPOOL_SIZE: '1', SOURCE_DATE_EPOCH: '1' }
    assert.equal(wheelfix(world, ['wheel', ...options], elsewhere).status, 0)
    assert.deepEqual(readFileSync(join(moved, 'out', DEMO)), first, 'at another time and place')
    const copied = join(world.root, 'copied')
    assert.match(wheel(join(again, DEMO), '-o', copied, ...libs).stdout, /nothing to do, copied/)
    assert.deepEqual(readFileSync(join(copied, DEMO)), first)
  })

  suite('--restore', () => {
    const restored = join(world.root, 'restored')
    /** A wheel written by Python's zipfile, as wheels are, with the entries of the demo and some more. */
    const packed = (folder: string, more: Readonly<Record<string, string>> = {}): string => {
      mkdirSync(join(world.root, folder))
      const path = join(world.root, folder, DEMO)
      runWell(python, ['-c', REPACK, demo, path, JSON.stringify(more)])
      return path
    }
    const restore = (path: string): string => {
      const { status, stdout, stderr } = wheel(path, '-o', restored, '--restore')
      assert.equal(status, 0, stdout + stderr)
      return stdout
    }

    test('gives back the very bytes of a wheel that Python made', () => {
      const path = packed('by-python')
      assert.equal(wheel(path, '-o', out, ...libs).status, 0)
      assert.match(restore(join(out, DEMO)), /1 restored, the original byte for byte/)
      assert.deepEqual(readFileSync(join(restored, DEMO)), readFileSync(path))
    })

    test('gives back signatures, and the name that --tag changed', () => {
      const info = 'wheelfix_demo-1.0.dist-info'
      const path = packed('tagged-and-signed', { [`${info}/RECORD.jws`]: '{}', [`${info}/RECORD.p7s`]: 'signature' })
      const tagged = join(world.root, 'tagged-out')
      for (const [index, tags] of [['1nixos'], ['+nixos'], ['1nixos', '+nixos', '2nixos']].entries()) {
        let from = path
        for (const [step, tag] of tags.entries()) {
          const to = join(tagged, `${index}-${step}`)
          // a set of another order makes another patch of a patched wheel
          const set =
            step % 2 === 0 ? libs : ['--libs', `${world.libs.zlib}:${world.libs.gcc}`, '--ignore-missing', '*']
          const { status, stdout, stderr } = wheel(from, '-o', to, '--tag', tag, ...set)
          assert.equal(status, 0, stdout + stderr)
          from = join(to, readdirSync(to)[0] ?? '')
          if (step === 0) assert.notEqual(basename(from), DEMO)
        }
        rmSync(restored, { recursive: true, force: true })
        const inPlace = wheel(from, '--in-place', '--restore')
        assert.equal(inPlace.status, 2)
        assert.match(inPlace.stderr, /its name was wheelfix_demo-1\.0-cp37/)
        assert.match(restore(from), /the original byte for byte/)
        assert.deepEqual(readdirSync(restored), [DEMO])
        assert.deepEqual(readFileSync(join(restored, DEMO)), readFileSync(path), tags.join())
      }
    })

    test('says when the bytes differ from the original, and gives back contents and RECORD', () => {
      const folder = join(world.root, 'by-another')
      mkdirSync(folder)
      const path = join(folder, DEMO)
      writeFileSync(path, makeZip(partsOf(demo, (_, data) => data).map(part => ({ ...part, level: 1 }))))
      assert.equal(wheel(path, '-o', join(folder, 'out'), ...libs).status, 0)
      assert.match(
        restore(join(folder, 'out', DEMO)),
        /contents and RECORD are those of the original, but the bytes of the archive are not/,
      )
      assert.deepEqual(examine(join(restored, DEMO)).entries, examine(path).entries)
      const json = wheel(join(folder, 'out', DEMO), '-o', restored, '--restore', '--json').stdout
      const [entry] = (JSON.parse(json) as { wheels: Record<string, unknown>[] }).wheels
      assert.equal(entry?.['original'], 'contents')
    })

    test('says when the wheel was changed after it was patched, or has lost the note about its original', () => {
      const folder = join(world.root, 'since')
      mkdirSync(folder)
      const path = join(folder, DEMO)
      const change = (script: string): string => {
        copyFileSync(join(out, DEMO), path)
        runWell(python, ['-c', `import sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'a') as z: ${script}`, path])
        return restore(path)
      }
      assert.match(change(`z.writestr('more.py', '')`), /contents and RECORD are those of the original/)
      assert.match(change(`z.comment = b''`), /does not say what the original was/)
      assert.deepEqual(examine(join(restored, DEMO)), examine(demo))
    })

    test('refuses a name in the wheel that leads elsewhere, and a note that does not give a sound wheel', () => {
      const folder = join(world.root, 'crafted')
      mkdirSync(folder)
      const path = join(folder, DEMO)
      const crafted = (change: string): ReturnType<typeof wheel> => {
        copyFileSync(join(out, DEMO), path)
        runWell(python, ['-c', CRAFT, path, change])
        return wheel(path, '-o', join(folder, 'out'), '--restore')
      }
      for (const name of [
        '../evil-1.0-py3-none-any.whl',
        '/tmp/evil-1.0-py3-none-any.whl',
        'other-1.0-py3-none-any.whl',
      ])
        assert.equal(crafted(`u['name'] = ${JSON.stringify(name)}`).status, 0)
      assert.deepEqual(readdirSync(folder).sort(), ['out', DEMO])
      assert.deepEqual(readdirSync(join(folder, 'out')), [DEMO])
      rmSync(join(folder, 'out'), { recursive: true })
      for (const change of [
        `u['dropped'] = [evil('../evil.py')]; u['sha256'] = ''`,
        `u['dropped'] = [evil('evil.py')]; u['sha256'] = ''`,
        `u['dropped'] = [dict(evil('demo-1.0.dist-info/RECORD.jws'), local='AAAA' * 20)]; u['sha256'] = ''`,
      ]) {
        const { status, stderr } = crafted(change)
        assert.equal(status, 2, stderr)
        assert.match(stderr, /its note about the original is damaged/)
        assert.deepEqual(readdirSync(join(folder, 'out')), [])
      }
      for (const change of [`u['dropped'] = [{}]`, `u['rows'] = 3`, `u['texts'] = [{'at': -1}]`, `u.clear()`])
        assert.match(crafted(change).stdout, /does not say what the original was/)
    })
  })

  test('two wheels never become one, and a result never replaces another wheel that was named', () => {
    const folder = join(world.root, 'colliding')
    mkdirSync(folder)
    const build = (tag: string): string => DEMO.replace('-1.0-', `-1.0-${tag}-`)
    for (const name of [build('1'), build('2')]) copyFileSync(demo, join(folder, name))
    const { status, stderr } = wheel(folder, '-o', join(folder, 'out'), '--tag', '3nixos', ...libs)
    assert.equal(status, 1)
    assert.match(stderr, /its result would overwrite .*: run wheelfix for each, with another -o DIR/)
    assert.deepEqual(readdirSync(join(folder, 'out')), [build('3nixos')])
  })

  test('--in-place replaces the wheel and keeps its mode; -o never replaces it by accident', () => {
    const path = join(world.root, 'place', DEMO)
    mkdirSync(join(world.root, 'place'))
    copyFileSync(demo, path)
    chmodSync(path, 0o640)
    assert.equal(wheel(path, '-o', join(world.root, 'place'), ...libs).status, 2)
    assert.deepEqual(readFileSync(path), readFileSync(demo))
    assert.equal(wheel(path, '--in-place', ...libs).status, 0)
    assert.deepEqual(readFileSync(path), readFileSync(join(out, DEMO)))
    assert.equal(statSync(path).mode & 0o777, 0o640)
    assert.deepEqual(readdirSync(join(world.root, 'place')), [DEMO])
    const link = join(world.root, 'link')
    mkdirSync(link)
    copyFileSync(demo, join(link, 'real'))
    symlinkSync('real', join(link, DEMO))
    assert.equal(wheel(join(link, DEMO), '--in-place', ...libs).status, 0)
    assert.ok(lstatSync(join(link, DEMO)).isSymbolicLink(), 'a link stays one')
    assert.deepEqual(examine(join(link, 'real')), examine(path))
  })

  test('writes nothing into the Nix store, neither with -o nor in place', () => {
    const stored = join(world.store, DEMO)
    copyFileSync(demo, stored)
    const before = readdirSync(world.store)
    for (const args of [
      [stored, '--in-place'],
      [demo, '-o', world.store],
      [demo, '-o', join(world.store, 'new/folder')],
    ]) {
      const { status, stderr } = wheel(...args, ...libs)
      assert.equal(status, 2)
      assert.match(stderr, /in the Nix store|is the Nix store/)
      assert.match(stderr, /give -o a folder outside the store/)
    }
    assert.deepEqual(readdirSync(world.store), before)
    assert.deepEqual(readFileSync(stored), readFileSync(demo))
    // to read there is fine
    assert.equal(wheel(stored, '-o', join(world.root, 'from-store'), ...libs).status, 0)
    rmSync(stored)
  })

  test('says what is wrong with options: two that exclude each other, an output that is not a folder', () => {
    for (const [args, reason] of [
      [['--restore', '--tag', '1nixos'], /--restore cannot be used with/],
      [['--restore', '--check'], /--restore cannot be used with/],
      [['--in-place', '-o', out], /cannot be used together/],
      [['--in-place', '--tag', '1nixos'], /--in-place/],
      [['-o', demo], /is not a folder/],
    ] as const) {
      const { status, stderr } = wheel(demo, ...args, ...libs)
      assert.equal(status, 2)
      assert.match(stderr, reason)
      assert.doesNotMatch(stderr, /\n./)
    }
    assert.match(wheel(join(out, DEMO), '-o', join(world.root, 'dry'), '--dry-run', ...libs).stdout, /will be copied/)
  })

  test('--json has one entry for each wheel, with objects as for a venv', () => {
    const { stdout } = wheel(demo, '--dry-run', '--json', ...libs)
    const document = JSON.parse(stdout) as Record<string, unknown>
    assert.deepEqual(Object.keys(document), ['schema', 'command', 'python', 'wheels'])
    const [entry] = document['wheels'] as Record<string, unknown>[]
    const keys = 'path output status distribution version libs objects missing refused notes summary'.split(' ')
    assert.deepEqual(Object.keys(entry ?? {}), keys)
    assert.equal(entry?.['status'], 'patch')
    const summary = { objects: 1, patched: 1, fine: 0, restored: 0, missing: 0, optional: 0, expected: 0, refused: 0 }
    assert.deepEqual(entry['summary'], summary)
  })

  test('--check compares the wheel with the policies of its tag and says what is missing', () => {
    const { status, stdout } = wheel(demo, '--check')
    assert.equal(status, 1)
    assert.match(stdout, /claims +manylinux_2_17_x86_64/)
    assert.match(stdout, /keeps +manylinux_2_\d+_x86_64/)
    assert.match(stdout, /wants +.*libstdc\+\+\.so\.6/)
    assert.match(stdout, /missing: libstdc\+\+\.so\.6/)
    assert.equal(wheel(demo, '--check', ...libs).status, 0)
  })

  test('a Python from outside of Nix gives a warning: no wheel needs a patch for it', () => {
    const { stderr } = wheelfix(world, [
      'wheel',
      demo,
      '--check',
      '--no-scan',
      '--python',
      world.host.python.executable,
    ])
    assert.match(stderr, /^warning: \S+ is not a Nix Python: .* --python\n/)
    assert.doesNotMatch(wheel(demo, '--check', ...libs).stderr, /not a Python of Nix/)
  })

  test('--tag marks the result: a build tag in the name and in WHEEL, a local version wherever the version is named', () => {
    const tagged = join(world.root, 'tagged')
    assert.equal(wheel(demo, '-o', tagged, '--tag', '1nixos', ...libs).status, 0)
    assert.equal(wheel(demo, '-o', tagged, '--tag', '+nixos', ...libs).status, 0)
    const build = 'wheelfix_demo-1.0-1nixos-cp37-abi3-manylinux_2_17_x86_64.whl'
    const local = 'wheelfix_demo-1.0+nixos-cp37-abi3-manylinux_2_17_x86_64.whl'
    assert.deepEqual(readdirSync(tagged).sort(), [local, build].sort())
    for (const name of [build, local]) assert.deepEqual(examine(join(tagged, name)).wrong, [])
    assert.ok('wheelfix_demo-1.0+nixos.dist-info/RECORD' in examine(join(tagged, local)).entries)
    const { status, stderr } = wheel(demo, '-o', tagged, '--tag', 'nixos', ...libs)
    assert.equal(status, 2)
    assert.match(stderr, /begins with a digit/)
  })

  test('a wheel variant keeps its label, also with a build tag, and is restored', () => {
    const folder = join(world.root, 'variant')
    const name = DEMO.replace('.whl', '-cu128.whl')
    mkdirSync(join(folder, 'in'), { recursive: true })
    copyFileSync(demo, join(folder, 'in', name))
    const input = join(folder, 'in', name)
    assert.equal(wheel(input, '-o', join(folder, 'out'), ...libs).status, 0)
    assert.equal(wheel(input, '-o', join(folder, 'out'), '--tag', '1nixos', ...libs).status, 0)
    const tagged = name.replace('-1.0-', '-1.0-1nixos-')
    assert.deepEqual(readdirSync(join(folder, 'out')).sort(), [tagged, name].sort())
    for (const made of [name, tagged]) {
      assert.deepEqual(examine(join(folder, 'out', made)).wrong, [])
      const back = join(folder, `back-${made}`)
      assert.equal(wheel(join(folder, 'out', made), '-o', back, '--restore').status, 0)
      assert.deepEqual(readFileSync(join(back, name)), readFileSync(demo))
    }
  })

  suite('refuses with status 2, one sentence and no output', () => {
    const whole = readFileSync(demo)
    const bad: [string, string, Buffer, RegExp][] = [
      ['a file that is no zip', DEMO, Buffer.from('hello'), /end record/],
      ['a wheel that is cut off', DEMO, whole.subarray(0, whole.length - 30), /end record.*download it again/],
      ['a file that is not called like a wheel', 'demo.whl', whole, /file name/],
      ['a wheel without .dist-info', DEMO, makeZip([{ name: 'a.py', data: 'x' }]), /dist-info/],
      ['a member that leaves the folder', DEMO, makeZip([{ name: '../a.py', data: 'x' }]), /leaves the folder/],
    ]
    for (const [name, fileName, bytes, reason] of bad) {
      test(name, () => {
        const folder = join(world.root, 'bad')
        rmSync(folder, { recursive: true, force: true })
        mkdirSync(folder)
        writeFileSync(join(folder, fileName), bytes)
        const { status, stdout, stderr } = wheel(join(folder, fileName), '-o', join(folder, 'out'), ...libs)
        assert.equal(status, 2)
        assert.equal(stdout, '')
        assert.match(stderr, reason)
        assert.doesNotMatch(stderr, /\n.*\n|\bat /)
        assert.ok(!existsSync(join(folder, 'out')) || readdirSync(join(folder, 'out')).length === 0)
      })
    }

    test('a module whose hash differs from RECORD: a new hash must not hide it', () => {
      const folder = join(world.root, 'changed')
      mkdirSync(folder)
      const path = join(folder, DEMO)
      writeFileSync(
        path,
        makeZip(partsOf(demo, (name, data) => (name.endsWith('.so') ? Buffer.concat([data, Buffer.from('!')]) : data))),
      )
      const { status, stderr } = wheel(path, '-o', join(folder, 'out'), ...libs)
      assert.equal(status, 2)
      assert.match(stderr, /not the file that RECORD lists/)
    })

    test('a module with two rows in RECORD, one of them false', () => {
      const path = withRecord('two-rows', text => `${text}wheelfix_demo/_demo.abi3.so,sha256=${'A'.repeat(43)},7\n`)
      const { status, stderr } = wheel(path, '-o', join(path, '../out'), ...libs)
      assert.equal(status, 2)
      assert.match(stderr, /several rows in RECORD/)
    })
  })

  test('hashes of RECORD may be quoted and padded, and come back so', () => {
    const path = withRecord('quoted', text => text.replace(/^(.*\.so),(.*),(.*)$/gm, '"$1","$2=","$3"'))
    const patched = join(path, '../out')
    assert.equal(wheel(path, '-o', patched, ...libs).status, 0)
    assert.deepEqual(examine(join(patched, DEMO)).wrong, [])
    assert.match(wheel(join(patched, DEMO), '-o', join(path, '../restored'), '--restore').stdout, /byte for byte/)
    assert.deepEqual(readFileSync(join(path, '../restored', DEMO)), readFileSync(path))
  })

  const digestOf = (algorithm: string): Buffer => {
    const part = partsOf(demo, (_, data) => data).find(({ name }) => String(name).endsWith('.so'))
    return createHash(algorithm)
      .update(Buffer.from(part?.data ?? ''))
      .digest()
  }
  const hashes: [string, string][] = [
    ['in hexadecimal', `sha256=${digestOf('sha256').toString('hex')}`],
    ['with a name in capitals', `SHA256=${digestOf('sha256').toString('base64')}`],
    ['of md5', `md5=${digestOf('md5').toString('hex')}`],
    ['of blake2b', `blake2b=${digestOf('blake2b512').toString('base64url')}`],
  ]
  for (const [name, hash] of hashes) {
    test(`a hash of RECORD ${name} is compared, and comes back as it was`, () => {
      const record = (now: string) => (text: string) => text.replace(/^(.*\.so),.*,(.*)$/gm, `$1,${now},$2`)
      const path = withRecord(`hash ${name}`, record(hash))
      const patched = join(path, '../out')
      const { status, stdout } = wheel(path, '-o', patched, ...libs)
      assert.equal(status, 0)
      assert.doesNotMatch(stdout, /not checked/)
      assert.deepEqual(examine(join(patched, DEMO)).wrong, [])
      assert.match(wheel(join(patched, DEMO), '-o', join(path, '../restored'), '--restore').stdout, /byte for byte/)
      assert.deepEqual(readFileSync(join(path, '../restored', DEMO)), readFileSync(path))
      const wrong = withRecord(`wrong hash ${name}`, record(hash.replace(/.{5}$/, '00000')))
      assert.match(wheel(wrong, '-o', join(wrong, '../out'), ...libs).stderr, /not the file that RECORD lists/)
    })
  }

  test('a hash of an unknown algorithm is called unknown, and is replaced by a true one', () => {
    const path = withRecord('unknown hash', text => text.replace(/^(.*\.so),.*,(.*)$/gm, '$1,quick=abc,$2'))
    const { status, stdout } = wheel(path, '-o', join(path, '../out'), ...libs)
    assert.equal(status, 0)
    assert.match(
      stdout,
      /_demo\.abi3\.so was not checked: the algorithm of its hash in RECORD is unknown \(quick=abc\)/,
    )
    assert.deepEqual(examine(join(path, '../out', DEMO)).wrong, [])
  })

  test('no report names the folder in which the wheel seems to be installed', { skip: missing('gcc') }, () => {
    const folder = join(world.root, 'pretended')
    mkdirSync(folder)
    const build = (file: string, ...args: string[]): Buffer => {
      const source = join(folder, 'one.c')
      writeFileSync(source, `int ${file.replaceAll(/\W/g, '_')}(void) { return 1; }`)
      const options = ['-shared', '-fPIC', '-Wl,--no-as-needed', '-L', folder, source, ...args]
      runWell('gcc', [...options, `-Wl,-soname,${file}`, '-o', join(folder, file)])
      return readFileSync(join(folder, file))
    }
    const names = ['libtop.so', 'libdeep.so', 'libshared.so']
    const libraries = names.map(name => build(name))
    const module = build('user.so', '-ltop', '-ldeep', '-lshared')
    const files: Part[] = [
      { name: 'libtop.so', data: libraries[0] ?? '' },
      { name: 'deep/er/libdeep.so', data: libraries[1] ?? '' },
      { name: 'wheelfix_demo-1.0.data/data/lib/libshared.so', data: libraries[2] ?? '' },
      { name: 'wheelfix_demo-1.0.data/scripts/user.so', data: module },
      { name: 'wheelfix_demo-1.0.data/platlib/user.so', data: module },
    ]
    writeFileSync(join(folder, DEMO), makeZip([...files, ...partsOf(demo, (_, data) => data)]))
    const from = join(folder, DEMO)
    const said = ['', '--verbose', '--json', '--check', '--quiet'].map(option => {
      const { stdout, stderr } = wheel(
        from,
        '-o',
        join(folder, 'out'),
        '--dry-run',
        ...libs,
        ...[option].filter(Boolean),
      )
      return stdout + stderr
    })
    assert.doesNotMatch(said.join(''), /\.wheelfix-installation/)
    const [plain, , json] = said
    assert.match(plain ?? '', /libtop\.so +in the wheel's top folder/)
    assert.match(plain ?? '', /libdeep\.so +deep\/er/)
    for (const { name } of files.slice(0, 3)) assert.match(json ?? '', new RegExp(`"provider":"${String(name)}"`))
  })

  test('signatures are left out, and the report says so', () => {
    const folder = join(world.root, 'signed')
    mkdirSync(folder)
    const path = join(folder, DEMO)
    const signature = { name: 'wheelfix_demo-1.0.dist-info/RECORD.jws', data: '{}' }
    writeFileSync(path, makeZip([...partsOf(demo, (_, data) => data), signature]))
    const { status, stdout } = wheel(path, '-o', join(folder, 'out'), ...libs)
    assert.equal(status, 0)
    assert.match(stdout, /RECORD\.jws is left out/)
    assert.deepEqual(Object.keys(examine(join(folder, 'out', DEMO)).entries), Object.keys(examine(demo).entries))
  })

  test('one bad wheel in a folder does not stop the others', () => {
    const folder = join(world.root, 'folder')
    mkdirSync(folder)
    copyFileSync(demo, join(folder, DEMO))
    writeFileSync(join(folder, 'bad-1.0-py3-none-any.whl'), 'nothing')
    symlinkSync('nowhere', join(folder, 'lost-1.0-py3-none-any.whl'))
    mkdirSync(join(folder, 'folder-1.0-py3-none-any.whl'))
    for (const more of [[], ['--with', folder]]) {
      rmSync(join(folder, 'out'), { recursive: true, force: true })
      const { status, stdout, stderr } = wheel(folder, '-o', join(folder, 'out'), ...libs, ...more)
      assert.equal(status, 1)
      assert.match(stdout, /1 of 1 object patched/)
      assert.match(stderr, /bad-1\.0.*end record/)
      assert.match(stderr, /lost-1\.0.*: it does not exist/)
      assert.deepEqual(readdirSync(join(folder, 'out')), [DEMO])
    }
    const { stdout } = wheel(folder, '-o', join(folder, 'out'), '--json', ...libs)
    const { wheels } = JSON.parse(stdout) as { wheels: { status: string; error?: { code: string } }[] }
    assert.deepEqual(
      wheels.map(({ status, error }) => [status, error?.code]),
      [
        ['failed', 'WHEEL_INVALID'],
        ['failed', 'IO'],
        ['patched', undefined],
      ],
    )
  })

  test('a run that is killed leaves the wheel as it was, and the next one leaves nothing behind', async () => {
    const folder = join(world.root, 'killed')
    mkdirSync(folder)
    const path = join(folder, DEMO)
    const large = { name: 'wheelfix_demo/data', data: randomBytes(20_000_000) }
    writeFileSync(path, makeZip([...partsOf(demo, (_, data) => data), large]))
    const whole = readFileSync(path)
    const command = [WHEELFIX, 'wheel', path, '--in-place', '--python', world.python, '--no-scan', ...libs]
    let interrupted = 0
    for (let delay = 60; ; delay += 60) {
      const child = spawn(process.execPath, command, { env: world.env, stdio: 'ignore' })
      const ended = new Promise<NodeJS.Signals | null>(resolve => child.once('exit', (_, signal) => resolve(signal)))
      await setTimeout(delay)
      child.kill('SIGKILL')
      if ((await ended) === null) break
      if (readFileSync(path).equals(whole)) interrupted += 1
      else break
    }
    assert.ok(interrupted > 1, `${interrupted} were killed before the end`)
    writeFileSync(path, whole)
    writeFileSync(join(folder, `.${DEMO}.999999999.wheelfix-tmp`), 'half')
    assert.equal(wheel(path, '--in-place', ...libs).status, 0)
    assert.deepEqual(readdirSync(folder), [DEMO])
    assert.deepEqual(examine(path).wrong, [])
  })

  /** The entries of a wheel, read by Python, with new contents. */
})

suite('real wheels, patched before they are installed', () => {
  const world = withWheels(buildWorld())
  if (typeof world === 'string') {
    test('work in the world without wheelfix venv', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const named = new Set(['numpy', 'shapely', 'pyzmq', 'cryptography', 'pydantic-core', 'ruff'])
  const used = TESTED_PACKAGES.filter(({ name }) => named.has(name))
  const [plain, patched] = [join(world.root, 'plain'), join(world.root, 'patched')]
  const python = world.host.python.executable
  const source = process.env['WHEELFIX_TEST_WHEELS']
  const from = source === undefined ? [] : ['--no-index', '--find-links', source]
  const env = { ...world.env, HOME: process.env['HOME'] }
  const pip = (...args: string[]): string =>
    runWell(python, ['-m', 'pip', '-q', '--disable-pip-version-check', ...args], { env })
  pip('download', '--only-binary', ':all:', '--dest', plain, ...from, ...used.map(({ name }) => name))

  test('all are patched in one run; pure ones are copied', () => {
    const { status, stdout, stderr } = wheelfix(world, ['wheel', plain, '-o', patched, '--python', world.python])
    assert.equal(status, 0, stdout + stderr)
    assert.deepEqual(readdirSync(patched).sort(), readdirSync(plain).sort())
  })

  const works = (venv: string): void => {
    for (const tested of used) {
      const { works, said } = usePackage(venv, tested, world.env)
      assert.ok(works, `${tested.name}: ${said}`)
    }
  }

  test('pip installs them, by their new hashes, and each works', () => {
    const venv = makeVenv(world, 'by-pip')
    const requirements = join(world.root, 'requirements.txt')
    const lines = readdirSync(patched).map(file => {
      const [name = '', version = ''] = file.split('-')
      return `${name}==${version} --hash=sha256:${hashFile(join(patched, file))}`
    })
    writeFileSync(requirements, lines.join('\n'))
    const target = ['--python', join(venv, 'bin/python'), 'install', '--no-index', '--find-links', patched]
    pip(...target, '--no-compile', '--require-hashes', '-r', requirements)
    works(venv)
  })

  const tools = join(world.root, 'tools')
  pip('install', '--target', tools, ...from, 'uv')
  const uv = (args: readonly string[], cwd = world.root, options: NodeJS.ProcessEnv = {}): ReturnType<typeof run> => {
    const cache = { UV_CACHE_DIR: join(world.root, 'uv-cache'), UV_PYTHON: world.python, UV_PYTHON_DOWNLOADS: 'never' }
    return run(join(tools, 'bin/uv'), [...args, '-q'], { cwd, env: { ...env, ...cache, ...options } })
  }
  const uvWell = (args: readonly string[], cwd?: string, options?: NodeJS.ProcessEnv): string => {
    const { status, stdout, stderr } = uv(args, cwd, options)
    assert.equal(status, 0, stdout + stderr)
    return stdout
  }

  test('uv installs them, and each works', () => {
    const venv = makeVenv(world, 'by-uv')
    const target = ['pip', 'install', '--python', join(venv, 'bin/python'), '--no-index', '--find-links', patched]
    uvWell([...target, ...used.map(({ name }) => name)], world.root, { UV_NO_CONFIG: '1' })
    works(venv)
  })

  test('the hashes that uv pip compile takes from a folder are accepted by pip and by uv', () => {
    const venv = makeVenv(world, 'compiled')
    const requirements = join(world.root, 'compiled.txt')
    writeFileSync(join(world.root, 'compiled.in'), used.map(({ name }) => name).join('\n'))
    const links = ['--no-index', '--find-links', patched]
    uvWell(['pip', 'compile', 'compiled.in', '-o', requirements, '--generate-hashes', ...links])
    const target = ['--python', join(venv, 'bin/python')]
    pip(...target, 'install', ...links, '--no-compile', '--require-hashes', '-r', requirements)
    uvWell(['pip', 'sync', ...target, ...links, '--require-hashes', '--reinstall', requirements])
    works(venv)
  })

  test('uv.lock holds the hash of a patched wheel that is a source, and takes no other wheel for it', () => {
    const project = join(world.root, 'project')
    mkdirSync(project)
    const names = ['numpy', 'shapely']
    const file = (folder: string, name: string): string =>
      join(folder, readdirSync(folder).find(file => file.startsWith(`${name}-`)) ?? '')
    for (const name of names) copyFileSync(file(patched, name), join(project, basename(file(patched, name))))
    const lines = [
      '[project]',
      'name = "project"',
      'version = "1"',
      `requires-python = "==${world.host.python.version.split('.').slice(0, 2).join('.')}.*"`,
      `dependencies = ${JSON.stringify(names)}`,
      '[tool.uv]',
      'no-index = true',
      '[tool.uv.sources]',
      ...names.map(name => `${name} = { path = "${basename(file(project, name))}" }`),
    ]
    writeFileSync(join(project, 'pyproject.toml'), lines.join('\n'))
    uvWell(['lock'], project)
    const lock = readFileSync(join(project, 'uv.lock'), 'utf8')
    for (const name of names) assert.ok(lock.includes(`sha256:${hashFile(file(patched, name))}`), lock)
    uvWell(['sync', '--locked'], project)
    const shapely = TESTED_PACKAGES.filter(({ name }) => name === 'shapely')
    for (const tested of shapely) assert.ok(usePackage(join(project, '.venv'), tested, world.env).works)
    copyFileSync(file(plain, 'shapely'), file(project, 'shapely'))
    const { status, stderr } = uv(['sync', '--locked', '--reinstall'], project)
    assert.notEqual(status, 0)
    assert.match(stderr, /Hash mismatch/)
  })

  test('uv build and pip wheel build with patched wheels, and uv build with no others where hashes are asked for', () => {
    const project = join(world.root, 'built')
    const house = join(project, 'house')
    mkdirSync(join(project, 'plain'), { recursive: true })
    copyFileSync(join(FIXTURES, DEMO), join(project, 'plain', DEMO))
    const options = ['-o', house, '--python', world.python, '--libs', `${world.libs.gcc}:${world.libs.zlib}`]
    assert.equal(wheelfix(world, ['wheel', join(FIXTURES, DEMO), ...options]).status, 0)
    const system = 'requires = ["wheelfix_demo"]\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    writeFileSync(
      join(project, 'pyproject.toml'),
      `[project]\nname = "built"\nversion = "1"\nrequires-python = ">=3.8"\n[build-system]\n${system}`,
    )
    writeFileSync(join(project, 'backend.py'), BACKEND)
    writeFileSync(join(project, 'build.in'), 'wheelfix_demo\n')
    const build = (links: string, ...args: string[]): ReturnType<typeof run> =>
      uv(['build', '--wheel', '--no-index', '--find-links', join(project, links), ...args], project)
    assert.match(build('plain').stderr, /returned an error/)
    assert.equal(build('house').status, 0)
    uvWell(['pip', 'compile', 'build.in', '-o', 'build.txt', '--generate-hashes', '--no-index', '-f', house], project)
    const hashes = ['--build-constraint', 'build.txt', '--require-hashes']
    assert.equal(build('house', ...hashes).status, 0)
    assert.match(build('plain', ...hashes).stderr, /Hash mismatch/)
    const target = ['--python', join(makeVenv(world, 'builds'), 'bin/python')]
    pip(...target, 'wheel', '--no-index', '--find-links', house, '-w', join(project, 'by-pip'), project)
    assert.deepEqual(
      readdirSync(join(project, 'by-pip')),
      readdirSync(join(project, 'dist')).filter(name => name.endsWith('.whl')),
    )
  })

  test('restored ones hold what the plain ones hold, and most are the same file', () => {
    const restored = join(world.root, 'restored')
    const { status, stdout, stderr } = wheelfix(world, [
      'wheel',
      patched,
      '-o',
      restored,
      '--restore',
      '--python',
      world.python,
    ])
    assert.equal(status, 0, stderr)
    const contents = (folder: string): string => runWell(python, ['-c', CONTENTS, folder])
    assert.equal(contents(restored), contents(plain))
    const said = new Map(stdout.split('\n').map(line => [/^\S+ (\S+\.whl):/.exec(line)?.[1] ?? '', line]))
    for (const name of readdirSync(plain)) {
      const same = hashFile(join(plain, name)) === hashFile(join(restored, name))
      assert.equal(same, /byte for byte|nothing to do/.test(said.get(name) ?? ''), name)
    }
    assert.match(said.get(readdirSync(plain).find(name => name.startsWith('numpy-')) ?? '') ?? '', /byte for byte/)
  })
})

const CONTENTS = `
import os, sys, zipfile
for name in sorted(os.listdir(sys.argv[1])):
    for i in zipfile.ZipFile(os.path.join(sys.argv[1], name)).infolist():
        print(name, i.filename, i.CRC, i.file_size, i.date_time, i.external_attr)`
