// Which files a process has in use, whatever way it has them. Each case starts a real process, and asks for its file and for
// one that nobody uses.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, mock, suite, test } from 'node:test'
import { filesInUse, seesAllProcesses } from '../../src/state/in-use.ts'
import { inapplicable, missing, skip } from '../support/requires.ts'
import { run } from '../support/run.ts'

const MODULE = join(import.meta.dirname, '../../src/state/in-use.js')

const HEAD = `
import ctypes, os, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
path = sys.argv[1]
def mapped(path):
    fd = os.open(path, os.O_RDONLY)
    libc.mmap(None, 4096, 1, 2, fd, 0)
    os.close(fd)
def ready():
    os.write(1, b'ready\\n')
    time.sleep(600)
`

/** Programs that have the file of their argument in use. */
const USERS: Readonly<Record<string, string>> = {
  'a mapping whose descriptor is closed': 'mapped(path); ready()',
  'a descriptor': 'fd = os.open(path, os.O_RDONLY); ready()',
  'a descriptor for the path alone': 'fd = os.open(path, os.O_PATH); ready()',
  'a descriptor of one thread (unshare)': `
def work():
    assert libc.unshare(0x400) == 0
    fd = os.open(path, os.O_RDONLY)
    ready()
threading.Thread(target=work).start()
`,
  'a mapping of a process whose first thread has ended': `
def work():
    time.sleep(0.5)
    ready()
mapped(path)
threading.Thread(target=work).start()
ctypes.CDLL('libpthread.so.0').pthread_exit(None)
`,
  'what a child has from a parent that ended': `
fd = os.open(path, os.O_RDONLY)
if os.fork(): os._exit(0)
ready()
`,
}

const noPython = missing('python3')

suite('files in use', { skip: noPython }, () => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'wheelfix-in-use-'))
  const [used, unused] = ['used', 'unused'].map(name => join(folder, name)) as [string, string]
  const inodeOf = (path: string): string => String(fs.statSync(path, { bigint: true }).ino)
  const both = (): Set<string> => new Set([inodeOf(used), inodeOf(unused)])
  const children: ChildProcess[] = []

  before(() => {
    for (const path of [used, unused]) fs.writeFileSync(path, 'x'.repeat(4096))
    // what a security module hides, or belongs to others
    const { readdirSync, readFileSync, readlinkSync } = fs
    const isHidden = (pid: string): boolean => {
      try {
        readFileSync(`/proc/${pid}/maps`)
        const [fd] = readdirSync(`/proc/${pid}/fd`)
        if (fd !== undefined) readlinkSync(`/proc/${pid}/fd/${fd}`)
        return false
      } catch {
        return fs.existsSync(`/proc/${pid}`)
      }
    }
    const hidden = new Set(readdirSync('/proc').filter(name => /^\d/.test(name) && isHidden(name)))
    mock.method(fs, 'readdirSync', (path: string) => {
      const names = readdirSync(path)
      return path === '/proc' ? names.filter(name => !hidden.has(name)) : names
    })
    syncBuiltinESMExports()
  })
  after(() => {
    for (const child of children) child.kill('SIGKILL')
    mock.restoreAll()
    syncBuiltinESMExports()
    fs.rmSync(folder, { recursive: true })
  })

  /** Starts a program and waits until it says that it is ready. Returns the function that ends the program. */
  async function start(code: string): Promise<() => void> {
    const child = spawn('python3', ['-c', HEAD + code, used], { detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    await new Promise<void>((done, failed) => {
      child.stdout.once('data', () => {
        done()
      })
      child.once('error', failed)
      child.stdout.once('end', () => {
        failed(new Error('it ended'))
      })
    })
    return () => {
      // its whole group: the first process may be gone
      process.kill(-(child.pid ?? 0), 'SIGKILL')
    }
  }

  /** On a busy machine the processes may change too fast. */
  function search(): ReadonlySet<string> {
    for (let attempt = 0; attempt < 50; attempt++) {
      const found = filesInUse(both())
      if (found !== null) return found
    }
    throw new Error('the processes change too fast')
  }

  for (const [name, code] of Object.entries(USERS)) {
    test(name, async () => {
      const end = await start(code)
      assert.deepEqual(search(), new Set([inodeOf(used)]))
      end()
      for (const limit = Date.now() + 60_000; search().size > 0;) assert.ok(Date.now() < limit, 'in use for ever')
    })
  }

  test('a file that is passed on from child to child is found, or the answer is unknown', async () => {
    const relay = `
fd = os.open(path, os.O_RDONLY)
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.write(1, b'ready\\n')
while True:
    if os.fork(): os._exit(0)
`
    const end = await start(relay)
    try {
      for (let round = 0; round < 10; round++) {
        const found = filesInUse(both())
        assert.ok(found === null || found.has(inodeOf(used)), `round ${round}: it is not in use, they say`)
      }
    } finally {
      end()
    }
  })

  test('one process that may not be read makes the answer unknown', () => {
    const { readFileSync } = fs
    const denied = Object.assign(new Error('EACCES: denied'), { code: 'EACCES' })
    const hidden = mock.method(fs, 'readFileSync', (path: string, ...rest: never[]) => {
      if (path === `/proc/${process.ppid}/maps`) throw denied
      return readFileSync(path, ...rest)
    })
    syncBuiltinESMExports()
    try {
      assert.equal(filesInUse(both()), null)
    } finally {
      hidden.mock.restore()
      syncBuiltinESMExports()
    }
  })

  const noOverlay = overlays() ? missing('unshare', 'mount') : inapplicable('needs root and overlayfs')
  test('a file that a process uses through an overlay', { skip: noOverlay }, async () => {
    for (const name of ['upper', 'work', 'merged']) fs.mkdirSync(join(folder, name))
    const mount = `mount -t overlay o -o lowerdir=${folder},upperdir=upper,workdir=work merged`
    const child = spawn(
      'unshare',
      [
        '-m',
        'sh',
        '-c',
        `cd ${folder} && ${mount} && exec python3 -c "$1" merged/used`,
        'sh',
        `${HEAD}mapped(path); ready()`,
      ],
      { detached: true, stdio: ['ignore', 'pipe', 'inherit'] },
    )
    children.push(child)
    await new Promise(done => child.stdout.once('data', done))
    assert.deepEqual(search(), new Set([inodeOf(used)]))
    process.kill(-(child.pid ?? 0), 'SIGKILL')
  })
})

