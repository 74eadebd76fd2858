import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { normaliseName, readDistributions } from '../../src/python/distributions.ts'
import { missing } from '../support/requires.ts'

const root = mkdtempSync(join(tmpdir(), 'wheelfix-dist-'))
after(() => rmSync(root, { recursive: true }))
const sitePackages = join(root, 'lib/python3.11/site-packages')

function lay(files: Record<string, string>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(sitePackages, name)), { recursive: true })
    writeFileSync(join(sitePackages, name), content)
  }
}

lay({
  'pydantic_core-2.41.dist-info/RECORD':
    'pydantic_core/_pydantic_core.abi3.so,sha256=a,1\r\npydantic_core/__init__.py,,\r\n',
  'pydantic_core-2.41.dist-info/METADATA':
    'Name: pydantic_core\nRequires-Dist: Typing.Extensions>=4\nRequires-Dist: nvidia_cublas-cu12 (==12.8) ; extra == "gpu"\n\nRequires-Dist: not-this\n',
  'pydantic_core-2.41.dist-info/WHEEL': 'Wheel-Version: 1.0\nTag: cp311-abi3-manylinux_2_17_x86_64\n',
  'pydantic_core-2.41.dist-info/INSTALLER': 'uv\n',
  'ruff-0.14.dist-info/RECORD': '../../../bin/ruff,sha256=b,2\n"ruff,x/./a.so",,\n',
  'editable-1.dist-info/direct_url.json': '{}',
  'PyYAML-6.0.1-py3.11-linux-x86_64.egg-info/PKG-INFO': 'Name: PyYAML\nRequires-Dist: other\n',
  'PyYAML-6.0.1-py3.11-linux-x86_64.egg-info/installed-files.txt': '../yaml/_yaml.so\nPKG-INFO\n',
  '~umpy-1.0.dist-info/RECORD': 'numpy/x.so,,\n',
  'later-1.dist-info/RECORD': 'pydantic_core/_pydantic_core.abi3.so,,\n',
  'numpy/x.so': '',
})
const distributions = readDistributions([sitePackages])

test('every dist-info and egg-info folder is a distribution, except the leftovers of an interrupted pip', () => {
  assert.deepEqual(
    distributions.all.map(({ name, version }) => `${name} ${version}`),
    ['pyyaml 6.0.1', 'editable 1', 'later 1', 'pydantic-core 2.41', 'ruff 0.14'],
  )
})

test('names are compared as in PEP 503', () => {
  assert.equal(normaliseName('Zope._Interface--X'), 'zope-interface-x')
  assert.equal(distributions.get('pydantic-core')?.name, 'pydantic-core')
})

test('a file belongs to the distribution that lists it first', () => {
  const owner = distributions.ownerOf(join(sitePackages, 'pydantic_core/_pydantic_core.abi3.so'))
  assert.equal(owner?.distribution.name, 'later')
  assert.equal(owner.row, 'pydantic_core/_pydantic_core.abi3.so')
  assert.equal(owner.distribution.recordPath, join(sitePackages, 'later-1.dist-info/RECORD'))
  assert.equal(distributions.ownerOf(join(sitePackages, 'numpy/x.so')), null)
})

test('a quoted row, and a row that leaves site-packages, are resolved', () => {
  const owner = distributions.ownerOf(join(root, 'bin/ruff'))
  assert.equal(owner?.distribution.name, 'ruff')
  assert.equal(owner.row, '../../../bin/ruff')
  assert.equal(distributions.ownerOf(join(sitePackages, 'ruff,x/a.so'))?.distribution.name, 'ruff')
})

test('an egg-info owns what installed-files.txt lists, without a RECORD', () => {
  const owner = distributions.ownerOf(join(sitePackages, 'yaml/_yaml.so'))
  assert.equal(owner?.distribution.name, 'pyyaml')
  assert.equal(owner.row, null)
  assert.equal(owner.distribution.recordPath, null)
  assert.deepEqual(owner.distribution.requires(), ['other'])
})

test('METADATA, WHEEL and INSTALLER are read when asked for', () => {
  const core = distributions.get('pydantic-core')
  assert.deepEqual(core?.requires(), ['typing-extensions', 'nvidia-cublas-cu12'])
  assert.equal(core.installer(), 'uv')
  assert.equal(core.tags()[0]?.platform, 'manylinux_2_17_x86_64')
  const editable = distributions.get('editable')
  assert.deepEqual(
    [editable?.recordPath, editable?.requires(), editable?.installer(), editable?.tags()],
    [null, [], null, []],
  )
})

test('owners are those that importlib.metadata names', { skip: missing('python3') }, () => {
  const script =
    'import importlib.metadata as m,json,sys,os;' +
    'd=[p for p in sys.path if p.endswith("-packages")];' +
    'print(json.dumps({"folders":d,"owned":{os.path.normpath(f.locate()):x.name for x in m.distributions(path=d) if x.read_text("RECORD") for f in x.files if ".so" in f.name}}))'
  const { folders, owned }: { folders: string[]; owned: Record<string, string> } = JSON.parse(
    execFileSync('python3', ['-c', script], { encoding: 'utf8', maxBuffer: 1 << 28 }),
  )
  const real = readDistributions(folders)
  for (const [path, name] of Object.entries(owned)) {
    assert.equal(real.ownerOf(path)?.distribution.name, normaliseName(name), path)
  }
})
