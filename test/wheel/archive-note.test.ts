// The note in the comment of a patched wheel. test/e2e/wheel-restore.test.ts restores wheels by it.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import {
  type ArchiveNote,
  fitsNote,
  type ProgramUndo,
  readArchiveNote,
  textBefore,
  textUndo,
  withRowsBack,
  writeArchiveNote,
} from '../../src/wheel/archive-note.ts'
import { openArchive } from '../../src/zip/read.ts'
import { makeZip } from './archives.ts'

const folder = mkdtempSync(join(tmpdir(), 'wheelfix-note-'))
after(() => rmSync(folder, { recursive: true }))

const NOTE: ArchiveNote = { name: 'a', sha256: 'b', record: 'c', stem: null, texts: [], rows: [], dropped: [] }

/** What a reader finds in an archive with this comment. */
async function readBack(comment: Buffer): Promise<ReturnType<typeof readArchiveNote>> {
  const path = join(folder, 'x.whl')
  writeFileSync(path, makeZip([{ name: 'a', data: 'a' }], { comment }))
  const archive = await openArchive(path)
  try {
    return readArchiveNote(archive.ending)
  } finally {
    archive.close()
  }
}

for (const [what, textLength, userComment] of [
  ['small', 1, ''],
  ['usual', 300, ''],
  ['large', 4000, ''],
  ['usual, beside a comment of the user', 300, 'x'.repeat(20_000)],
] as const) {
  test(`as many programs as fit are read back (undos: ${what})`, async () => {
    const comment = Buffer.from(userComment)
    const one: ProgramUndo = { sha256: '0'.repeat(64), text: '"'.repeat(textLength) }
    const programs: ProgramUndo[] = []
    while (programs.length < 1000 && fitsNote([...programs, one], comment)) programs.push(one)
    assert.ok(programs.length > 0 && programs.length < 1000)
    const written = writeArchiveNote({ ...NOTE, programs }, comment)
    assert.ok(written.length <= 0xffff)
    const { note, comment: before } = await readBack(written)
    assert.deepEqual(note?.programs, programs)
    assert.equal(Buffer.from(before).toString(), userComment)
  })
}

test('a comment that leaves no room for a program gets none', () => {
  assert.ok(!fitsNote([{ sha256: '', text: '' }], Buffer.alloc(0xffff)))
})

test('textBefore undoes textUndo', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (before, now) => {
      assert.equal(textBefore(now, textUndo('name', before, now)), before)
    }),
  )
})

test('rows come back where they were, in whatever order the note has them', () => {
  const before = 'first\nsecond\nthird\nfourth\n'
  const rows = [
    { at: 13, text: 'third\n' },
    { at: 0, text: 'first\n' },
  ]
  assert.equal(withRowsBack('second\nfourth\n', rows), before)
})
