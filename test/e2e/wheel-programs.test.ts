// Programs in wheels: other tools take some as templates (PyInstaller's bootloader, bun), others have a payload behind them.
// Both are edited in place, and the archive's note leads back to the original.
import assert from 'node:assert/strict'
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { after, test } from 'node:test'
import { interpreterOf } from '../support/elf.ts'
import { run, runWell } from '../support/run.ts'
import { wheelfix } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'
import { worldSuite } from '../world/suite.ts'

/** Packs the files of a folder into a wheel, as Python's zipfile does. */
const PACK = `
import base64, hashlib, os, sys, zipfile
folder, path, compression = sys.argv[1:4]
files = {f't/{n}': open(os.path.join(folder, n), 'rb').read() for n in sorted(os.listdir(folder))}
files['t-1.0.dist-info/METADATA'] = b'Metadata-Version: 2.1\\nName: t\\nVersion: 1.0\\n'
files['t-1.0.dist-info/WHEEL'] = b'Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: py3-none-manylinux_2_17_x86_64\\n'
digest = lambda b: base64.urlsafe_b64encode(hashlib.sha256(b).digest()).rstrip(b'=').decode()
files['t-1.0.dist-info/RECORD'] = (''.join(f'{n},sha256={digest(b)},{len(b)}\\n' for n, b in files.items()) + 't-1.0.dist-info/RECORD,,\\n').encode()
with zipfile.ZipFile(path, 'w', int(compression)) as z:
    for n, b in files.items():
        i = zipfile.ZipInfo(n); i.external_attr = 0o755 << 16; i.compress_type = int(compression); z.writestr(i, b)
`
const UNPACK = `
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    z.extractall(sys.argv[2])
`
const CHECK = `
import base64, csv, hashlib, io, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    record = next(n for n in z.namelist() if n.endswith('.dist-info/RECORD'))
    for name, digest, size in csv.reader(io.StringIO(z.read(record).decode())):
        if digest: assert digest == 'sha256=' + base64.urlsafe_b64encode(hashlib.sha256(z.read(name)).digest()).rstrip(b'=').decode(), name
`

