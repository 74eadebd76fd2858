// What a machine without Nix is told: the command of its own package manager.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { isWithoutNix, systemCommand, systemRemedy } from '../../src/nix/system-packages.ts'
import { skip, which } from '../support/requires.ts'
import { run } from '../support/run.ts'

/** What wheels of desktop programs miss on a small Debian. */
const SONAMES =
  'libEGL.so.1 libGL.so.1 libICE.so.6 libOpenCL.so.1 libSM.so.6 libX11-xcb.so.1 libX11.so.6 libXext.so.6 libatk-1.0.so.0 ' +
  'libdbus-1.so.3 libexpat.so.1 libfontconfig.so.1 libgdk_pixbuf-2.0.so.0 libglib-2.0.so.0 libgthread-2.0.so.0 libgtk-3.so.0 ' +
  'libharfbuzz.so.0 libnss3.so libpq.so.5 libpulse.so.0 libstdc++.so.6 libusb-1.0.so.0 libxcb-cursor.so.0 libxcb.so.1 ' +
  'libxkbcommon-x11.so.0 libxkbcommon.so.0 libz.so.1'

test('the command is in the words of the system', () => {
  const missing = ['libGL.so.1', 'libX11.so.6', 'libglib-2.0.so.0', 'libgthread-2.0.so.0']
  const command = (osRelease: string) => systemCommand(missing, osRelease)
  assert.equal(command('NAME="Debian"\nID=debian\n'), 'sudo apt install libgl1 libglib2.0-0 libx11-6')
  assert.equal(command('ID=linuxmint\nID_LIKE="ubuntu debian"\n'), 'sudo apt install libgl1 libglib2.0-0 libx11-6')
  assert.equal(
    systemCommand(['libGL.so.1'], 'ID="rocky"\nID_LIKE="rhel fedora"\n'),
    "sudo dnf install 'libGL.so.1()(64bit)'",
  )
  assert.equal(systemCommand(['libGL.so.1'], 'ID=alpine\n'), 'sudo apk add so:libGL.so.1')
  assert.equal(command('ID=arch\n'), null)
  assert.match(systemRemedy(['libGL.so.1'], '/nonexistent'), /^install libGL\.so\.1 with the package manager/)
})

test("Debian's package manager knows the names", t => {
  const isDebian12 = which('apt-cache') !== undefined && /bookworm/.test(readFileSync('/etc/os-release', 'utf8'))
  const known = new Set(isDebian12 ? run('apt-cache', ['pkgnames', 'lib']).stdout.split('\n') : [])
  if (!known.has('libxcb-cursor0')) {
    t.skip(skip("needs Debian 12 and its packages' lists"))
    return
  }
  const packages = systemCommand(SONAMES.split(' '), 'ID=debian')?.replace('sudo apt install ', '').split(' ') ?? []
  assert.ok(packages.length > 20)
  const others = new Set(['ocl-icd-libopencl1', 'zlib1g'])
  assert.deepEqual(
    packages.filter(name => !known.has(name) && !others.has(name)),
    [],
  )
})

test('a store or a nix on PATH counts as Nix', () => {
  assert.equal(isWithoutNix({ PATH: '/nonexistent', NIX_STORE_DIR: '/nonexistent' }), true)
  assert.equal(isWithoutNix({ PATH: '/nonexistent', NIX_STORE_DIR: '/usr' }), false)
})
