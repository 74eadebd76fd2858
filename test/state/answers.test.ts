// Which answers a run keeps: its own changes do not spoil the answer, and any other change during the run does.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { namesBefore, recall, remember } from '../../src/state/answers.ts'

const folder = mkdtempSync(join(tmpdir(), 'wheelfix-answers-'))
after(() => rmSync(folder, { recursive: true }))

const OPTIONS = {
  libs: [],
  noScan: true,
  trust: [],
  ignoreMissing: [],
  ignore: [],
  strategy: null,
  interpreter: null,
  update: false,
  rehash: false,
  editable: false,
  env: { XDG_STATE_HOME: join(folder, 'state') },
  cwd: folder,
}
const ANSWER = { status: 0, warnings: [], facts: { objects: 2 } }

/** Does the next run get the answer of a run that replaced site/a.so, while `meanwhile` and before `later` happened? */
async function isRemembered(
  name: string,
  meanwhile: (root: string) => void,
  later: (root: string) => void = () => {},
): Promise<boolean> {
  const root = join(folder, name)
  const place = { root, stateFolder: join(root, '.wheelfix') }
  const [site, other] = [join(root, 'site'), join(root, 'other')]
  for (const path of [site, other, place.stateFolder]) mkdirSync(path, { recursive: true })
  for (const path of ['pyvenv.cfg', 'site/a.so', 'other/b.so']) writeFileSync(join(root, path), path)
  // longer than a tick of the clock of file times
  await setTimeout(50)
  const began = Date.now()
  const written = namesBefore([site], began)
  // the object keeps the time of its content
  const { atime, mtime } = statSync(join(site, 'a.so'))
  writeFileSync(join(site, 'new'), 'a changed object')
  utimesSync(join(site, 'new'), atime, mtime)
  renameSync(join(site, 'new'), join(site, 'a.so'))
  meanwhile(root)
  const subject = {
    ...place,
    directories: [root, site, other],
    began,
    written,
    objects: [
      { path: 'site/a.so', size: 16 },
      { path: 'other/b.so', size: null },
    ],
    dependencies: [],
    scanned: null,
    made: new Set<string>(),
  }
  remember(subject, OPTIONS, false, '1', ANSWER)
  later(root)
  return recall(place, OPTIONS, false, '1') !== null
}

test('the answer of a run that only replaced an object is kept', async () => {
  assert.equal(await isRemembered('alone', () => {}), true)
})

test('a file that appears beside the replaced object spoils the answer', async () => {
  assert.equal(await isRemembered('beside', root => writeFileSync(join(root, 'site/c.so'), '')), false)
})

test('a file that appears in another folder spoils the answer', async () => {
  assert.equal(await isRemembered('elsewhere', root => writeFileSync(join(root, 'other/c.so'), '')), false)
})

test('another object that is replaced spoils the answer', async () => {
  assert.equal(await isRemembered('other', root => writeFileSync(join(root, 'other/b.so'), 'something else')), false)
})

test('the replaced object, when it is replaced once more, spoils the answer', async () => {
  assert.equal(await isRemembered('twice', root => writeFileSync(join(root, 'site/a.so'), 'something else')), false)
})

for (const [what, change] of [
  ['a file that appears in a folder', root => writeFileSync(join(root, 'other/c.so'), '')],
  ['an object that is replaced', root => writeFileSync(join(root, 'other/b.so'), 'something else')],
  ['another pyvenv.cfg', root => writeFileSync(join(root, 'pyvenv.cfg'), 'home = elsewhere')],
] as const satisfies readonly (readonly [string, (root: string) => void])[]) {
  test(`${what} after the run ends its answer`, async () => {
    assert.equal(await isRemembered(what.replaceAll(' ', '-'), () => {}, change), false)
  })
}
