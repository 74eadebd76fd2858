import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { WheelfixError, type WheelfixErrorCode } from '../../src/io/error.ts'
import { findVenv } from '../../src/python/pyvenv.ts'
import { inapplicable } from '../support/requires.ts'

const root = realpathSync(mkdtempSync(join(tmpdir(), 'wheelfix-venv-')))
after(() => rmSync(root, { recursive: true }))

/** Writes files (by path below `root`); a value that begins with -> is a link. */
function lay(files: Record<string, string>): void {
  for (const [name, content] of Object.entries(files)) {
    const path = join(root, name)
    mkdirSync(dirname(path), { recursive: true })
    if (content.startsWith('->')) symlinkSync(content.slice(2), path)
    else if (!name.endsWith('/')) writeFileSync(path, content)
  }
}

const CONFIG = 'home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.7\n'

function venv(name: string, extra: Record<string, string> = {}): string {
  lay({ [`${name}/pyvenv.cfg`]: CONFIG, [`${name}/lib/python3.11/site-packages/a.py`]: '', ...extra })
  mkdirSync(join(root, name, 'bin'), { recursive: true })
  return join(root, name)
}

const find = (argument?: string, env: NodeJS.ProcessEnv = {}, cwd = root) => findVenv({ argument, env, cwd })

function fails(code: WheelfixErrorCode, message: RegExp, run: () => unknown): void {
  assert.throws(run, (error: unknown) => {
    assert.ok(error instanceof WheelfixError)
    assert.equal(error.code, code)
    assert.match(error.message, message)
    return true
  })
}

test('the argument wins, then VIRTUAL_ENV, then the nearest .venv upwards', () => {
  const [named, active, near] = [venv('rank/named'), venv('rank/active'), venv('rank/project/.venv')]
  lay({ 'rank/project/deep/er/x': '' })
  const cwd = join(root, 'rank/project/deep/er')
  const env = { VIRTUAL_ENV: active }
  assert.equal(find('../../../named', env, cwd).root, named)
  assert.equal(find(undefined, env, cwd).root, active)
  assert.equal(find(undefined, {}, cwd).root, near)
  assert.equal(find(undefined, { VIRTUAL_ENV: '' }, cwd).root, near)
})

test('in a folder of a venv, that venv is taken', () => {
  const path = venv('inside')
  assert.equal(find(undefined, {}, join(path, 'lib/python3.11/site-packages')).root, path)
})

test('the root stays as given: a link to a venv is not resolved', () => {
  const path = venv('real')
  lay({ link: `->${path}` })
  assert.equal(find('link/').root, join(root, 'link'))
  assert.deepEqual(find('link').sitePackages, [join(root, 'link/lib/python3.11/site-packages')])
})

test('pyvenv.cfg is read as Python reads it', () => {
  const path = venv('cfg')
  writeFileSync(
    join(path, 'pyvenv.cfg'),
    'HOME=/opt/py/bin\r\n\r\nno equals sign\r\nInclude-System-Site-Packages = TRUE\r\nprompt = a = b\r\n',
  )
  const { config, home, systemSitePackages } = find(path)
  assert.equal(home, '/opt/py/bin')
  assert.equal(systemSitePackages, true)
  assert.equal(config.get('prompt'), 'a = b')
})

test('lib64 is not counted where it is a link to lib, and counts where it is a folder', () => {
  const linked = venv('lib64-link', { 'lib64-link/lib64': '->lib' })
  assert.deepEqual(find(linked).sitePackages, [join(linked, 'lib/python3.11/site-packages')])
  const apart = venv('lib64-dir', { 'lib64-dir/lib64/python3.11/site-packages/b.so': '' })
  assert.deepEqual(find(apart).walk, [
    join(apart, 'lib/python3.11/site-packages'),
    join(apart, 'lib64/python3.11/site-packages'),
    join(apart, 'bin'),
  ])
})

test('of several versions, the one in pyvenv.cfg is in use', () => {
  const path = venv('upgraded', { 'upgraded/lib/python3.10/site-packages/old.py': '' })
  assert.deepEqual(find(path).sitePackages, [join(path, 'lib/python3.11/site-packages')])
})

