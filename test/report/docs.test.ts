// The pages that are made from the program are those of the program, and the pages about the code name what is there.
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { generatedPages } from '../../src/pages.ts'

const ROOT = join(import.meta.dirname, '../../..')

test('docs/commands.md and docs/findings.md are what the program says (npm run docs writes them)', () => {
  for (const [name, text] of generatedPages()) assert.equal(readFileSync(join(ROOT, 'docs', name), 'utf8'), text, name)
})

test('each file and folder that CONTRIBUTING.md and the README of a room name is there', () => {
  const rooms = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).filter(name =>
    name.endsWith('README.md'),
  )
  let count = 0
  for (const page of ['CONTRIBUTING.md', ...rooms.map(name => `src/${name}`)]) {
    const text = readFileSync(join(ROOT, page), 'utf8')
    for (const [, path = ''] of text.matchAll(/`([\w.-]+(?:\/[\w.-]+)*\/?)`/g)) {
      const isFile = /\.(?:ts|mjs|cjs|nix|sh)$/.test(path)
      if (!path.includes('/') || !(isFile || /^(?:src|test|docs|scripts|fixtures|bench)\//.test(path))) continue
      // a room names its files from its own folder, and tests from test/
      const bases = ['', dirname(page), 'test']
      assert.ok(
        bases.some(base => existsSync(join(ROOT, base, path))),
        `${page} names ${path}`,
      )
      count++
    }
  }
  assert.ok(count > 50, `${count} paths`)
})
