// Which undos are removed. test/survive/undos.test.ts does the same with whole runs.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { pruneUndos } from '../../src/state/unused-undos.ts'

const DAY = 86_400_000

const folder = mkdtempSync(join(tmpdir(), 'wheelfix-undos-'))
after(() => rmSync(folder, { recursive: true }))

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

let places = 0
function placeWith(edited: string, original: string) {
  const root = join(folder, String((places += 1)))
  const place = { root, stateFolder: join(root, '.wheelfix') }
  mkdirSync(join(place.stateFolder, 'undo'), { recursive: true })
  const undo = join(place.stateFolder, 'undo', `${digest(edited)}-${edited.length}.json`)
  writeFileSync(undo, JSON.stringify({ original: digest(original) }))
  return { place, undo, file: join(root, 'program') }
}

/** Is the undo there after two runs that are two days apart? */
function stays({ place, undo }: ReturnType<typeof placeWith>, folders: readonly string[], files: readonly string[]) {
  for (const now of [0, 2 * DAY]) pruneUndos(place, { folders, files, used: 0 }, now)
  return existsSync(undo)
}

test('the file is the original again, or gone: its undo goes', () => {
  const made = placeWith('edited!!', 'original')
  writeFileSync(made.file, 'original')
  assert.ok(!stays(made, [made.place.root], [made.file]))
  const gone = placeWith('edited!!', 'original')
  assert.ok(!stays(gone, [gone.place.root], []))
})

test('a file with other content of that size may be an edit on top, so the undo stays', () => {
  const made = placeWith('edited!!', 'original')
  writeFileSync(made.file, 'on top!!')
  assert.ok(stays(made, [made.place.root], []))
  assert.ok(stays(made, [], [made.file]), 'an object outside the folders')
})

test('in an environment of one file, only that file counts', () => {
  const made = placeWith('edited!!', 'original')
  writeFileSync(made.file, 'upgraded program')
  writeFileSync(join(made.place.root, 'sibling'), 'sibling!')
  assert.ok(!stays(made, [], [made.file]))
})

test('an undo that is needed again within a day starts its day again', () => {
  const made = placeWith('edited!!', 'original')
  const prune = (now: number) => pruneUndos(made.place, { folders: [made.place.root], files: [], used: 0 }, now)
  prune(0)
  writeFileSync(made.file, 'edited!!')
  prune(0.9 * DAY)
  rmSync(made.file)
  prune(1.1 * DAY)
  assert.ok(existsSync(made.undo))
  prune(2.2 * DAY)
  assert.ok(!existsSync(made.undo))
})

test('nothing is removed while a file cannot be looked at', () => {
  const made = placeWith('edited!!', 'original')
  assert.ok(stays(made, [], [join(made.place.root, 'absent')]))
})
