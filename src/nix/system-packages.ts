// For machines without Nix: the command of the system's own package manager that installs libraries.
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { errnoOf } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { storeDirectory } from './store.ts'

/** Has this machine neither a Nix store nor a nix on PATH? */
export function isWithoutNix(env: NodeJS.ProcessEnv): boolean {
  const folders = (env['PATH'] ?? '').split(delimiter).filter(folder => folder !== '')
  return !existsSync(fsPath(storeDirectory(env))) && !folders.some(folder => existsSync(fsPath(join(folder, 'nix'))))
}

/** What adds these libraries on this machine without Nix: a command to paste, or else a sentence. */
export function systemRemedy(sonames: readonly string[], file = '/etc/os-release'): string {
  let text = ''
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
  return systemCommand(sonames, text) ?? `install ${sonames.join(' ')} with the package manager of this system`
}

/**
 * @param osRelease the text of /etc/os-release (os-release(5))
 * @returns a command to paste; null for a system whose packages this program cannot name
 */
export function systemCommand(sonames: readonly string[], osRelease: string): string | null {
  const systems = new Set(
    [...osRelease.matchAll(/^ID(?:_LIKE)?="?([^"\n]*)/gm)].flatMap(([, ids = '']) => ids.split(' ')),
  )
  const names = (name: (soname: string) => string) => [...new Set(sonames.map(name))].sort().join(' ')
  if (systems.has('debian') || systems.has('ubuntu')) return `sudo apt install ${names(debianPackage)}`
  // rpm and apk name what a package provides by its soname
  if (systems.has('fedora') || systems.has('rhel')) return `sudo dnf install ${names(rpmCapability)}`
  if (systems.has('suse') || systems.has('opensuse')) return `sudo zypper install ${names(rpmCapability)}`
  if (systems.has('alpine')) return `sudo apk add ${names(soname => `so:${soname}`)}`
  return null
}

const rpmCapability = (soname: string): string => `'${soname}()(64bit)'`

/** Debian's packages whose names do not follow the rule. */
const DEBIAN: Readonly<Record<string, string>> = {
  'libatk-1.0.so.0': 'libatk1.0-0',
  'libharfbuzz.so.0': 'libharfbuzz0b',
  'libOpenCL.so.1': 'ocl-icd-libopencl1',
  'libz.so.1': 'zlib1g',
}

/** Debian Policy, 8.1: the library's name, then its version, with a dash between two digits. */
function debianPackage(soname: string): string {
  const exception = DEBIAN[soname]
  if (exception !== undefined) return exception
  if (/^lib(?:glib|gobject|gthread|gio|gmodule)-2\.0\.so\.0$/.test(soname)) return 'libglib2.0-0'
  const [, name = soname, version = ''] = /^(.*?)\.so(?:\.(.*))?$/.exec(soname) ?? []
  const dash = /\d$/.test(name) && version !== '' ? '-' : ''
  return `${name}${dash}${version}`.toLowerCase().replaceAll('_', '-')
}
