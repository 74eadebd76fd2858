// Installing as the README says: from a clone, from a packed tarball; and what a Node that cannot run wheelfix is told.
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'

const ROOT = join(import.meta.dirname, '../../..')
const VERSION = /^\d+\.\d+\.\d+\n$/

suite('an installation', { skip: missing('npm', 'git') }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-install-'))
  after(() => rmSync(folder, { recursive: true }))
  /** A clone as git makes one: no dist/, no node_modules/. */
  const clone = join(folder, 'clone')
  mkdirSync(clone)
  for (const name of runWell('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
  }).split('\0')) {
    if (/^(?:src|bin|scripts|docs|nix)\/|^[^/]+$/.test(name) && existsSync(join(ROOT, name))) {
      cpSync(join(ROOT, name), join(clone, name))
    }
  }
  const env = { ...process.env, HOME: folder, npm_config_cache: join(folder, 'cache') }

  test('of a clone without its packages says what to run first', () => {
    const { status, stderr } = run(process.execPath, [join(clone, 'bin/wheelfix.cjs'), '--version'])
    assert.equal(status, 2)
    assert.match(stderr, /^error: wheelfix is not built\. Run this first: npm install --prefix \S+\/clone\n$/)
  })

  test('of a clone builds what is missing: npm runs no prepare script for a global link', () => {
    // what npm install would download stands ready
    symlinkSync(join(ROOT, 'node_modules'), join(clone, 'node_modules'))
    const prefix = join(folder, 'global')
    runWell('npm', ['install', '--global', '--offline', '--ignore-scripts', '--prefix', prefix, '.'], {
      cwd: clone,
      env,
    })
    assert.equal(existsSync(join(clone, 'dist')), false)
    assert.match(runWell(join(prefix, 'bin/wheelfix'), ['--version'], { env }), VERSION)
    assert.match(runWell(join(prefix, 'bin/wheelfix'), ['venv', '--help'], { env }), /Examples:/)
  })

  test('of a packed tarball has all that runs', () => {
    const [packed] = JSON.parse(
      runWell('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { cwd: clone, env }),
    )
    runWell('tar', ['-xzf', join(folder, packed.filename), '-C', folder])
    const names = readdirSync(join(folder, 'package'))
    for (const name of ['bin', 'dist', 'docs', 'README.md', 'CHANGELOG.md', 'LICENSE'])
      assert.ok(names.includes(name), name)
    assert.match(runWell(process.execPath, [join(folder, 'package/bin/wheelfix.cjs'), '--version']), VERSION)
  })

  test('with an old Node says which Node is needed, in one line', () => {
    const old = join(folder, 'old.cjs')
    writeFileSync(
      old,
      "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '18.19.1' } })\n",
    )
    const { status, stdout, stderr } = run(process.execPath, ['-r', old, join(clone, 'bin/wheelfix.cjs'), 'venv'])
    assert.deepEqual([status, stdout], [2, ''])
    assert.match(
      stderr,
      /^error: wheelfix needs Node 20\.19 or later, and this is Node 18\.19\.1\. Get one with: .*\n$/,
    )
  })

  test('under the permission model of Node says so', () => {
    const flag = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission'
    const { status, stderr } = run(process.execPath, [
      '--no-warnings',
      flag,
      `--allow-fs-read=${join(clone, 'bin')}/*`,
      join(clone, 'bin/wheelfix.cjs'),
      'venv',
    ])
    assert.equal(status, 2, stderr)
    assert.match(stderr, /^error: Node's permission model keeps wheelfix from its files\. Run it without --permission/)
  })
})
