// Restore in place: a library that nobody uses gets its header back and loses its graft, without a copy. A program that uses
// a library meanwhile goes on, because such a library is replaced. What happens to the program where a restore does not look
// is shown, too.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { inapplicable } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { makeTemplate, recordOf, venvFiles, withCompiledWorld } from '../survive/template.ts'
import { sitePackages, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'

const SUPPORT = join(import.meta.dirname, '../../../test/support')
const VISIBLE = `--require ${join(SUPPORT, 'visible.cjs')}`
const BLIND = `--require ${join(SUPPORT, 'blind.cjs')}`
const DISTURB = `--require ${join(SUPPORT, 'disturb.cjs')}`

if (seesAll()) withCompiledWorld('restore in place', theSuite)
else test('restore in place', { skip: inapplicable('needs root outside any container') })

function seesAll(): boolean {
  return process.getuid?.() === 0 && readlinkSync('/proc/self/ns/pid') === 'pid:[4026531836]'
}

function theSuite(world: World): void {
  suite('restore in place', () => {
    const children: ChildProcess[] = []
    after(() => {
      for (const child of children) child.kill('SIGKILL')
      world.dispose()
    })
    const template = makeTemplate(world)
    const original = venvFiles(template)
    const venv = join(world.root, 'venv')
    const site = sitePackages(world, venv)
    const nameOf = (stem: string): string =>
      readdirSync(sitePackages(world, template)).find(name => name.startsWith(stem)) ?? ''
    const [small, large, linked] = ['small.', 'large.', 'linked.'].map(stem => join(site, nameOf(stem))) as [
      string,
      string,
      string,
    ]
    const libraries = [small, large, linked]
    const inodes = (): number[] => libraries.map(path => statSync(path).ino)
    const fix = (command: string, env: NodeJS.ProcessEnv = {}) => {
      const libs = command === 'restore' ? [] : ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
      return wheelfix(world, [command, venv, ...libs], { PATH: process.env['PATH'], ...env })
    }
    const well = (command: string, env: NodeJS.ProcessEnv = {}): string => {
      const { status, stdout, stderr } = fix(command, env)
      assert.equal(status, 0, `${command}: ${stdout}${stderr}`)
      return stdout + stderr
    }
    const restore = (env: NodeJS.ProcessEnv = {}) => well('restore', { NODE_OPTIONS: VISIBLE, ...env })
    const prepare = (): void => {
      rmSync(venv, { recursive: true, force: true })
      cpSync(template, venv, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
      well('venv')
    }
    const assertRestored = (): void => {
      assert.deepEqual(venvFiles(venv), original)
      assert.equal(recordOf(world, venv), recordOf(world, template))
      assert.ok(!existsSync(join(venv, '.wheelfix')))
    }

    function changesOfRestore(env: NodeJS.ProcessEnv = {}): number {
      const log = join(world.root, 'log')
      rmSync(log, { force: true })
      prepare()
      well('restore', { NODE_OPTIONS: `${VISIBLE} ${DISTURB}`, DISTURB_AT: '0', DISTURB_LOG: log, ...env })
      return Number(readFileSync(log, 'utf8'))
    }

    /** Starts a program of the venv's Python, which reads lines and answers each. */
    async function start(code: string): Promise<(line: string) => Promise<string>> {
      const child = spawn(join(venv, 'bin/python'), ['-c', PROGRAM + code, ...libraries], {
        env: { ...world.env, LD_LIBRARY_PATH: world.libs.gcc },
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      children.push(child)
      const next = () =>
        new Promise<string>(done => {
          child.stdout.once('data', (answer: Buffer) => {
            done(answer.toString().trim())
          })
          child.once('exit', (status, signal) => {
            done(signal ?? String(status))
          })
        })
      assert.equal(await next(), 'ready')
      return line => {
        const answer = next()
        child.stdin.write(`${line}\n`)
        return answer
      }
    }

    test('libraries that nobody uses keep their inodes, times, modes and attributes', () => {
      prepare()
      chmodSync(small, 0o711)
      chmodSync(large, 0o444)
      const set = 'import os, sys; os.setxattr(sys.argv[1], "user.origin", b"foo")'
      runWell(world.host.python.executable, ['-c', set, large])
      well('venv')
      const before = libraries.map(path => statSync(path))
      restore()
      for (const [index, path] of libraries.entries()) {
        const { ino, mode, mtimeMs, atimeMs, uid, gid } = statSync(path)
        const was = before[index] ?? statSync(path)
        assert.equal(ino, was.ino, path)
        assert.equal(mode, was.mode)
        assert.ok(Math.abs(mtimeMs - was.mtimeMs) < 0.002 && Math.abs(atimeMs - was.atimeMs) < 0.002)
        assert.deepEqual([uid, gid], [was.uid, was.gid])
        assert.ok(readFileSync(path).equals(readFileSync(path.replace(venv, template))))
      }
      const get = 'import os, sys; print(os.getxattr(sys.argv[1], "user.origin"))'
      assert.match(runWell(world.host.python.executable, ['-c', get, large]), /foo/)
      assert.equal(recordOf(world, venv), recordOf(world, template))
    })

    test('a library with a set-user-ID bit is copied, and keeps the bit', () => {
      prepare()
      const before = inodes()
      chmodSync(small, 0o4755)
      well('venv')
      restore()
      const isSame = inodes().map((ino, index) => ino === before[index])
      assert.deepEqual(isSame, [false, true, true])
      assert.equal(statSync(small).mode & 0o7777, 0o4755)
    })

    test('a user who cannot see all processes gets copies', () => {
      prepare()
      const before = inodes()
      well('restore', { NODE_OPTIONS: BLIND, BLIND_TO: 'permission' })
      assert.ok(inodes().every((ino, index) => ino !== before[index]))
      assertRestored()
    })

    test('a program that has imported the modules goes on', async () => {
      prepare()
      const ask = await start(IMPORTS)
      const before = inodes()
      restore()
      assert.ok(inodes().every((ino, index) => ino !== before[index]))
      assertRestored()
      assert.equal(await ask('answer'), '126')
    })

    test('(such a program dies where a restore does not look)', async () => {
      prepare()
      const ask = await start(IMPORTS)
      const before = inodes()
      well('restore', { NODE_OPTIONS: BLIND, BLIND_TO: 'processes' })
      assert.deepEqual(inodes(), before, 'in place')
      assert.equal(await ask('answer'), 'SIGBUS')
    })

    test('a program that maps a library after the first look goes on', async () => {
      prepare()
      const before = inodes()
      const marker = join(world.root, 'mapped')
      rmSync(marker, { force: true })
      const fifo = join(world.root, 'ask')
      rmSync(fifo, { force: true })
      runWell('mkfifo', [fifo])
      const answers = join(world.root, 'answers')
      const command = `LD_LIBRARY_PATH=${world.libs.gcc} "${venv}/bin/python" -c '${PROGRAM}${IMPORTS}' ${libraries.join(' ')} <> "${fifo}" > "${answers}" 2>&1 &
        until grep -q ready "${answers}"; do sleep 0.1; done`
      writeFileSync(answers, '')
      restore({ VISIBLE_RUN: command })
      assert.ok(inodes().every((ino, index) => ino !== before[index]))
      assertRestored()
      writeFileSync(fifo, 'answer\nend\n')
      for (const limit = Date.now() + 60_000; !/ready\n\S+\n/.test(readFileSync(answers, 'utf8'));) {
        assert.ok(Date.now() < limit, readFileSync(answers, 'utf8'))
        await new Promise(done => setTimeout(done, 50))
      }
      assert.equal(readFileSync(answers, 'utf8'), 'ready\n126\n')
    })

    test('a process that has a library open can read all of it', () => {
      prepare()
      const patched = readFileSync(large)
      const before = inodes()
      const fd = openSync(large, 'r')
      try {
        restore()
        const bytes = Buffer.alloc(patched.length)
        assert.equal(readSync(fd, bytes, 0, bytes.length, 0), patched.length)
        assert.ok(bytes.equals(patched))
      } finally {
        closeSync(fd)
      }
      const isSame = inodes().map((ino, index) => ino === before[index])
      assert.deepEqual(isSame, [true, false, true], 'the others are restored in place')
      assertRestored()
    })

    test('a program that loads and unloads the libraries all the time goes on', async () => {
      for (let round = 0; round < 5; round++) {
        prepare()
        const ask = await start(LOADS)
        restore()
        assertRestored()
        assert.match(await ask('answer'), /^[1-9]\d* loads$/)
        assert.equal(await ask('end'), '0')
      }
    })

    test('a library with two names is copied, and the other name keeps its bytes', () => {
      prepare()
      const other = join(world.root, 'other')
      rmSync(other, { force: true })
      linkSync(small, other)
      const patched = readFileSync(small)
      restore()
      assertRestored()
      assert.ok(readFileSync(other).equals(patched))
    })

    test('the holes of a sparse library stay', () => {
      prepare()
      runWell('cp', ['--sparse=always', '--preserve=all', large, `${large}.sparse`])
      runWell('mv', [`${large}.sparse`, large])
      well('venv')
      const { ino } = statSync(large)
      restore()
      const { ino: now, blocks, size } = statSync(large)
      assert.equal(now, ino)
      assert.ok(blocks * 512 < size - (1 << 20))
      assertRestored()
    })

    test('a library that something else changed is hashed, whatever its times say', () => {
      for (const env of [{}, { NODE_OPTIONS: VISIBLE }]) {
        prepare()
        const { size, atime, mtime } = statSync(large)
        const fd = openSync(large, 'r+')
        writeSync(fd, Buffer.from([1]), 0, 1, Math.floor(size / 2))
        closeSync(fd)
        utimesSync(large, atime, mtime)
        assert.match(well('restore', env).replaceAll(/\s+/g, ' '), /large\S* differs from its RECORD/)
      }
    })

    /** A command that opens a library after the first look, and keeps it open. */
    const pidFile = join(world.root, 'pid')
    const opens = `sleep 600 < "${large}" > "${pidFile}.out" 2>&1 & echo $! > "${pidFile}"`
    const endUser = (): void => {
      if (existsSync(pidFile)) process.kill(Number(readFileSync(pidFile, 'utf8')))
      rmSync(pidFile, { force: true })
    }

    for (const [errno, user] of [
      ['EIO', {}],
      ['ENOSPC', { VISIBLE_RUN: opens }],
    ] as const) {
      const name = `${errno} at any change${'VISIBLE_RUN' in user ? ', while a library is open' : ''}`
      test(`${name}: the next restore completes`, () => {
        const changes = changesOfRestore(user)
        endUser()
        for (let at = 1; at <= changes; at += STEP) {
          prepare()
          const env = { NODE_OPTIONS: `${VISIBLE} ${DISTURB}`, DISTURB_AT: String(at), DISTURB_BY: errno, ...user }
          const { status, stdout, stderr } = fix('restore', env)
          endUser()
          const when = `${errno} at change ${at} of ${changes}: ${status} ${stdout}${stderr}`
          assert.ok([0, 1, 2].includes(status), when)
          assert.doesNotMatch(stdout + stderr, /\n\s+at |node:internal/, when)
          if (status === 0) assert.deepEqual(venvFiles(venv), original, when)
          const again = fix('restore', { NODE_OPTIONS: VISIBLE })
          assert.equal(again.status, 0, `${when}, and then ${again.stdout}${again.stderr}`)
          assert.deepEqual(venvFiles(venv), original, when)
        }
      })
    }

    test('a program that uses a library of an interrupted restore goes on, when the next one completes it', async () => {
      const changes = changesOfRestore()
      let cuts = 0
      for (let at = 1; at <= changes; at++) {
        prepare()
        const ask = await start(IMPORTS)
        const before = inodes()
        const killed = fix('restore', {
          NODE_OPTIONS: `${BLIND} ${DISTURB}`,
          BLIND_TO: 'processes',
          DISTURB_AT: String(at),
          DISTURB_BY: 'kill',
        })
        if (killed.status === 0) break
        const isCut = libraries.some((path, index) => {
          const { ino, size } = statSync(path)
          return ino === before[index] && size === statSync(path.replace(venv, template)).size
        })
        if (isCut) {
          cuts++
          break
        }
        restore()
        assert.deepEqual(venvFiles(venv), original, `after change ${at}`)
        assert.equal(await ask('answer'), '126', `after change ${at}`)
        await ask('end')
      }
      assert.equal(cuts, 1, 'every state before the first cut was tried')
    })
  })
}

const STEP = process.env['WHEELFIX_SURVIVE'] === 'all' ? 1 : 3

/** Reads lines; `answer` and `end` are defined by what follows. */
const PROGRAM = `
import ctypes, os, sys, threading
def serve(answer):
    os.write(1, b"ready\\n")
    for line in sys.stdin:
        if line == "end\\n": os._exit(0)
        os.write(1, (str(answer()) + "\\n").encode())
`

/** Imports the modules. When asked, it calls them and looks up a name in each, for which the loader reads its tables. */
const IMPORTS = `
import small, large, linked
libraries = {"PyInit_" + os.path.basename(path).split(".")[0]: ctypes.CDLL(path) for path in sys.argv[1:4]}
def answer():
    for name, library in libraries.items(): library[name]
    return small.answer() + large.answer() + linked.answer()
serve(answer)
`

/** Loads and unloads the libraries in a loop; the answer is how often. What they need is loaded, patched or not. */
const LOADS = `
ctypes.CDLL("libstdc++.so.6", mode=ctypes.RTLD_GLOBAL)
libc = ctypes.CDLL(None)
libc.dlclose.argtypes = [ctypes.c_void_p]
loads = 0
def work():
    global loads
    while True:
        for path in sys.argv[1:4]:
            try:
                library = ctypes.CDLL(path)
            except OSError as error:
                os.write(1, f"{error}\\n".encode())
                os._exit(1)
            getattr(library, "PyInit_" + os.path.basename(path).split(".")[0])
            libc.dlclose(library._handle)
            loads += 1
threading.Thread(target=work, daemon=True).start()
serve(lambda: f"{loads} loads")
`
