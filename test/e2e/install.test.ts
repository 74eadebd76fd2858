// Installing as the README says: from a clone, from a packed tarball; and what a Node that cannot run wheelfix is told.
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { missing, skip } from '../support/requires.ts'
import { run, type RunResult, runWell } from '../support/run.ts'
import { buildWorld } from '../world/world.ts'
import { installDemoWheel, makeVenv } from '../world/venv.ts'

const ROOT = join(import.meta.dirname, '../../..')
const VERSION = /^\d+\.\d+\.\d+\n$/

/** Whether a run of npm failed because it reached no registry. */
function lacksRegistry({ status, stderr }: RunResult): boolean {
  return status !== 0 && /E(?:NOTFOUND|AI_AGAIN|CONNREFUSED|TIMEDOUT|NETUNREACH)/.test(stderr)
}

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
  // another prefix would have npm read another global configuration, without what this machine needs
  const globalconfig = runWell('npm', ['config', 'get', 'globalconfig']).trim()
  const own = { HOME: folder, npm_config_cache: join(folder, 'cache'), npm_config_globalconfig: globalconfig }
  const env = { ...process.env, ...own }

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

  test('of a packed tarball has all that runs', t => {
    // as for publishing: npm runs prepare, which bundles the program and the library
    runWell('npm', ['pack', '--pack-destination', folder], { cwd: clone, env })
    const tarball = join(folder, readdirSync(folder).find(name => name.endsWith('.tgz')) ?? '')
    runWell('tar', ['-xzf', tarball, '-C', folder])
    const names = readdirSync(join(folder, 'package'))
    for (const name of ['bin', 'dist', 'docs', 'README.md', 'CHANGELOG.md', 'LICENSE'])
      assert.ok(names.includes(name), name)
    assert.match(runWell(process.execPath, [join(folder, 'package/bin/wheelfix.cjs'), '--version']), VERSION)

    // npm fetches the two packages that the library imports
    const prefix = join(folder, 'from-tarball')
    const install = ['install', '--global', '--prefix', prefix, tarball]
    const installed = run('npm', install, { cwd: folder, env })
    if (lacksRegistry(installed)) {
      t.skip(skip("needs npm's registry"))
      return
    }
    assert.equal(installed.status, 0, installed.stderr)
    assert.match(runWell(join(prefix, 'bin/wheelfix'), ['--version'], { env }), VERSION)
    const library = join(prefix, 'lib/node_modules/wheelfix')
    const code = "console.log(typeof (await import('wheelfix')).findEnvironment)"
    const linked = join(folder, 'uses/node_modules')
    mkdirSync(linked, { recursive: true })
    symlinkSync(library, join(linked, 'wheelfix'))
    const told = runWell(process.execPath, ['--input-type=module', '--eval', code], { cwd: join(folder, 'uses') })
    assert.equal(told, 'function\n')
    runWell('npm', ['uninstall', '--global', '--prefix', prefix, 'wheelfix'], { cwd: folder, env })
    assert.equal(existsSync(join(prefix, 'bin/wheelfix')), false)
  })

  test('by npx from a Git URL patches the venv of the folder', t => {
    const world = buildWorld()
    if (typeof world === 'string') {
      t.skip(skip(world))
      return
    }
    t.after(() => world.dispose())
    const repository = join(folder, 'repository')
    cpSync(clone, repository, { recursive: true, filter: path => !/\/(?:node_modules|dist)$/.test(path) })
    const git = (...args: string[]) => runWell('git', ['-C', repository, ...args], { env })
    git('init', '-q')
    git('add', '.')
    git('-c', 'user.name=n', '-c', 'user.email=e', 'commit', '-qm', 'clone')
    const python = join(makeVenv(world, 'project/.venv'), 'bin/python')
    const project = join(world.root, 'project')
    installDemoWheel(world, join(project, '.venv'))
    assert.notEqual(run(python, ['-c', 'import wheelfix_demo'], { env: world.env }).status, 0)
    const inWorld = { ...env, ...world.env, PATH: process.env['PATH'], HOME: folder }
    const npx = ['--yes', `git+file://${repository}`, 'venv', '--no-scan', '--libs', world.libs.gcc]
    const ran = run('npx', [...npx, '--libs', world.libs.zlib], { cwd: project, env: inWorld })
    if (lacksRegistry(ran)) {
      t.skip(skip("needs npm's registry"))
      return
    }
    assert.equal(ran.status, 0, ran.stdout + ran.stderr)
    assert.match(ran.stdout, /wheelfix-demo/)
    runWell(python, ['-c', 'import wheelfix_demo'], { env: world.env })
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

  test('with an old Node is not built, and the first line says why', () => {
    const old = join(folder, 'old.cjs')
    const { status, stderr } = run(process.execPath, ['-r', old, join(clone, 'scripts/bundle.mjs')])
    assert.equal(status, 1)
    assert.match(stderr, /^error: wheelfix needs Node 20\.19 or later, and this is Node 18\.19\.1\. [^\n]*\n$/)
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
