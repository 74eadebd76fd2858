// `npm run desktop`: PyQt5, PyQt6 and PySide6 open a window under a real X server (Xvfb) and show a page of QtWebEngine, in the
// world, with the libraries of the flake's `desktop` set and no others: the host's own stand in for the store's. LIBS
// (colon-separated) names folders to take libraries from before the host's. Downloads some hundred MB of wheels.
import { spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { attributeFor, knownSonames } from '../../src/nix/hints.ts'
import { missing, which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { makeVenv, pipInstall, WHEELFIX, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

const ROOT = join(import.meta.dirname, '../../..')
const HOST = [
  ...(process.env['LIBS'] ?? '').split(':').filter(folder => folder !== ''),
  '/usr/lib/x86_64-linux-gnu',
  '/lib/x86_64-linux-gnu',
]

const STACKS: readonly (readonly [string, readonly string[]])[] = [
  ['PyQt5', ['PyQt5', 'PyQtWebEngine']],
  ['PyQt6', ['PyQt6', 'PyQt6-WebEngine']],
  ['PySide6', ['PySide6-Addons', 'PySide6-WebEngine']],
]

const WINDOW = `
import sys
from STACK.QtWidgets import QApplication, QLabel
from STACK.QtCore import QTimer
app = QApplication(sys.argv)
label = QLabel("hello")
label.show()
def tell():
    print(app.platformName(), label.windowHandle().isExposed())
    app.quit()
QTimer.singleShot(500, tell)
getattr(app, "exec", getattr(app, "exec_", None))()
`

const PAGE = `
import sys
from STACK.QtWidgets import QApplication
from STACK.QtWebEngineWidgets import QWebEngineView
app = QApplication(sys.argv)
view = QWebEngineView()
def loaded(ok):
    view.page().runJavaScript("document.title", lambda title: (print(ok, title), app.quit()))
view.loadFinished.connect(loaded)
view.setHtml("<title>" + "wheel" + "fix</title>")
view.show()
getattr(app, "exec", getattr(app, "exec_", None))()
`

/** The host's file of a soname. */
function hostFile(soname: string): string | undefined {
  return HOST.map(folder => join(folder, soname)).find(path => existsSync(path))
}

function neededOf(path: string): string[] {
  return [...runWell('readelf', ['-dW', path]).matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(match => match[1] ?? '')
}

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
  const libc = /^(?:ld-linux.*|lib(?:c|m|dl|rt|pthread|resolv|util|anl|mvec|nsl|nss_\w+|thread_db|stdc\+\+|gcc_s))\.so/
  const folder = (name: string) => {
    const path = join(world.store, `${name.padStart(32, '0')}-${name}-1.0/lib`)
    mkdirSync(path, { recursive: true })
    return path
  }
  const [set, rest] = [folder('desktop'), folder('behind')]
  const wanted = new Set(sonamesOfSet().filter(soname => hostFile(soname) !== undefined && !libc.test(soname)))
  const search = [set, rest, world.libs.glibc, world.libs.gcc].join(':')
  const done = new Set<string>()
  const queue = [...wanted]
  for (let soname = queue.pop(); soname !== undefined; soname = queue.pop()) {
    const from = hostFile(soname)
    if (done.has(soname) || libc.test(soname) || from === undefined) continue
    done.add(soname)
    const path = join(wanted.has(soname) ? set : rest, soname)
    copyFileSync(from, path)
    queue.push(...neededOf(path))
    runWell(process.execPath, [WHEELFIX, 'elf', '--set-rpath', search, path])
  }
  console.log(`${wanted.size} libraries of the set, ${done.size - wanted.size} behind them`)
  return set
}

/** Runs Python code of one stack in the venv, with no variable that could find a library. */
function ask(world: World, venv: string, stack: string, code: string, display: string): string {
  const file = join(world.root, 'ask.py')
  writeFileSync(file, code.replaceAll('STACK', stack))
  const env = {
    ...world.env,
    DISPLAY: display,
    QT_QPA_PLATFORM: 'xcb',
    // the graphics driver is not the set's to bring, and Chromium's sandbox does not work for root
    QT_XCB_GL_INTEGRATION: 'none',
    QT_QUICK_BACKEND: 'software',
    QTWEBENGINE_DISABLE_SANDBOX: '1',
    QTWEBENGINE_CHROMIUM_FLAGS: '--disable-gpu',
    XDG_RUNTIME_DIR: world.root,
  }
  const { status, stdout, stderr } = run(which('timeout') ?? 'timeout', ['60', join(venv, 'bin/python'), file], { env })
  return stdout.trim() === '' ? `status ${status}: ${stderr.trim().split('\n').slice(-3).join(' | ')}` : stdout.trim()
}

const lacking = missing('Xvfb', 'readelf', 'gcc', 'timeout')
const world = lacking === false ? withWheels(buildWorld()) : lacking
if (typeof world === 'string') {
  console.error(world)
  process.exit(1)
}
const display = ':87'
const server = spawn('Xvfb', [display, '-screen', '0', '800x600x24', '-nolisten', 'tcp'], { stdio: 'ignore' })
let wrong = 0
try {
  await setTimeout(1000)
  const libs = makePackages(world)
  for (const [stack, packages] of STACKS) {
    const venv = makeVenv(world, stack)
    pipInstall(world, venv, packages)
    const before = ask(world, venv, stack, WINDOW, display)
    const patched = wheelfix(world, ['venv', venv, '--no-scan', '--json', '--libs', libs, '--libs', world.libs.gcc])
    const { missing: left } = JSON.parse(patched.stdout) as { missing: { soname: string; optional: boolean }[] }
    const names = (optional: boolean) => left.filter(item => item.optional === optional).map(({ soname }) => soname)
    const opened = ask(world, venv, stack, WINDOW, display)
    const page = ask(world, venv, stack, PAGE, display)
    const isRight = opened === 'xcb True' && page === 'True wheelfix' && names(false).length === 0
    if (!isRight) wrong++
    console.log(`${isRight ? '✓' : '✗'} ${stack}\n  before: ${before}\n  window: ${opened}\n  page: ${page}`)
    console.log(
      `  missing: ${names(false).join(' ') || 'nothing'}; only for plugins: ${names(true).join(' ') || 'nothing'}`,
    )
  }
} finally {
  server.kill()
  world.dispose()
}
process.exitCode = wrong === 0 ? 0 : 1
