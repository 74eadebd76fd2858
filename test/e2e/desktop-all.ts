// `npm run desktop`: PyQt5, PyQt6, PySide6 and PyGObject open a window under a real X server (Xvfb), and the first three show a
// page of QtWebEngine, in the world. Once with the libraries of the flake's `desktop` set and no others, and once after
// `wheelfix libs build --missing` in a real store and nothing else. The host's own libraries stand in for the store's; LIBS
// (colon-separated) names folders to take libraries from before the host's. Downloads some hundred MB of wheels.
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { attributeFor, knownSonames } from '../../src/nix/hints.ts'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { type NixWorld, nixWorld } from '../world/nix.ts'
import { makeVenv, pipInstall, WHEELFIX, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'
import { ask, closureOf, GTK, hostFile, QT, type Stack, withDisplay } from './desktop.ts'
import { pinHostNixpkgs } from './desktop-nixpkgs.ts'

const ROOT = join(import.meta.dirname, '../../..')
let wrong = 0

/** The sonames of the `desktop` set: of every package that libraries.nix names. */
function sonamesOfSet(): string[] {
  const words = new Set(
    readFileSync(join(ROOT, 'nix/libraries.nix'), 'utf8')
      .toLowerCase()
      .match(/[\w.+-]+/g) ?? [],
  )
  return knownSonames().filter(soname => {
    const attribute = attributeFor(soname)?.toLowerCase()
    return attribute !== undefined && (words.has(attribute) || words.has(`pkgs.${attribute}`))
  })
}

/**
 * A package with the set's libraries, and one with what these need besides, which only they find by their own search path.
 * @returns the folder of the first
 */
function makePackages(world: World): string {
  const folder = (name: string) => {
    const path = join(world.store, `${name.padStart(32, '0')}-${name}-1.0/lib`)
    mkdirSync(path, { recursive: true })
    return path
  }
  const [set, rest] = [folder('desktop'), folder('behind')]
  const search = [set, rest, world.libs.glibc, world.libs.gcc].join(':')
  const wanted = new Set(sonamesOfSet().filter(soname => hostFile(soname) !== undefined))
  const files = closureOf(wanted)
  for (const [soname, from] of files) {
    const path = join(wanted.has(soname) ? set : rest, soname)
    copyFileSync(from, path)
    runWell(process.execPath, [WHEELFIX, 'elf', '--set-rpath', search, path])
  }
  const own = [...files.keys()].filter(soname => wanted.has(soname)).length
  console.log(`${own} libraries of the set, ${files.size - own} behind them`)
  return set
}

/** Installs the wheels, and lets `fix` fix the venv. */
function tryStack(world: World, stack: Stack, display: string, fix: (venv: string) => string): void {
  const { name, packages, window, opened, page } = stack
  const venv = makeVenv(world, name)
  pipInstall(world, venv, packages)
  const before = ask(world, venv, window, display)
  const said = fix(venv)
  const window2 = ask(world, venv, window, display)
  const shown = page === undefined ? 'none' : ask(world, venv, page, display)
  const isRight = window2 === opened && (page === undefined || shown === 'True wheelfix') && before !== opened
  if (!isRight) wrong++
  console.log(`${isRight ? '✓' : '✗'} ${name}\n  before: ${before}\n  window: ${window2}\n  page: ${shown}\n  ${said}`)
  run('rm', ['-rf', venv])
}

function withSet(world: World, display: string): void {
  console.log('\nwith libs-desktop:')
  const libs = makePackages(world)
  for (const stack of QT) {
    tryStack(world, stack, display, venv => {
      const patched = wheelfix(world, ['venv', venv, '--no-scan', '--json', '--libs', libs, '--libs', world.libs.gcc])
      const { missing: left } = JSON.parse(patched.stdout) as { missing: { soname: string; optional: boolean }[] }
      const names = (optional: boolean) => left.filter(item => item.optional === optional).map(({ soname }) => soname)
      if (names(false).length > 0) wrong++
      return `missing: ${names(false).join(' ') || 'nothing'}; only for plugins: ${names(true).join(' ') || 'nothing'}`
    })
  }
}

function afterBuild(world: NixWorld, display: string): void {
  console.log('\nafter wheelfix libs build --missing:')
  // typelibs name the libraries that they describe
  pinHostNixpkgs(world, ['libgtk-3.so.0', 'libgdk-3.so.0'])
  const canBuild = run('pkg-config', ['--exists', 'gobject-introspection-1.0', 'cairo']).status === 0
  if (!canBuild)
    console.log('- PyGObject: needs libgirepository1.0-dev, libcairo2-dev and gir1.2-gtk-3.0 to build its wheel')
  for (const stack of canBuild ? [...QT, { ...GTK, packages: buildWheels(world, GTK) }] : QT) {
    tryStack(world, stack, display, venv => {
      const env = { HOME: world.root, NIX_CONFIG: 'substitute = false\nbuild-users-group =\nsandbox = false' }
      const { status, stderr } = wheelfix(world, ['libs', 'build', '--missing', '--no-scan', venv], env)
      if (stack.byName !== undefined) {
        wheelfix(world, ['libs', 'build', stack.byName, venv], env)
        wheelfix(world, ['loader', '--no-scan', venv], env)
      }
      return `status ${status}: ${stderr.trim().replaceAll('\n', '\n  ')}`
    })
  }
}

/** @returns the wheels, built on the host */
function buildWheels(world: World, { packages }: Stack): string[] {
  const folder = join(world.root, 'built')
  const pip = ['-m', 'pip', 'wheel', '-q', '--disable-pip-version-check', '--no-deps', '-w', folder, ...packages]
  runWell(world.host.python.executable, pip)
  return runWell('find', [folder, '-name', '*.whl']).trim().split('\n')
}

const lacking = missing('Xvfb', 'readelf', 'gcc', 'timeout')
const world = lacking === false ? withWheels(buildWorld()) : lacking
if (typeof world === 'string') {
  console.error(world)
  process.exit(1)
}
const real = nixWorld()
await withDisplay(display => {
  if (process.argv[2] !== '--missing') withSet(world, display)
  if (typeof real === 'string') console.log(`- wheelfix libs build --missing: ${real}`)
  else afterBuild(real, display)
})
world.dispose()
if (typeof real !== 'string') real.dispose()
process.exitCode = wrong === 0 ? 0 : 1
