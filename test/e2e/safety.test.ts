// What nobody may break: a venv whose run is killed or fails at any change of the file system, runs twice at once, or has
// files that also live elsewhere. The objects are compiled here, so that each kind of write occurs in a small venv.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  readlinkSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { runWell } from '../support/run.ts'
import { hashFile, treeContent, treeState } from '../support/tree.ts'
import { buildThrowingModules, moduleNames, withCompiledWorld } from '../world/throwing-module.ts'
import { makeVenv, sitePackages, WHEELFIX, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'

const DISTURB = join(import.meta.dirname, '../../../test/support/disturb.cjs')

const MODULES = ['small', 'large']

withCompiledWorld('safety', theSuite)

function theSuite(world: World): void {
  suite('safety', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const original = treeContent(template)
    let number = 0
    const copy = (): string => {
      const venv = join(world.root, `venv${++number}`)
      cpSync(template, venv, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
      // a file with a second link is replaced, one without is written in place
      const [small = ''] = moduleNames(world, MODULES)
      linkSync(join(sitePackages(world, venv), small), `${venv}-link`)
      return venv
    }
    const imports = (venv: string): boolean =>
      runs(world, venv, 'import small, large; assert small.answer() + large.answer() == 84')
    const files = (venv: string) => new Map([...treeContent(venv)].filter(([name]) => !name.startsWith('.wheelfix')))

    const patchedCopy = (): string => {
      const venv = copy()
      wheelfix(world, ['venv', venv])
      return venv
    }
    /** How often an undisturbed run changes the file system. */
    const changesOf = (...args: string[]): number => {
      const log = join(world.root, 'changes')
      rmSync(log, { force: true })
      wheelfix(world, args, { NODE_OPTIONS: `--require ${DISTURB}`, DISTURB_AT: '0', DISTURB_LOG: log })
      return Number(readFileSync(log, 'utf8'))
    }
    const finished = copy()
    assert.equal(wheelfix(world, ['venv', finished]).status, 0)
    const patched = files(finished)

    test('an undisturbed run makes the modules work, and restore gives every byte back', () => {
      const venv = copy()
      assert.ok(!imports(venv))
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      assert.ok(imports(venv))
      assert.equal(wheelfix(world, ['restore', venv]).status, 0)
      assert.deepEqual(treeContent(venv), original)
    })

    test('killed at any change of the file system: no file is lost, and the next run completes', () => {
      const changes = changesOf('venv', copy())
      assert.ok(changes > 20, `${changes} changes`)
      for (let at = 1; at <= changes; at++) {
        const venv = copy()
        const env = { NODE_OPTIONS: `--require ${DISTURB}`, DISTURB_AT: String(at), DISTURB_BY: 'kill' }
        assert.equal(wheelfix(world, ['venv', venv], env).status, 128, `change ${at}`)
        for (const [name, content] of files(venv)) {
          if (name.endsWith('.wheelfix-tmp')) continue
          if ([original.get(name), patched.get(name)].includes(content)) continue
          assert.ok(isInPlace(name), `${name} after change ${at}: ${content}`)
          const loadable = readFileSync(join(template, name))
          const now = readFileSync(join(venv, name)).subarray(0, loadable.length)
          assert.ok(now.equals(loadable), `${name} after change ${at} is neither the old file nor the new one`)
        }
        if (at % 7 === 0) {
          const done = isDeepStrictEqual(files(venv), patched)
          const { status } = wheelfix(world, ['check', venv])
          assert.ok(done || status === 1, `check after change ${at} says that all is well`)
        }
        const { status, stdout, stderr } = wheelfix(world, ['venv', venv])
        assert.equal(status, 0, `after change ${at}: ${stdout}${stderr}`)
        assert.deepEqual(files(venv), patched, `after change ${at}`)
        if (at % 7 === 0) {
          assert.equal(wheelfix(world, ['restore', venv]).status, 0)
          assert.deepEqual(treeContent(venv), original, `restored after change ${at}`)
        }
        rmSync(venv, { recursive: true })
      }
    })

    test('killed at any change of a restore: the next one completes', () => {
      const disturbed = { NODE_OPTIONS: `--require ${DISTURB}`, DISTURB_BY: 'kill' }
      const changes = changesOf('restore', patchedCopy())
      for (let at = 1; at <= changes; at++) {
        const venv = patchedCopy()
        wheelfix(world, ['restore', venv], { ...disturbed, DISTURB_AT: String(at) })
        assert.equal(wheelfix(world, ['restore', venv]).status, 0, `after change ${at}`)
        assert.deepEqual(treeContent(venv), original, `after change ${at}`)
        rmSync(venv, { recursive: true })
      }
    })

    test('a full disk at any write: a clear sentence, no file lost, and the next run completes', () => {
      const changes = changesOf('venv', copy())
      assert.ok(changes > 20, `${changes} changes`)
      for (let at = 1; at <= changes; at++) {
        const venv = copy()
        const env = { NODE_OPTIONS: `--require ${DISTURB}`, DISTURB_AT: String(at), DISTURB_BY: 'ENOSPC' }
        const { status, stderr } = wheelfix(world, ['venv', venv], env)
        assert.ok([0, 1, 2].includes(status), `write ${at}: ${status} ${stderr}`)
        assert.doesNotMatch(stderr, /\n\s+at /, `write ${at}: a stack trace`)
        const next = wheelfix(world, ['venv', venv])
        assert.equal(next.status, 0, `after write ${at}: ${next.stdout}${next.stderr}`)
        assert.deepEqual(files(venv), patched, `after write ${at}`)
        rmSync(venv, { recursive: true })
      }
    })

    test('two runs at once end as one does', async () => {
      const venv = copy()
      const start = () => spawn(process.execPath, [WHEELFIX, 'venv', venv], { env: world.env, stdio: 'ignore' })
      const ended = await Promise.all([start(), start(), start()].map(child => once(child, 'exit')))
      assert.deepEqual(
        ended.map(([status]) => status),
        [0, 0, 0],
      )
      assert.deepEqual(files(venv), patched)
    })

    test('a file with several links gets an inode of its own, the others keep their bytes', () => {
      const venv = copy()
      const site = sitePackages(world, venv)
      for (const name of moduleNames(world, MODULES)) {
        linkSync(join(site, name), join(world.root, `cache${number}-${name}`))
      }
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      for (const name of moduleNames(world, MODULES)) {
        const cached = join(world.root, `cache${number}-${name}`)
        assert.equal(hashFile(cached), hashFile(join(sitePackages(world, template), name)))
        assert.notEqual(statSync(cached).ino, statSync(join(site, name)).ino)
      }
      assert.ok(imports(venv))
    })

    test('a copy takes the place of a link that leaves the venv, and restore puts the link back', () => {
      const venv = copy()
      const [name = ''] = moduleNames(world, MODULES)
      const path = join(sitePackages(world, venv), name)
      const outside = join(world.root, `outside-${name}`)
      renameSync(path, outside)
      symlinkSync(outside, path)
      const before = hashFile(outside)
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      assert.ok(lstatSync(path).isFile())
      assert.notEqual(hashFile(path), before)
      assert.equal(hashFile(outside), before)
      assert.equal(wheelfix(world, ['restore', venv]).status, 0)
      assert.equal(readlinkSync(path), outside)
      assert.equal(hashFile(outside), before)
    })

    test('a link to a folder outside of the venv is named, and nothing in that folder changes', () => {
      const venv = copy()
      const outside = join(world.root, 'outside-folder')
      mkdirSync(outside)
      const [name = ''] = moduleNames(world, MODULES)
      renameSync(join(sitePackages(world, venv), name), join(outside, name))
      symlinkSync(outside, join(sitePackages(world, venv), 'linked'))
      const before = hashFile(join(outside, name))
      const { stderr } = wheelfix(world, ['venv', venv])
      assert.match(stderr, /site-packages\/linked leads to a folder outside the environment/)
      assert.equal(hashFile(join(outside, name)), before)
    })

    test('a file that an installer put in place of a copied link stays a file after restore', () => {
      const venv = copy()
      const [name = ''] = moduleNames(world, MODULES)
      const path = join(sitePackages(world, venv), name)
      const outside = join(world.root, `again-${name}`)
      renameSync(path, outside)
      symlinkSync(outside, path)
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      rmSync(path)
      copyFileSync(outside, path)
      utimesSync(path, 1_700_000_000, 1_700_000_000)
      assert.equal(wheelfix(world, ['restore', venv]).status, 0)
      assert.ok(lstatSync(path).isFile())
    })

    test('a hard link beside a link to the same file keeps no object from being patched', () => {
      const venv = copy()
      const [name = ''] = moduleNames(world, MODULES)
      const path = join(sitePackages(world, venv), name)
      const outside = join(world.root, `twin-${name}`)
      renameSync(path, outside)
      symlinkSync(outside, path)
      linkSync(outside, join(sitePackages(world, venv), `a_${name}`))
      const { status, stderr } = wheelfix(world, ['venv', venv])
      assert.equal(status, 0, stderr)
      assert.equal(wheelfix(world, ['check', venv]).status, 0)
    })

    test('a linked object whose file in the cache is replaced is looked at again', () => {
      const venv = copy()
      const [name = ''] = moduleNames(world, MODULES)
      const path = join(sitePackages(world, venv), name)
      const outside = join(world.root, `cache-${name}`)
      renameSync(path, outside)
      // an object that needs nothing, so that its link stays
      copyFileSync(join(world.libs.glibc, 'libm.so.6'), path)
      renameSync(path, join(world.root, `fine-${name}`))
      const cached = join(world.root, `now-${name}`)
      copyFileSync(join(world.root, `fine-${name}`), cached)
      symlinkSync(cached, path)
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      assert.ok(lstatSync(path).isSymbolicLink())
      rmSync(cached)
      renameSync(outside, cached)
      assert.equal(wheelfix(world, ['check', venv]).status, 1)
    })

    test('mode and times of a file stay', () => {
      const venv = copy()
      const paths = moduleNames(world, MODULES).map(name => join(sitePackages(world, venv), name))
      for (const path of paths) {
        chmodSync(path, 0o555)
        utimesSync(path, 1_600_000_000, 1_600_000_000)
      }
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      for (const path of paths) {
        const { mode, mtimeMs } = statSync(path)
        assert.equal(mode & 0o777, 0o555)
        assert.equal(mtimeMs, 1_600_000_000_000)
      }
    })

    test('a Python that has the modules loaded goes on working while they are patched', async () => {
      const venv = copy()
      const code =
        'import small, large, sys; print("ready", flush=True); sys.stdin.readline(); print(small.answer() + large.answer())'
      const env = { ...world.env, LD_LIBRARY_PATH: world.libs.gcc }
      const python = spawn(join(venv, 'bin/python'), ['-c', code], { env, stdio: ['pipe', 'pipe', 'inherit'] })
      let said = ''
      python.stdout.on('data', chunk => (said += String(chunk)))
      await once(python.stdout, 'data')
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      python.stdin.write('\n')
      const [status] = await once(python, 'exit')
      assert.equal(status, 0)
      assert.match(said, /84/)
    })

    test('a program that runs is replaced, and goes on running', async () => {
      const venv = copy()
      const program = join(venv, 'bin/waits')
      const source = join(world.root, 'waits.c')
      writeFileSync(source, 'int getchar(void); int main(void) { return getchar() == 10 ? 7 : 1; }')
      runWell('gcc', ['-o', program, source])
      const inode = statSync(program).ino
      const running = spawn(program, { stdio: ['pipe', 'ignore', 'inherit'] })
      await once(running, 'spawn')
      const { status, stdout } = wheelfix(world, ['venv', venv])
      assert.equal(status, 0, stdout)
      assert.notEqual(statSync(program).ino, inode)
      assert.match(runWell('readelf', ['-lW', program]), new RegExp(`interpreter: ${world.store}`))
      running.stdin.write('\n')
      assert.deepEqual(await once(running, 'exit'), [7, null])
    })

    test('a name that is not UTF-8 is patched, and reported as Python decodes it', () => {
      const venv = copy()
      const site = sitePackages(world, venv)
      const [name = ''] = moduleNames(world, MODULES)
      const odd = Buffer.concat([Buffer.from(`${site}/lib`), Buffer.from([0xff]), Buffer.from('.so')])
      writeFileSync(odd, readFileSync(join(site, name)))
      const report = JSON.parse(wheelfix(world, ['venv', venv, '--json']).stdout)
      const entry = report.objects.find((object: { path: string }) => object.path.endsWith('lib\uDCFF.so'))
      assert.equal(entry?.status, 'patched')
      assert.equal(wheelfix(world, ['restore', venv]).status, 0)
      assert.deepEqual(readFileSync(odd), readFileSync(join(sitePackages(world, template), name)))
    })

    test('a library that was collected from the store is replaced by the next run', () => {
      const copied = join(world.store, `${'0'.repeat(31)}a-gcc-12.2.0-lib`)
      cpSync(world.outputs.gcc, copied, { recursive: true, verbatimSymlinks: true })
      const venv = copy()
      assert.equal(wheelfix(world, ['venv', venv, '--libs', join(copied, 'lib')]).status, 0)
      assert.ok(imports(venv))
      rmSync(copied, { recursive: true, force: true })
      assert.equal(wheelfix(world, ['check', venv]).status, 1)
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      assert.ok(imports(venv))
    })

    test('a moved venv and a copied one go on working', () => {
      const venv = copy()
      wheelfix(world, ['venv', venv])
      const moved = `${venv}-moved`
      renameSync(venv, moved)
      assert.ok(imports(moved))
      const twin = `${venv}-copied`
      runWell('cp', ['-a', moved, twin])
      assert.ok(imports(twin))
      const state = treeState(sitePackages(world, twin))
      assert.equal(wheelfix(world, ['venv', twin]).status, 0)
      assert.deepEqual(treeState(sitePackages(world, twin)), state)
    })

    test('RECORD loses the hash of what changed, or gets the true one with --rehash', () => {
      const venv = copy()
      const record = join(sitePackages(world, venv), 'pair-1.0.dist-info/RECORD')
      const [name = ''] = moduleNames(world, MODULES)
      wheelfix(world, ['venv', venv])
      assert.ok(readFileSync(record, 'latin1').includes(`${name},,\r\n`))
      wheelfix(world, ['venv', venv, '--rehash'])
      const hash = Buffer.from(hashFile(join(sitePackages(world, venv), name)), 'hex').toString('base64url')
      assert.ok(readFileSync(record, 'latin1').includes(`${name},sha256=${hash},`))
      const state = treeState(venv)
      wheelfix(world, ['venv', venv])
      assert.deepEqual(treeState(venv), state, 'a run without the flag leaves true hashes alone')
    })

    test('a file that another tool changed since is named by restore and left alone', () => {
      const venv = copy()
      wheelfix(world, ['venv', venv])
      const [name = ''] = moduleNames(world, MODULES)
      const path = join(sitePackages(world, venv), name)
      writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.from('more')]))
      const { status, stdout } = wheelfix(world, ['restore', venv])
      assert.equal(status, 1)
      assert.match(stdout, new RegExp(`${name}: another tool changed this file after wheelfix did`))
    })
  })
}

/** Written in place, where the file system cannot reflink: the old file with something behind it, until the next run. */
function isInPlace(name: string): boolean {
  return /\/large\./.test(name)
}

/** A venv with a distribution of a small and a large extension module, and a RECORD with CRLF line ends. */
function makeTemplate(world: World): string {
  const venv = makeVenv(world, 'template')
  const site = sitePackages(world, venv)
  const rows = buildThrowingModules(world, site, MODULES)
  const info = join(site, 'pair-1.0.dist-info')
  mkdirSync(info)
  writeFileSync(join(info, 'METADATA'), 'Metadata-Version: 2.1\nName: pair\nVersion: 1.0\n')
  writeFileSync(join(info, 'RECORD'), [...rows, 'pair-1.0.dist-info/RECORD,,', ''].join('\r\n'))
  return venv
}

function runs(world: World, venv: string, code: string): boolean {
  try {
    runWell(join(venv, 'bin/python'), ['-c', code], { env: world.env })
    return true
  } catch {
    return false
  }
}
