// What the README shows is true: its commands run exactly as printed, its options and its JSON exist.
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { makeLibrary } from '../support/library.ts'
import { missing, skip } from '../support/requires.ts'
import { run } from '../support/run.ts'
import { machineOf } from '../world/oracle.ts'
import { installDemoWheel, makeVenv, pipInstall, WHEELFIX, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

const ROOT = join(import.meta.dirname, '../../..')
const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
/** The README and the pages of docs/, as one text: what one shows may be anywhere in them. */
const PAGES = ['README.md', 'CONTRIBUTING.md', ...readdirSync(join(ROOT, 'docs')).map(name => `docs/${name}`)]
  .filter(name => name.endsWith('.md'))
  .map(name => readFileSync(join(ROOT, name), 'utf8'))
  .join('\n')

/** A command of a `console` block, and what the README shows of its output. */
interface Shown {
  readonly command: string
  readonly output: string
}

/** The fenced blocks of that language. */
function blocks(language: string): string[] {
  return [...PAGES.matchAll(/^```(.*)\n([^]*?)^```$/gm)]
    .filter(([, info]) => info === language)
    .map(([, , text]) => text ?? '')
}

const consoles = blocks('console').map((block): Shown[] =>
  [...block.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(([, command = '', output = '']) => ({ command, output })),
)
const first = (shown: readonly Shown[]): string => shown[0]?.command ?? ''
/** What only works in a clone, with what npm downloads. */
const inClone = consoles.filter(shown => first(shown).startsWith('npm '))
/** The others, but for what only works once there is a flake to download. */
const inProject = consoles.filter(shown => !/^(npm|npx|nix) /.test(first(shown)))

suite('the commands of the README', () => {
  const world = withWheels(buildWorld())
  if (typeof world === 'string') {
    test('work', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const bin = join(world.root, 'bin')
  mkdirSync(bin)
  symlinkSync(process.execPath, join(bin, 'node'))
  symlinkSync(WHEELFIX, join(bin, 'wheelfix'))
  // what a desktop has in its store
  const desktop = join(world.store, `${'l'.repeat(32)}-libglvnd-1.7.0/lib`)
  mkdirSync(desktop, { recursive: true })
  const machine = machineOf(world.python)
  writeFileSync(join(desktop, 'libGL.so.1'), makeLibrary({ soname: 'libGL.so.1', machine }))

  for (const [index, shown] of inProject.entries()) {
    test(`work in a project: ${first(shown)}`, { skip: missing('bash') }, () => {
      const cwd = join(world.root, `project${index}`)
      mkdirSync(cwd)
      if (!first(shown).includes('-m venv')) installDemoWheel(world, makeVenv(world, `project${index}/.venv`))
      if (first(shown).includes('*.whl')) cpSync(join(ROOT, 'fixtures/demo-wheel'), cwd, { recursive: true })
      const env = { ...world.env, PATH: `${bin}:${world.env['PATH']}:/usr/bin:/bin` }
      for (const { command, output } of shown) {
        const { status, stdout, stderr } = run('bash', ['-c', command], { env, cwd })
        const error = /^\w*Error: .*$/m.exec(output)?.[0]
        assert.equal(status === 0, error === undefined, `${command}\n${stdout}${stderr}`)
        if (error !== undefined) assert.ok(stderr.includes(error), stderr)
      }
    })
  }

  const demos = inClone
    .flat()
    .flatMap(({ command }) => (command.includes('npm run') ? [command.replace(/ +#.*/, '')] : []))
  for (const command of new Set(demos)) {
    test(`work in a clone: ${command}`, { skip: missing('npm') }, () => {
      const cwd = join(world.root, 'clone')
      for (const name of ['src', 'test', 'scripts', 'fixtures', 'package.json', 'tsconfig.json', 'tsconfig.lib.json']) {
        cpSync(join(ROOT, name), join(cwd, name), { recursive: true })
      }
      // what npm install would download stands ready; what it runs afterwards is `prepare`
      symlinkSync(join(ROOT, 'node_modules'), join(cwd, 'node_modules'))
      const { status, stdout, stderr } = run('bash', ['-c', command.replace('npm install', 'npm run prepare')], { cwd })
      assert.equal(status, 0, stdout + stderr)
      assert.match(stdout, /cannot open shared object file/)
    })
  }

  test('its JSON has the keys of the real document', () => {
    const venv = makeVenv(world, 'json')
    installDemoWheel(world, venv)
    const libs = ['--libs', world.libs.gcc, '--no-scan']
    const real: unknown = JSON.parse(wheelfix(world, ['venv', venv, '--json', ...libs]).stdout)
    for (const block of blocks('json')) assert.deepEqual(keys(JSON.parse(block)), keys(real))
  })
})

/** All key paths of a document; of a list its first element stands for all. Empty lists tell nothing and are left out. */
function keys(document: unknown, path = ''): string[] {
  if (Array.isArray(document)) return document.length === 0 ? [] : keys(document[0], `${path}[]`)
  if (typeof document !== 'object' || document === null) return [path]
  return Object.entries(document)
    .filter(([key]) => key !== 'missing' && key !== 'change')
    .flatMap(([key, value]) => keys(value, `${path}.${key}`))
    .sort()
}

suite('what the README shows of why and doctor', () => {
  const world = withWheels(buildWorld())
  if (typeof world === 'string') {
    test('is what they say', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const venv = makeVenv(world, '.venv')
  pipInstall(world, venv, ['shapely', 'opencv-python', 'sounddevice'])
  /** Without what another build of a wheel, another version or another store has differently. */
  const comparable = (line: string): string =>
    line
      .replaceAll(/\/[^\s:]*\/store\/(?:[0-9a-z]{32}|…)-([a-z]+)[^/\s]*/g, 'STORE-$1')
      .replaceAll(/-[0-9a-f]{8}\./g, '-HASH.')
      .replace(/^\/\S+\/\.venv$/, 'VENV')
      .replaceAll(/\d+/g, 'N')
      .trim()
  const shown = blocks('text').flatMap(block => {
    const [, args, output] = /^\$ wheelfix ((?:why|doctor).*)\n([^]*)$/.exec(block) ?? []
    return args === undefined || output === undefined ? [] : [{ args: args.split(' '), output }]
  })

  test('is what they say, line by line, and whole but where it says so', () => {
    assert.ok(shown.length >= 3)
    for (const { args, output } of shown) {
      // why tells of a venv that is not patched yet
      if (args[0] === 'doctor') wheelfix(world, ['venv', venv])
      const said = wheelfix(world, [...args.slice(0, 1), venv, ...args.slice(1)]).stdout
      let rest = said.split('\n').map(comparable)
      let isLoose = false
      for (const line of output.trim().split('\n').map(comparable)) {
        if (line.endsWith('…')) {
          isLoose = true
          continue
        }
        const at = rest.indexOf(line)
        assert.ok(isLoose ? at >= 0 : at === 0, `${args.join(' ')}: ${line}\n${said}`)
        rest = rest.slice(at + 1)
        isLoose = false
      }
    }
  })
})

test('the README is short, and every link of the pages leads to something', () => {
  assert.ok(README.split('\n').length <= 201, 'at most 200 lines')
  for (const name of ['README.md', 'CONTRIBUTING.md', ...readdirSync(join(ROOT, 'docs')).map(page => `docs/${page}`)]) {
    if (!name.endsWith('.md')) continue
    const text = readFileSync(join(ROOT, name), 'utf8')
    for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (!/^https?:/.test(target)) assert.ok(existsSync(join(ROOT, name, '..', target)), `${name}: ${target}`)
    }
  }
})

test('the options of the README exist', () => {
  const shown = new Set(
    [...PAGES.matchAll(/^\| `(?!nix-store).*$/gm)].flatMap(([row]) => row.split(' | ')[0]?.match(/--[a-z-]+/g) ?? []),
  )
  const helpOf = (...args: readonly string[]): string => run(process.execPath, [WHEELFIX, ...args, '--help']).stdout
  const commands = [...helpOf().matchAll(/^ {2}([a-z]+) [[<]/gm)].map(([, command = '']) => command)
  const help = [...commands.map(command => helpOf(command)), helpOf('libs', 'build')]
  assert.deepEqual(
    [...shown].filter(option => !help.some(text => text.includes(option))),
    [],
  )
})

test('the README and CI run the same commands', () => {
  const ci = readFileSync(join(ROOT, '.ci/run'), 'utf8')
  assert.match(PAGES, /^\$ npm install && npm test\b/m)
  assert.match(ci, /^npm install$[^]*^npm run check$[^]*^npm test$/m)
})
