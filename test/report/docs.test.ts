// The pages that are made from the program are those of the program.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { generatedPages } from '../../src/pages.ts'

const ROOT = join(import.meta.dirname, '../../..')

test('docs/commands.md and docs/findings.md are what the program says (npm run docs writes them)', () => {
  for (const [name, text] of generatedPages()) assert.equal(readFileSync(join(ROOT, 'docs', name), 'utf8'), text, name)
})
