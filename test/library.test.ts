// The library as a program that depends on it gets it: from the packed package, with its declared dependencies alone.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { missing, skip } from './support/requires.ts'
import { run, runWell } from './support/run.ts'
import { makeVenv, sitePackages } from './world/venv.ts'
import { buildWorld } from './world/world.ts'

const ROOT = join(import.meta.dirname, '../..')
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')
const FIXTURES = join(ROOT, 'fixtures/demo-wheel')
const DEMO = readdirSync(FIXTURES).find(name => name.endsWith('.whl')) ?? ''

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>
}

/** The package in node_modules of a project, beside the dependencies that it declares and theirs. */
function install(project: string): void {
  const packed = mkdtempSync(join(tmpdir(), 'wheelfix-pack-'))
  const copy = join(packed, 'source')
  mkdirSync(copy)
  // the package is made of a copy: what other tests run is not touched
  const { files } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { files: string[] }
  for (const name of ['package.json', 'tsconfig.json', 'tsconfig.lib.json', 'src', 'docs', 'README.md', 'LICENSE'])
    cpSync(join(ROOT, name), join(copy, name), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
  mkdirSync(join(copy, 'dist'))
  for (const name of ['wheelfix.cjs', 'program.txt']) cpSync(join(ROOT, 'dist', name), join(copy, 'dist', name))
  runWell(process.execPath, [TSC, '-p', join(copy, 'tsconfig.lib.json')])
  runWell('npm', ['pack', '--ignore-scripts', '--pack-destination', packed], { cwd: copy, env: process.env })
  const tarball = readdirSync(packed).find(name => name.endsWith('.tgz')) ?? ''
  const modules = join(project, 'node_modules')
  mkdirSync(join(modules, 'wheelfix'), { recursive: true })
  runWell('tar', ['-xzf', join(packed, tarball), '-C', join(modules, 'wheelfix'), '--strip-components=1'])
  for (const file of files) assert.ok(readdirSync(join(modules, 'wheelfix', file, '..')).length > 0, file)
  const queue = ['wheelfix']
  for (const name of queue) {
    const folder = name === 'wheelfix' ? join(modules, name) : join(ROOT, 'node_modules', name)
    const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Partial<Manifest>
    for (const dependency of Object.keys(dependencies)) {
      if (queue.includes(dependency)) continue
      queue.push(dependency)
      cpSync(join(ROOT, 'node_modules', dependency), join(modules, dependency), { recursive: true })
    }
  }
  rmSync(packed, { recursive: true })
}

function example(): string {
  const text = readFileSync(join(ROOT, 'docs/library.md'), 'utf8')
  const code = /^```ts\n(.*?)^```$/ms.exec(text)?.[1]
  assert.ok(code)
  return code
}

suite('the library', { skip: missing('npm', 'tar') }, () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('does what its example says', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const project = join(world.root, 'project')
  install(project)
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(project, 'example.ts'), example())

  test('has types that a strict compiler takes, declarations included', () => {
    mkdirSync(join(project, 'node_modules/@types'))
    for (const name of ['@types/node', 'undici-types'])
      symlinkSync(join(ROOT, 'node_modules', name), join(project, 'node_modules', name))
    const options = ['--strict', '--exactOptionalPropertyTypes', '--module', 'nodenext', '--target', 'es2023']
    const { status, stdout } = run(process.execPath, [TSC, ...options, '--types', 'node', 'example.ts'], {
      cwd: project,
    })
    assert.equal(stdout, '')
    assert.equal(status, 0)
  })

  test('does what its example says', () => {
    const venv = makeVenv(world, 'project/.venv')
    runWell(world.host.python.executable, ['-m', 'zipfile', '-e', join(FIXTURES, DEMO), sitePackages(world, venv)])
    const libs = [world.libs.gcc, world.libs.zlib]
    const result = run(process.execPath, ['example.js', ...libs], { cwd: project, env: world.env })
    assert.deepEqual([result.status, result.stderr], [0, ''])
    const lines = result.stdout.split('\n')
    assert.equal(lines[0], '1 ELF files, 0 of them patched')
    assert.ok(
      lines.some(line => /_demo\.abi3\.so lacks libstdc\+\+\.so\.6/.test(line)),
      result.stdout,
    )
    assert.ok(
      lines.some(line => /_demo\.abi3\.so: .*gcc.*-lib\/lib/.test(line)),
      result.stdout,
    )
    assert.ok(
      lines.some(line => /^patched .*_demo\.abi3\.so/.test(line)),
      result.stdout,
    )
    assert.ok(lines.includes('restored 1'), result.stdout)
  })

  test('reads, verifies and edits single files, and throws its own errors', () => {
    const script = `
      import * as wheelfix from 'wheelfix'
      import { readFileSync } from 'node:fs'
      const file = process.argv[2]
      const bytes = readFileSync(file)
      const [a, b] = [wheelfix.readElf(file), wheelfix.readElf(bytes)]
      console.log(a.soname === b.soname, wheelfix.verifyElf(bytes).length)
      const { changed } = wheelfix.editElf(file, { soname: 'other.so' }, { output: 'edited.so' })
      console.log(changed.join(), wheelfix.readElf('edited.so').soname)
      for (const call of [() => wheelfix.readElf(new Uint8Array(4)), () => wheelfix.findEnvironment('nowhere')])
        try { call() } catch (error) { console.log(error instanceof wheelfix.ElfError, error instanceof wheelfix.WheelfixError, error.code) }
      console.log(Object.keys(wheelfix).sort().join())
    `
    writeFileSync(join(project, 'single.mjs'), script)
    const module = join(sitePackages(world, join(project, '.venv')), 'wheelfix_demo/_demo.abi3.so')
    const stdout = runWell(process.execPath, ['single.mjs', module], { cwd: project, env: world.env })
    assert.deepEqual(stdout.trim().split('\n'), [
      'true 0',
      'soname other.so',
      'true false NOT_ELF',
      'false true VENV_NOT_FOUND',
      'ElfError,WheelfixError,apply,editElf,findEnvironment,plan,readElf,resolve,restore,scan,verifyElf',
    ])
  })
})
