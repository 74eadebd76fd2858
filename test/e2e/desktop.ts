// What opens windows of wheels under an X server: the programs, and the host's libraries that stand in for a store's.
import { spawn } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import type { World } from '../world/world.ts'

/** Where the host has its libraries. LIBS (colon-separated) names folders that come before. */
const HOST = [
  ...(process.env['LIBS'] ?? '').split(':').filter(folder => folder !== ''),
  '/usr/lib/x86_64-linux-gnu',
  '/lib/x86_64-linux-gnu',
  // of Debian's PulseAudio, for itself
  '/usr/lib/x86_64-linux-gnu/pulseaudio',
]

/** What glibc and the compiler bring, and so the world's own packages. */
const TOOLCHAIN =
  /^(?:ld-linux.*|lib(?:c|m|dl|rt|pthread|resolv|util|anl|mvec|nsl|nss_\w+|thread_db|stdc\+\+|gcc_s))\.so/

/** A set of wheels with windows. */
export interface Stack {
  readonly name: string
  readonly packages: readonly string[]
  /** Python code that opens a window and prints what `opened` says. */
  readonly window: string
  readonly opened: string
  /** The same for a page of WebEngine; prints `True wheelfix`. */
  readonly page?: string
  /** The package of nixpkgs with a library that it opens by name, which no search path of a file can tell. */
  readonly byName?: string
}

const QT_WINDOW = `
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

const QT_PAGE = `
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

const GTK_WINDOW = `
import gi
gi.require_version("Gtk", "3.0")
from gi.repository import GLib, Gtk
window = Gtk.Window(title="hello")
window.show_all()
def tell():
    print(type(window.get_display()).__name__, window.get_window().is_visible())
    Gtk.main_quit()
GLib.timeout_add(500, tell)
Gtk.main()
`

export const QT: readonly Stack[] = [
  ['PyQt5', 'PyQt5', 'PyQtWebEngine'],
  ['PyQt6', 'PyQt6', 'PyQt6-WebEngine'],
  ['PySide6', 'PySide6-Addons', 'PySide6-WebEngine'],
].map(([name = '', ...packages]) => ({
  name,
  packages,
  window: QT_WINDOW.replaceAll('STACK', name),
  opened: 'xcb True',
  page: QT_PAGE.replaceAll('STACK', name),
  // Chromium of Qt 5 stops without libudev
  ...(name === 'PyQt5' ? { byName: 'systemd' } : {}),
}))

/** PyGObject has no wheels for Linux on PyPI: pip builds one from the source, of a release that fits the host's GLib. */
export const GTK: Stack = {
  name: 'PyGObject',
  packages: ['pycairo', 'pygobject<3.51'],
  window: GTK_WINDOW,
  opened: 'X11Display True',
}

/** The host's file of a soname. */
export function hostFile(soname: string): string | undefined {
  return HOST.map(folder => join(folder, soname)).find(path => existsSync(path))
}

/** The host's libraries that these sonames need, directly or not, themselves included; without the toolchain's. */
export function closureOf(sonames: Iterable<string>): Map<string, string> {
  const found = new Map<string, string>()
  const queue = [...sonames]
  for (let soname = queue.pop(); soname !== undefined; soname = queue.pop()) {
    const path = hostFile(soname)
    if (found.has(soname) || TOOLCHAIN.test(soname) || path === undefined) continue
    found.set(soname, path)
    const needed = runWell('readelf', ['-dW', path]).matchAll(/\(NEEDED\).*\[(.*)\]/g)
    queue.push(...[...needed].map(match => match[1] ?? ''))
  }
  return found
}

/** Runs Python code in the venv, with no variable that could find a library. @returns what it printed, else how it failed */
export function ask(world: World, venv: string, code: string, display: string): string {
  const file = join(world.root, 'ask.py')
  writeFileSync(file, code)
  const env = {
    ...world.env,
    DISPLAY: display,
    QT_QPA_PLATFORM: 'xcb',
    GDK_BACKEND: 'x11',
    // the graphics driver is not the set's to bring, and Chromium's sandbox does not work for root
    QT_XCB_GL_INTEGRATION: 'none',
    QT_QUICK_BACKEND: 'software',
    QTWEBENGINE_DISABLE_SANDBOX: '1',
    QTWEBENGINE_CHROMIUM_FLAGS: '--disable-gpu',
    XDG_RUNTIME_DIR: world.root,
    // PyGObject's descriptions of libraries, which wrappers of nixpkgs name in the same way
    GI_TYPELIB_PATH: '/usr/lib/x86_64-linux-gnu/girepository-1.0',
  }
  const { status, stdout, stderr } = run(which('timeout') ?? 'timeout', ['60', join(venv, 'bin/python'), file], { env })
  return stdout.trim() === '' ? `status ${status}: ${stderr.trim().split('\n').slice(-3).join(' | ')}` : stdout.trim()
}

/** Runs something beside an X server. */
export async function withDisplay(work: (display: string) => void): Promise<void> {
  const display = ':87'
  const server = spawn('Xvfb', [display, '-screen', '0', '800x600x24', '-nolisten', 'tcp'], { stdio: 'ignore' })
  try {
    await setTimeout(1000)
    work(display)
  } finally {
    server.kill()
  }
}
