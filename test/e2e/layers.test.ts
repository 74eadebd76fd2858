// Whose change it is: what `wheelfix elf` did to a file is the file's own state for `venv`, `wheel` and `restore`, whatever
// the order.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { readElf } from '../../src/elf/read.ts'
import { bytesSource } from '../../src/elf/source.ts'
import { missing, skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { treeContent } from '../support/tree.ts'
import { makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

/** Needs libstdc++, which the venv lacks; what it answers depends on a library that only an edit makes it need. */
const MODULE = `
#include <stdexcept>
extern "C" int extra(void) __attribute__((weak));
static char bss[50000];
extern "C" int answer(void) {
  try { throw std::runtime_error("x"); } catch (std::exception &) { return (extra ? extra() : 1) + bss[7]; }
}
`
const ANSWER = 'import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).answer())'
/** Makes a wheel of a folder, with a true RECORD. */
const PACK = `
import base64, hashlib, os, sys, zipfile
folder, out = sys.argv[1:]
rows = []
with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:
    for at, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(at, name); inside = os.path.relpath(path, folder); data = open(path, 'rb').read()
            if inside.endswith('RECORD'): continue
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')
            rows.append(f'{inside},sha256={digest},{len(data)}'); z.writestr(inside, data)
    z.writestr('mod-1.0.dist-info/RECORD', '\\n'.join(rows + ['mod-1.0.dist-info/RECORD,,', '']))
`

const world = missing('g++') === false ? buildWorld() : (missing('g++') as string)
if (typeof world === 'string') test('layers', { skip: skip(world) })
else theSuite(world)

function theSuite(world: World): void {
  suite('an edit by wheelfix elf', () => {
    after(() => world.dispose())
    const template = join(world.root, 'template')
    mkdirSync(join(template, 'mod'), { recursive: true })
    mkdirSync(join(template, 'mod-1.0.dist-info'))
    writeFileSync(join(world.root, 'mod.cc'), MODULE)
    writeFileSync(join(world.root, 'extra.c'), 'int extra(void) { return 7; }')
    const shared = ['-shared', '-fPIC', '-s', '-o']
    runWell('gcc', [...shared, join(template, 'mod/libextra.so'), join(world.root, 'extra.c')])
    runWell('g++', [...shared, join(template, 'mod/libmod.so'), join(world.root, 'mod.cc')])
    writeFileSync(join(template, 'mod-1.0.dist-info/METADATA'), 'Metadata-Version: 2.1\nName: mod\nVersion: 1.0\n')
    writeFileSync(
      join(template, 'mod-1.0.dist-info/WHEEL'),
      'Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-linux_x86_64\n',
    )
    const names = ['mod/libmod.so', 'mod/libextra.so', 'mod-1.0.dist-info/METADATA', 'mod-1.0.dist-info/WHEEL']
    const rows = [...names, 'mod-1.0.dist-info/RECORD'].map(name => `${name},,\n`).join('')
    writeFileSync(join(template, 'mod-1.0.dist-info/RECORD'), rows)

    let number = 0
    /** A venv with the module in it. */
    const fresh = () => {
      const venv = makeVenv(world, `venv${++number}`)
      const site = sitePackages(world, venv)
      cpSync(template, site, { recursive: true })
      const library = join(site, 'mod/libmod.so')
      const well = (...args: readonly string[]): string => {
        const { status, stdout, stderr } = wheelfix(world, args)
        assert.equal(status, 0, `${args.join(' ')}\n${stdout}${stderr}`)
        return stdout
      }
      return {
        venv,
        library,
        bytes: () => readFileSync(library),
        answer: () => runWell(join(venv, 'bin/python'), ['-c', ANSWER, library], { env: world.env }).trim(),
        elf: (...args: readonly string[]) => well('elf', ...args, library),
        run: (command: string) => well(command, venv),
        content: () => new Map([...treeContent(venv)].filter(([name]) => !name.startsWith('.wheelfix'))),
      }
    }
    const EDIT = ['--add-needed', 'libextra.so', '--set-rpath', '$ORIGIN'] as const
    const edited = (() => {
      const { elf, bytes } = fresh()
      elf(...EDIT)
      return bytes()
    })()

    test('before venv: it stays, also after restore, and elf --restore gives the original back', () => {
      const { elf, run, bytes, answer, content } = fresh()
      const original = bytes()
      elf(...EDIT)
      const before = content()
      run('venv')
      assert.equal(answer(), '7')
      run('check')
      const patched = bytes()
      run('venv')
      assert.deepEqual(bytes(), patched)
      run('restore')
      assert.deepEqual(content(), before)
      elf('--restore')
      assert.deepEqual(bytes(), original)
    })

    test('after venv: it goes underneath', () => {
      const { elf, run, bytes, answer, content } = fresh()
      const before = content()
      run('venv')
      assert.equal(answer(), '1')
      elf(...EDIT)
      assert.equal(answer(), '7')
      run('check')
      run('venv')
      assert.equal(answer(), '7')
      run('restore')
      assert.deepEqual(bytes(), edited)
      elf('--restore')
      assert.deepEqual(content(), before)
    })

    test('again and again: nothing piles up', () => {
      const { elf, run, bytes, answer } = fresh()
      const original = bytes()
      elf('--set-rpath', '/nowhere')
      run('venv')
      elf('--set-rpath', '$ORIGIN')
      run('venv')
      elf('--add-needed', 'libextra.so')
      assert.equal(answer(), '7')
      const once = fresh()
      once.elf(...EDIT)
      once.run('venv')
      const shown = (bytes: Buffer) => readElf(bytesSource(bytes)).programHeaders.length
      assert.equal(shown(bytes()), shown(once.bytes()))
      elf('--restore')
      assert.equal(answer(), '1')
      run('check')
      run('restore')
      assert.deepEqual(bytes(), original)
    })

    test('in a venv that wheelfix venv never touched: restore leaves it', () => {
      const { elf, run, bytes } = fresh()
      elf(...EDIT)
      run('restore')
      assert.deepEqual(bytes(), edited)
    })

    test('a note of an earlier version without RECORD fields belongs to elf where a RECORD lists the file', () => {
      const old = gunzipSync(readFileSync(join(import.meta.dirname, '../../../fixtures/grafted/version-1-elf.so.gz')))
      const { run, bytes, library } = fresh()
      writeFileSync(library, old)
      run('restore')
      assert.deepEqual(bytes(), old)
    })

    test('a file that a newer wheelfix changed is left as it is, and the others are done', () => {
      const { elf, run, bytes, library, venv } = fresh()
      elf(...EDIT)
      const newer = bytes()
      newer.writeUInt32LE(3, newer.indexOf('wheelfix\0') - 4)
      cpSync(join(template, 'mod/libmod.so'), join(library, '../libother.so'))
      writeFileSync(library, newer)
      for (const args of [
        ['venv', venv],
        ['restore', venv],
        ['elf', '--restore', library],
        ['elf', '--set-rpath', '/x', library],
      ]) {
        const { status, stdout, stderr } = wheelfix(world, args)
        assert.equal(status, 1, args.join(' '))
        assert.match(stdout + stderr, /a newer wheelfix changed it \(its undo note has version 3\)/)
        assert.doesNotMatch(stdout + stderr, /\bat .*\.cjs/)
        assert.deepEqual(bytes(), newer)
        if (args[0] === 'venv') {
          assert.match(readElf(bytesSource(readFileSync(join(library, '../libother.so')))).runpath ?? '', /gcc/)
        }
      }
      assert.match(elf('--print-needed'), /libextra/)
      assert.match(elf('--json'), /"grafted": ?true/)
      void run
    })

    test('in a wheel: wheel keeps it, and its --restore gives it back', () => {
      const original = join(world.root, 'plain')
      cpSync(template, original, { recursive: true })
      writeFileSync(join(original, 'mod/libmod.so'), edited)
      const wheel = join(world.root, 'mod-1.0-py3-none-linux_x86_64.whl')
      const python = world.host.python.executable
      runWell(python, ['-c', PACK, original, wheel])
      const well = (...args: readonly string[]): void => {
        const { status, stdout, stderr } = wheelfix(world, ['wheel', ...args])
        assert.equal(status, 0, stdout + stderr)
      }
      well(wheel, '-o', join(world.root, 'patched'), '--python', world.python)
      const patched = join(world.root, 'patched/mod-1.0-py3-none-linux_x86_64.whl')
      const { venv, library, answer, run, bytes } = fresh()
      runWell(python, ['-m', 'zipfile', '-e', patched, sitePackages(world, venv)])
      assert.equal(answer(), '7')
      run('venv')
      assert.equal(answer(), '7')
      run('restore')
      assert.deepEqual(readFileSync(library), edited)
      well('--restore', patched, '-o', join(world.root, 'back'))
      const back = join(world.root, 'back/mod-1.0-py3-none-linux_x86_64.whl')
      assert.deepEqual(readFileSync(back), readFileSync(wheel))

      // an edit of the patched wheel's file, packed again: underneath
      runWell(python, ['-m', 'zipfile', '-e', patched, join(world.root, 'again')])
      const file = join(world.root, 'again/mod/libmod.so')
      assert.equal(wheelfix(world, ['elf', '--set-soname', 'libmod.so.9', file]).status, 0)
      writeFileSync(library, readFileSync(file))
      assert.equal(answer(), '7')
      assert.equal(readElf(bytesSource(bytes())).soname, 'libmod.so.9')
      run('restore')
      const { soname, needed, runpath } = readElf(bytesSource(bytes()))
      assert.deepEqual([soname, needed[0], runpath], ['libmod.so.9', 'libextra.so', '$ORIGIN'])
    })
  })
}
