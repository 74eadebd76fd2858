// A venv whose files somebody else has made: what wheelfix reads there are links, FIFOs, devices and folders, and files too
// large to read. It ends at once, changes nothing outside, and says in one sentence what is in the way.
import assert from 'node:assert/strict'
import {
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { findConfig } from '../../src/config/find-config.ts'
import { readBeneath, readRegular } from '../../src/io/beneath.ts'
import { missing, skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { treeState } from '../support/tree.ts'
import { installDemoWheel, makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

let world: World | string = 'not built'
before(() => {
  world = buildWorld()
})
after(() => {
  if (typeof world !== 'string') world.dispose()
})

/** Things that may stand in the place of a file or folder; each is made at a path. */
const KINDS: Readonly<Record<string, (path: string, outside: string) => void>> = {
  fifo: path => runWell('mkfifo', [path]),
  folder: path => mkdirSync(path),
  'full folder': path => {
    mkdirSync(path)
    writeFileSync(join(path, 'x'), '')
  },
  'link to itself': path => symlinkSync(path, path),
  'dangling link': (path, outside) => symlinkSync(join(outside, 'new'), path),
  'link to a file': (path, outside) => symlinkSync(join(outside, 'precious'), path),
  'link to a folder': (path, outside) => symlinkSync(outside, path),
  'link to a device': path => symlinkSync('/dev/zero', path),
  'huge file': path => {
    writeFileSync(path, '')
    truncateSync(path, 2 ** 40)
  },
}

const NAMES = [
  '.',
  'libs.json',
  'state.json',
  'interpreter',
  'roots',
  'loader',
  'loader/x',
  'loader/ld.so.cache',
  'lock',
  'journal',
  'journal.kept',
  'journal.json',
  'undo',
]

for (const name of NAMES) {
  test(`.wheelfix/${name} may be anything`, { skip: missing('mkfifo') }, t => {
    if (typeof world === 'string') return t.skip(skip(world))
    const { root } = world
    const folder = mkdtempSync(join(root, 'case'))
    const venv = makeVenv(world, `${folder.slice(root.length + 1)}/venv`)
    installDemoWheel(world, venv)
    const outside = join(folder, 'outside')
    mkdirSync(join(outside, 'roots'), { recursive: true })
    writeFileSync(join(outside, 'precious'), 'p')
    symlinkSync('/etc/hosts', join(outside, 'roots/hosts'))
    const path = join(venv, '.wheelfix', name)
    let runs = 0
    for (const [kind, make] of Object.entries(KINDS)) {
      for (const command of ['venv', 'check', 'restore']) {
        rmSync(join(venv, '.wheelfix'), { recursive: true, force: true })
        mkdirSync(dirname(path), { recursive: true })
        rmSync(path, { recursive: true, force: true })
        make(path.replace(/\/\.$/, ''), outside)
        const then = treeState(outside)
        runs++
        const began = Date.now()
        const { status, stderr } = wheelfix(world, [command, venv])
        const what = `${command}, ${kind}: ${status} ${stderr}`
        assert.ok(Date.now() - began < 8000, what)
        assert.doesNotMatch(stderr, /node:|^\s+at /m, what)
        assert.ok(status === 0 || stderr.split('\n').length === 2 || status === 1, what)
        assert.deepEqual(treeState(outside), then, what)
        if (/link/.test(kind)) {
          assert.equal(status, 2, what)
          assert.match(stderr, /\.wheelfix\S* is a link.*remove it/, what)
        }
      }
    }
    t.diagnostic(`.wheelfix/${name}: ${Object.keys(KINDS).length} kinds, ${runs} runs, 0 files outside changed`)
  })
}

test(
  'a RECORD, METADATA or pyvenv.cfg that is a FIFO or a device is not waited for',
  { skip: missing('mkfifo') },
  t => {
    if (typeof world === 'string') return t.skip(skip(world))
    const venv = makeVenv(world, 'fifos')
    installDemoWheel(world, venv)
    const [info = ''] = runWell('find', [sitePackages(world, venv), '-name', '*.dist-info'])
      .trim()
      .split('\n')
    for (const path of [join(info, 'RECORD'), join(info, 'METADATA'), join(venv, 'pyvenv.cfg')]) {
      for (const kind of ['fifo', 'link to a device'] as const) {
        const aside = `${path}.aside`
        runWell('mv', [path, aside])
        KINDS[kind]?.(path, '')
        const began = Date.now()
        const { stderr } = wheelfix(world, ['check', venv])
        assert.ok(Date.now() - began < 8000, `${path} ${kind}`)
        assert.doesNotMatch(stderr, /^\s+at /m)
        rmSync(path)
        runWell('mv', [aside, path])
      }
    }
  },
)

test('only regular files of a bounded size below a folder are read, and no link is followed', t => {
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-beneath-'))
  t.after(() => rmSync(folder, { recursive: true }))
  mkdirSync(join(folder, 'a/b'), { recursive: true })
  writeFileSync(join(folder, 'a/b/file'), 'text')
  writeFileSync(join(folder, 'outside'), 'no')
  symlinkSync('b', join(folder, 'a/link'))
  symlinkSync('file', join(folder, 'a/b/link'))
  symlinkSync('a', join(folder, 'root'))
  runWell('mkfifo', [join(folder, 'a/fifo')])
  const read = (path: string, limit = 100) => readBeneath(join(folder, 'root'), path, limit)?.toString()
  assert.equal(read('b/file'), 'text')
  assert.equal(read('b/file', 4), 'text')
  for (const path of ['b/link', 'link/file', '../outside', 'b/../b/file', '/etc/hosts', '', 'fifo', 'b', 'none'])
    assert.equal(read(path), undefined, path)
  assert.equal(read('b/file', 3), undefined)
  assert.equal(readRegular(join(folder, 'a/link/link'), 4)?.toString(), 'text')
  for (const path of ['a/fifo', 'a', 'none']) assert.equal(readRegular(join(folder, path), 100), null)
  assert.equal(readRegular('/dev/zero', 100), null)
})

test('settings are looked for up to the project’s end, and those of another owner do not count', t => {
  if (process.getuid?.() !== 0) return t.skip(skip('needs root, to give files away'))
  const top = mkdtempSync(join(tmpdir(), 'wheelfix-config-'))
  t.after(() => rmSync(top, { recursive: true }))
  const project = join(top, 'home/project')
  const venv = join(project, 'deep/.venv')
  mkdirSync(venv, { recursive: true })
  const file = join(top, 'pyproject.toml')
  writeFileSync(file, '')
  assert.equal(findConfig(venv), file)
  // another's file in a folder that everybody may write to
  lchownSync(file, 12_345, 12_345)
  assert.equal(findConfig(venv), null)
  lchownSync(file, 0, 0)
  // another's folder
  chownSync(join(top, 'home'), 12_345, 12_345)
  assert.equal(findConfig(venv), null)
  chownSync(join(top, 'home'), 0, 0)
  for (const name of ['.git', '.hg']) {
    mkdirSync(join(project, name))
    assert.equal(findConfig(venv), null, name)
    rmSync(join(project, name), { recursive: true })
  }
  const { HOME } = process.env
  process.env['HOME'] = project
  t.after(() => (process.env['HOME'] = HOME))
  assert.equal(findConfig(venv), null)
  // the root of the repository itself counts
  mkdirSync(join(project, '.git'))
  writeFileSync(join(project, 'wheelfix.toml'), '')
  assert.equal(findConfig(venv), join(project, 'wheelfix.toml'))
  // a project whose folder is somebody else's, as in a container
  chownSync(join(project, 'deep'), 12_345, 12_345)
  writeFileSync(join(project, 'deep/wheelfix.toml'), '')
  chownSync(join(project, 'deep/wheelfix.toml'), 12_345, 12_345)
  assert.equal(findConfig(venv), join(project, 'deep/wheelfix.toml'))
})
