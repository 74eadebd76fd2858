import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { recordIdentity, rewriteRecordFiles } from '../../src/environment/record-files.ts'
import { EMPTY_FIELDS } from '../../src/python/record.ts'

suite('rewriting a RECORD', () => {
  let folder = ''
  let path = ''
  const text = 'a.so,sha256=aaa,3\nb.py,sha256=bbb,4\n'
  const changes = () => new Map([[path, new Map([['a.so', EMPTY_FIELDS]])]])
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'wheelfix-record-'))
    path = join(folder, 'RECORD')
  })
  after(() => rmSync(folder, { recursive: true }))

  test('that is as the run found it', () => {
    writeFileSync(path, text)
    assert.equal(rewriteRecordFiles(changes(), new Map([[path, recordIdentity(path)]])).size, 0)
    assert.equal(readFileSync(path, 'utf8'), 'a.so,,\nb.py,sha256=bbb,4\n')
  })

  test('that an installer has replaced meanwhile leaves it as it is, and says so', () => {
    writeFileSync(path, text)
    const found = new Map([[path, recordIdentity(path)]])
    writeFileSync(join(folder, 'new'), text)
    renameSync(join(folder, 'new'), path)
    assert.match(rewriteRecordFiles(changes(), found).get(path) ?? '', /changed it during this run: run wheelfix again/)
    assert.equal(readFileSync(path, 'utf8'), text)
    assert.deepEqual(readdirSync(folder), ['RECORD'])
  })

  test('that was removed meanwhile makes no new one', () => {
    rmSync(path)
    const found = new Map([[path, 'of a file that is gone']])
    rewriteRecordFiles(changes(), found)
    assert.equal(recordIdentity(path), null)
  })
})
