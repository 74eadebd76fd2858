// Values of variables that take more than a look at one path.
import { dirname } from 'node:path'
import { readRegular } from '../../io/beneath.ts'
import { isInside, namesIn } from '../../io/path.ts'
import { escapeRegExp } from '../../io/words.ts'
import { parseStoreName, storePathOf } from '../../nix/store.ts'
import { standardLibraries } from './certificates.ts'
import { type Facts, type Find, inPackages, inStore, onPath } from './facts.ts'

/** The size limit in bytes. The largest files that are read here are an extension module with Tcl inside, and a libc. */
const LARGEST = 64 << 20

/**
 * The folder of Tcl or Tk in the Python's own lib folder. This is for a virtual environment of a Python that does not look
 * there by itself. Tcl looks in `lib` beside the program, and in an environment the program is a link. Since December 2024
 * (#421), _tkinter of python-build-standalone looks below sys.base_prefix.
 */
export function tclFolder(kind: 'tcl' | 'tk', file: string): Find {
  return ({ venv, interpreter, store, isThere }) => {
    const { program } = interpreter
    if (venv.kind !== 'venv' || isInside(program, store)) return null
    const prefix = dirname(dirname(program))
    if (isInside(venv.root, prefix) || standardLibraries(program).some(lib => looksBelowBase(lib))) return null
    const folders = namesIn(`${prefix}/lib`).filter(name => new RegExp(`^${kind}\\d+\\.\\d+$`).test(name))
    const found = folders.map(name => `${prefix}/lib/${name}`).filter(folder => isThere(`${folder}/${file}`))
    return found.length === 1 ? (found[0] ?? null) : null
  }
}

function looksBelowBase(standardLibrary: string): boolean {
  const folder = `${standardLibrary}/lib-dynload`
  const name = namesIn(folder).find(name => /^_tkinter\..*so$/.test(name))
  return name !== undefined && readRegular(`${folder}/${name}`, LARGEST)?.includes('base_prefix') === true
}

/**
 * The archive of locales for a glibc of nixpkgs. This glibc looks in LOCALE_ARCHIVE and /usr/lib/locale. Its own archive
 * has only C.UTF-8. null where no locale is asked for, or none is missing.
 */
export function archiveOfLocales({ env, python: { libc }, store, isThere }: Facts): string | null {
  const wanted = env['LC_ALL'] || (env['LC_CTYPE'] ?? '') || (env['LANG'] ?? '')
  if (/^(?:C|POSIX)?(?:\.[\w-]+)?$/.test(wanted) || libc.kind !== 'glibc' || !isInside(libc.dir, store)) return null
  // only a glibc of nixpkgs reads the variable
  if (readRegular(`${libc.dir}/libc.so.6`, LARGEST)?.includes('\0LOCALE_ARCHIVE\0') !== true) return null
  if (isThere(env['LOCALE_ARCHIVE_2_27'] ?? '') || isThere('/usr/lib/locale/locale-archive')) return null
  const home = env['HOME'] ?? ''
  const profiles = ['/run/current-system/sw', ...(home.startsWith('/') ? [`${home}/.nix-profile`] : []), PROFILE]
  const archives = profiles.map(profile => `${profile}/lib/locale/locale-archive`)
  return archives.find(path => isThere(path)) ?? null
}

const PROFILE = '/nix/var/nix/profiles/default'

const BROWSERS = inPackages('playwright/driver/package/browsers.json')

/** The browsers of nixpkgs (playwright-driver.browsers) in exactly the version that this playwright asks for; else null. */
export function browsersOfPlaywright(facts: Facts): string | null {
  const file = BROWSERS(facts)
  const text = file === null ? null : readRegular(file, LARGEST)
  const revision = /"chromium",\s*"revision":\s*"(\d+)"/.exec(text?.toString('latin1') ?? '')?.[1]
  if (revision === undefined) return null
  const find = inStore(/^playwright-browsers(?:-|$)/, path => facts.isThere(`${path}/chromium-${revision}`))
  return find(facts)
}

/** The compiler with which the Python was built, if it still exists. sysconfig has it from _sysconfigdata. */
export function ownCompiler(name: 'CC' | 'CXX'): Find {
  return facts => {
    const { python, interpreter } = facts
    for (const folder of standardLibraries(interpreter.program, python.caller.path)) {
      const file = namesIn(folder).find(entry => /^_sysconfigdata_.*\.py$/.test(entry))
      const text = file === undefined ? null : readRegular(`${folder}/${file}`, LARGEST)
      const command = new RegExp(`['"]${name}['"]: *['"]([^'"\\s]+)`).exec(text?.toString('latin1') ?? '')?.[1]
      if (command === undefined) continue
      if (command.startsWith('/')) return facts.isThere(command) ? command : null
      return onPath(command)(facts)
    }
    return null
  }
}

/** The folders of pkg-config files for the Python and for the libraries of the store that the environment uses; null where there is none. */
export function packageConfigs(facts: Facts): string | null {
  const { interpreter, libraries, store, isThere } = facts
  const folders = new Set<string>()
  const add = (prefix: string): void => {
    for (const part of ['lib/pkgconfig', 'share/pkgconfig']) {
      if (isThere(`${prefix}/${part}`)) folders.add(`${prefix}/${part}`)
    }
  }
  for (const path of new Set(libraries.flatMap(({ path }) => storePathOf(path, store) ?? []))) {
    add(path)
    const parsed = parseStoreName(path.slice(store.length + 1))
    if (parsed === null) continue
    const { name, version } = parsed
    // the headers are in another output of the same package
    const dev = inStore(
      new RegExp(`^${escapeRegExp(version === '' ? name : `${name}-${version}`)}-dev$`),
      () => true,
    )(facts)
    if (dev !== null) add(dev)
  }
  if (folders.size === 0) return null
  add(dirname(dirname(interpreter.program)))
  return [...folders].join(':')
}