test('site-packages that lie outside the venv are refused', () => {
  lay({
    'outside/sp/a.py': '',
    'leaving/pyvenv.cfg': CONFIG,
    'leaving/lib/python3.11/site-packages': `->${root}/outside/sp`,
  })
  fails('VENV_INVALID', /leaves the environment/, () => find('leaving'))
})

test('the free-threaded and the PyPy layout are found', () => {
  lay({ 'ft/pyvenv.cfg': CONFIG.replace('3.11.7', '3.13.0'), 'ft/lib/python3.13t/site-packages/a': '' })
  assert.deepEqual(find('ft').sitePackages, [join(root, 'ft/lib/python3.13t/site-packages')])
  lay({ 'pypy/pyvenv.cfg': CONFIG.replace('3.11.7', '3.10.14'), 'pypy/lib/pypy3.10/site-packages/a': '' })
  assert.deepEqual(find('pypy').sitePackages, [join(root, 'pypy/lib/pypy3.10/site-packages')])
})

test('bin/python3 stands in where there is no bin/python, and a dangling link counts as there', () => {
  const path = venv('three', { 'three/bin/python3': '->/nowhere' })
  assert.equal(find(path).python, join(path, 'bin/python3'))
})

test('each kind of folder that is not a venv gets its own message', () => {
  lay({
    'conda/conda-meta/history': '',
    'bare/site-packages/numpy/__init__.py': '',
    'project/.venv/pyvenv.cfg': CONFIG,
    'plain/x': '',
  })
  const whole = venv('whole')
  fails('VENV_NOT_FOUND', /\/nothing does not exist; name an existing virtual environment/, () => find('nothing'))
  fails('VENV_NOT_FOUND', /VIRTUAL_ENV names .*\/nothing, which does not exist: unset it/, () =>
    find(undefined, { VIRTUAL_ENV: '/nothing' }),
  )
  fails('VENV_NOT_FOUND', /is a file/, () => find('plain/x'))
  fails('VENV_NOT_FOUND', /conda environment/, () => find('conda'))
  fails('VENV_NOT_FOUND', /bare package folder/, () => find('bare/site-packages'))
  fails('VENV_NOT_FOUND', /did you mean .*project\/\.venv\?/, () => find('project'))
  fails('VENV_NOT_FOUND', /a folder of the virtual environment .*\/whole; /, () =>
    find(join(whole, 'lib/python3.11/site-packages')),
  )
  fails('VENV_NOT_FOUND', /is not a virtual environment \(no pyvenv\.cfg\)/, () => find('plain'))
})

test('without a venv, the message says what to do', () => {
  fails('VENV_NOT_FOUND', /VIRTUAL_ENV is not set, and there is no \.venv, venv or env in \/ or above; name one/, () =>
    find(undefined, {}, '/'),
  )
})

test('a broken pyvenv.cfg is named', () => {
  lay({
    'binary/pyvenv.cfg': 'home = /usr\0/bin\n',
    'homeless/pyvenv.cfg': 'version = 3.11\n',
    'empty/pyvenv.cfg': '',
    'folder/pyvenv.cfg/x': '',
    'looped/pyvenv.cfg': '->pyvenv.cfg',
    'huge/pyvenv.cfg': '#'.repeat(2 << 20),
  })
  fails('VENV_INVALID', /binary\/pyvenv\.cfg is broken: it is not text/, () => find('binary'))
  fails('VENV_INVALID', /homeless\/pyvenv\.cfg has no line "home = …"/, () => find('homeless'))
  fails('VENV_INVALID', /has no line "home = …"/, () => find('empty'))
  fails('VENV_INVALID', /it is a folder/, () => find('folder'))
  fails('VENV_INVALID', /ELOOP/, () => find('looped'))
  fails('VENV_INVALID', /too large/, () => find('huge'))
})

test(
  'what its user may not read is named',
  { skip: process.getuid?.() === 0 && inapplicable('root reads everything') },
  () => {
    const path = venv('locked')
    chmodSync(join(path, 'pyvenv.cfg'), 0)
    fails('VENV_INVALID', /cannot be read \(EACCES\)/, () => find(path))
    const folder = venv('locked-lib')
    chmodSync(join(folder, 'lib'), 0)
    fails(
      'VENV_INVALID',
      /a folder of the virtual environment .* cannot be read \(EACCES\): give yourself permission/,
      () => find(folder),
    )
    chmodSync(join(folder, 'lib'), 0o755)
  },
)
