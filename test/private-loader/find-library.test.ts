import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { CachedLibrary } from '../../src/private-loader/library-cache.ts'
import { FIND_LIBRARY_FILES, findLibraryTexts } from '../../src/private-loader/find-library.ts'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'

/** What Python 3.15 does with a folder of site-packages (PEP 829): `.start` files are called, `.pth` files beside them not. */
const SITE_OF_315 = `
import os, pkgutil, site
names = sorted(os.listdir(folder))
sys.path.append(folder)
for name in names:
    if name.endswith(".pth") and name[:-4] + ".start" not in names:
        site.addpackage(folder, name, set())
for name in names:
    if name.endswith(".start"):
        for line in open(os.path.join(folder, name), encoding="utf-8-sig"):
            if line.strip(): pkgutil.resolve_name(line.strip())()
`
const ASK = 'from ctypes.util import find_library\nprint(find_library("wheelfixfind"))\n'

/** The files for a version in a folder, and what a Python that starts with them says. */
function sitePackages(t: TestContext, version: string) {
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-find-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'libwheelfixfind.so.3')
  writeFileSync(path, '')
  const library = { soname: 'libwheelfixfind.so.3', path } as CachedLibrary
  const texts = findLibraryTexts([library], version)
  for (const [name, text] of texts) writeFileSync(join(folder, name), text)
  const ask = (site: string, code = ASK) =>
    runWell('python3', ['-S', '-B', '-c', `import sys\nfolder = ${JSON.stringify(folder)}\n${site}\n${code}`]).trim()
  return { names: [...texts.keys()], ask }
}

const needsPython = missing('python3')

test('a Python before 3.15 starts it by a .pth file', { skip: needsPython }, t => {
  const { names, ask } = sitePackages(t, '3.14.2')
  assert.deepEqual(names, ['_wheelfix_find_library.pth', '_wheelfix_find_library.py'])
  assert.equal(ask('import site; site.addsitedir(folder)'), 'libwheelfixfind.so.3')
  assert.equal(ask(''), 'None')
})

test(
  'since 3.15 a .start file does it, and an older site module still takes the .pth file',
  { skip: needsPython },
  t => {
    const { names, ask } = sitePackages(t, '3.15.0')
    assert.deepEqual([...names].sort(), [...FIND_LIBRARY_FILES].sort())
    assert.equal(ask(SITE_OF_315), 'libwheelfixfind.so.3')
    assert.equal(ask('import site; site.addsitedir(folder)'), 'libwheelfixfind.so.3')
  },
)

test('it is installed once, also where ctypes.util was imported before it', { skip: needsPython }, t => {
  const { ask } = sitePackages(t, '3.15.0')
  assert.equal(ask(`import ctypes.util\n${SITE_OF_315}`), 'libwheelfixfind.so.3')
  const twice = `${SITE_OF_315}\nimport site; site.addsitedir(folder)\nprint(sum(type(f).__name__ == "_Finder" for f in sys.meta_path))`
  assert.equal(ask(twice, ''), '1')
})
