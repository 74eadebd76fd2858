import assert from 'node:assert/strict'
import { test } from 'node:test'
import { missing } from '../support/requires.ts'
import { fuzz, fuzzLoader, fuzzTry } from './fuzz.ts'

test('mutated objects are read, edited, verified and restored, or give an ElfError', () => {
  const counts = fuzz(1, 8000, 2000)
  assert.ok(counts.parsed > 2000 && counts.edited > 500 && counts.rejected < counts.edited / 10, JSON.stringify(counts))
})

test('a mutated library that the real loader opens also opens after the edit', { skip: missing('gcc') }, () => {
  const counts = fuzzLoader(7, 80)
  assert.ok(counts.loaded > 20 && counts.rejected < counts.edited / 10, JSON.stringify(counts))
})

test('a dry run refuses exactly the mutated objects that the edit refuses, for the same reason', () => {
  const { made, refused } = fuzzTry(3, 3000)
  assert.ok(made > 500 && refused > 500, `${made} ${refused}`)
})