worldSuite('programs in a wheel', ['gcc', 'objcopy'], world => {
  const python = world.host.python.executable
  const own = interpreterOf(world.python)
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
  const wheel = (...args: string[]) => wheelfix(world, ['wheel', ...args, '--python', world.python, '--no-scan'])
  const well = (...args: string[]): string => {
    const { status, stdout, stderr } = wheel(...args)
    assert.equal(status, 0, stdout + stderr)
    return stdout
  }
  const source = join(world.root, 'program.c')
  writeFileSync(
    source,
    `#include <stdio.h>
int main(void) { char last[8] = ""; FILE *own = fopen("/proc/self/exe", "rb");
  fseek(own, -7, SEEK_END); fread(last, 1, 7, own); puts(last[0] == 'P' ? last : "runs"); return 0; }\n`,
  )

  let folder = ''
  const make = (compression: 0 | 8, programs: readonly string[]): string => {
    folder = mkdtempSync(join(world.root, 'wheels-'))
    const content = mkdtempSync(join(folder, 'content-'))
    for (const name of programs) {
      runWell('gcc', ['-o', join(content, name), source, ...(name.startsWith('fixed') ? ['-no-pie'] : [])])
      if (name.endsWith('payload')) appendFileSync(join(content, name), `${'data '.repeat(500)}PAYLOAD`)
    }
    const path = join(folder, 't-1.0-py3-none-manylinux_2_17_x86_64.whl')
    runWell(python, ['-c', PACK, content, path, String(compression)])
    return path
  }
  const unpacked = (path: string): string => {
    const to = mkdtempSync(join(folder, 'unpacked-'))
    runWell(python, ['-c', UNPACK, path, to])
    runWell(python, ['-c', CHECK, path])
    for (const name of readdirSync(join(to, 't'))) chmodSync(join(to, 't', name), 0o755)
    return join(to, 't')
  }
  const assertUsable = (programs: string): void => {
    for (const name of readdirSync(programs)) {
      const program = join(programs, name)
      assert.equal(interpreterOf(program), own, name)
      assert.equal(runWell(program, []), name.endsWith('payload') ? 'PAYLOAD\n' : 'runs\n')
      if (name.endsWith('payload')) continue
      const copied = run('objcopy', ['--add-section', `pydata=${source}`, program, `${program}.made`])
      assert.deepEqual([copied.status, copied.stderr], [0, ''], name)
      assert.equal(runWell(`${program}.made`, []), 'runs\n')
      rmSync(`${program}.made`)
    }
  }

  for (const compression of [0, 8] as const) {
    test(`are edited in place, and come back byte for byte (compression ${compression})`, () => {
      const path = make(compression, ['plain', 'fixed', 'payload', 'fixed-payload'])
      const before = readFileSync(path)
      const to = join(folder, 'out')
      assert.match(well(path, '-o', to, ...libs), /4 of 4 objects patched/)
      const patched = join(to, basename(path))
      assertUsable(unpacked(patched))

      const again = join(folder, 'again')
      well(patched, '-o', again, ...libs)
      assert.ok(readFileSync(patched).equals(readFileSync(join(again, basename(path)))), 'there is nothing to do')

      const tagged = join(folder, 'tagged')
      well(path, '-o', tagged, '--tag', '1nix', ...libs)
      const [name = ''] = readdirSync(tagged)
      for (const from of [patched, join(tagged, name)]) {
        const back = join(folder, `back-${basename(from)}`)
        assert.match(well('--restore', from, '-o', back), /the original byte for byte/)
        assert.ok(before.equals(readFileSync(join(back, basename(path)))))
      }
    })
  }

  test('for another Python are edited from their original again', () => {
    const other = buildWorld()
    assert.ok(typeof other !== 'string')
    after(() => other.dispose())
    const path = make(8, ['plain', 'payload'])
    const before = readFileSync(path)
    const first = join(folder, 'first')
    const { status, stderr } = wheelfix(other, ['wheel', path, '-o', first, '--python', other.python, '--no-scan'])
    assert.equal(status, 0, stderr)
    for (const name of ['plain', 'payload']) {
      assert.equal(interpreterOf(join(unpacked(join(first, basename(path))), name)), interpreterOf(other.python))
    }
    const second = join(folder, 'second')
    well(join(first, basename(path)), '-o', second, ...libs)
    assertUsable(unpacked(join(second, basename(path))))
    well('--restore', join(second, basename(path)), '-o', join(folder, 'back'))
    assert.ok(before.equals(readFileSync(join(folder, 'back', basename(path)))))
  })

  test('more than the note has room for are grafted, or refused with the reason', () => {
    const path = make(
      8,
      Array.from({ length: 30 }, (_, index) => `plain${index}`),
    )
    const before = readFileSync(path)
    well(path, '-o', join(folder, 'out'), ...libs)
    const patched = join(folder, 'out', basename(path))
    const programs = unpacked(patched)
    for (const name of readdirSync(programs)) {
      assert.equal(interpreterOf(join(programs, name)), own)
      assert.equal(runWell(join(programs, name), []), 'runs\n')
    }
    well('--restore', patched, '-o', join(folder, 'back'))
    assert.ok(before.equals(readFileSync(join(folder, 'back', basename(path)))))
  })

  test('as many as the note takes, with small undos, come back byte for byte', () => {
    // the new path fits where the long one is, so each undo is a few hundred bytes
    const path = make(8, [])
    const content = join(folder, 'many')
    runWell('mkdir', [content])
    const loader = `/lib64/${'x'.repeat(140)}-linux-gnu/ld-linux-x86-64.so.2`
    runWell('gcc', ['-o', join(content, 'p0'), source, `-Wl,--dynamic-linker=${loader}`])
    const names = Array.from({ length: 130 }, (_, index) => `p${index}`)
    for (const name of names.slice(1)) copyFileSync(join(content, 'p0'), join(content, name))
    runWell(python, ['-c', PACK, content, path, '8'])
    const before = readFileSync(path)
    well(path, '-o', join(folder, 'out'), ...libs)
    const patched = join(folder, 'out', basename(path))
    const programs = unpacked(patched)
    assert.deepEqual([...new Set(names.map(name => interpreterOf(join(programs, name))))], [own])
    assert.match(well('--restore', patched, '-o', join(folder, 'back')), /byte for byte/)
    assert.ok(before.equals(readFileSync(join(folder, 'back', basename(path)))))
  })

  test('a note that does not give the bytes whose hash it names is not used', () => {
    const path = make(0, ['payload'])
    well(path, '-o', join(folder, 'out'), ...libs)
    const patched = join(folder, 'out', basename(path))
    const bytes = readFileSync(patched)
    const at = bytes.indexOf('wheelfix-undo ')
    const note = JSON.parse(bytes.subarray(at + 'wheelfix-undo '.length).toString()) as {
      programs: { sha256: string; text: string }[]
    }
    const [program] = note.programs
    assert.ok(program !== undefined)
    const kept = JSON.parse(program.text) as Record<string, unknown>
    const hostile: unknown[] = [
      [
        {
          ...program,
          text: JSON.stringify({ ...kept, patches: [[0, Buffer.from('#!/bin/sh\n').toString('base64')]] }),
        },
      ],
      [{ ...program, text: JSON.stringify({ ...kept, patches: [[-4, 'AAAA']] }) }],
      [{ ...program, text: '[' }],
      [{ sha256: program.sha256 }],
      Array.from({ length: 100 }, () => ({ ...program, text: '' })),
      'x',
    ]
    for (const programs of hostile) {
      const comment = Buffer.from(`wheelfix-undo ${JSON.stringify({ ...note, programs })}`)
      const changed = Buffer.concat([bytes.subarray(0, at), comment])
      changed.writeUInt16LE(comment.length, at - 2)
      const evil = join(folder, 'evil', basename(path))
      rmSync(join(folder, 'evil'), { recursive: true, force: true })
      runWell('mkdir', [join(folder, 'evil')])
      writeFileSync(evil, changed)
      const to = join(folder, 'evil-back')
      rmSync(to, { recursive: true, force: true })
      const { status, stdout, stderr } = wheel('--restore', evil, '-o', to)
      assert.ok(status === 0 || status === 1 || status === 2, stdout + stderr)
      assert.doesNotMatch(stdout + stderr, /\n\s+at /)
      assert.doesNotMatch(stdout, /byte for byte/)
    }
  })
})