suite('who sees all processes', () => {
  const ask = (before: readonly string[], options: { uid?: number; gid?: number } = {}) => {
    const code = `import(${JSON.stringify(MODULE)}).then(({ seesAllProcesses }) => console.log(seesAllProcesses()))`
    const args = [...before.slice(1), ...(before.length === 0 ? [] : [process.execPath]), '-e', code]
    return run(before[0] ?? process.execPath, args, options).stdout.trim()
  }
  const isRoot = process.getuid?.() === 0
  const asRoot = isRoot ? false : inapplicable('only root can be somebody else')

  test('not an ordinary user', { skip: isRoot ? false : inapplicable('asked as root only') }, () => {
    assert.equal(ask([], { uid: 65534, gid: 65534 }), 'false')
  })
  const namespaces = missing('unshare') === false ? asRoot : skip('needs unshare')
  test('not in a namespace of processes', { skip: namespaces }, () => {
    assert.equal(ask(['unshare', '--pid', '--fork', '--mount-proc']), 'false')
    assert.equal(ask(['unshare', '--pid', '--fork']), 'false')
  })
  test('not in a namespace of users', { skip: namespaces }, () => {
    assert.equal(ask(['unshare', '--user', '--map-root-user']), 'false')
  })
  test('not where /proc hides processes', { skip: namespaces }, () => {
    const hide = 'mount -t proc -o hidepid=1 proc /proc && exec "$0" "$@"'
    assert.equal(ask(['unshare', '-m', 'sh', '-c', hide]), 'false')
  })
  test('not without CAP_SYS_PTRACE', { skip: missing('setpriv') === false ? asRoot : skip('needs setpriv') }, () => {
    assert.equal(ask(['setpriv', '--bounding-set', '-sys_ptrace', '--inh-caps', '-sys_ptrace']), 'false')
  })
  test(
    'root outside of all of these',
    { skip: isOutside() ? false : inapplicable('needs root outside containers') },
    () => {
      assert.equal(seesAllProcesses(), true)
      assert.equal(ask([]), 'true')
    },
  )
})

function overlays(): boolean {
  return process.getuid?.() === 0 && fs.readFileSync('/proc/filesystems', 'utf8').includes('\toverlay\n')
}

function isOutside(): boolean {
  return process.getuid?.() === 0 && fs.readlinkSync('/proc/self/ns/pid') === 'pid:[4026531836]'
}
