// The libraries that a venv got. They are kept so that the next run, from a plain shell or after a system update, takes the
// same ones and changes nothing.
import { makeFolders, removeFile } from '../io/write/folder.ts'
import { replaceContent } from '../io/write/replace.ts'
import type { LibrarySource, Pin, UsedLibrary } from '../nix/libset.ts'
import type { Place } from '../python/environment.ts'
import { readState } from '../python/state-folder.ts'

const PIN_SOURCES: ReadonlySet<string> = new Set<LibrarySource>([
  'flag',
  'build',
  'config',
  'env',
  'closure',
  'ldflags',
  'nix-ld',
  'default',
  'scan',
  'trust',
])

const NAME = 'libs.json'

function pinsPath({ stateFolder }: Place): string {
  return `${stateFolder}/${NAME}`
}

/** The pins of a venv, by soname; empty when the file is absent or invalid. */
export function readPins(place: Place): Map<string, Pin> {
  const pins = new Map<string, Pin>()
  try {
    const entries: unknown = JSON.parse(readState(place, NAME) ?? '')
    if (typeof entries !== 'object' || entries === null) return pins
    for (const [soname, pin] of Object.entries(entries)) if (isPin(pin)) pins.set(soname, pin)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
  }
  return pins
}

function isPin(value: unknown): value is Pin {
  if (typeof value !== 'object' || value === null) return false
  const { path, source } = value as Partial<Record<string, unknown>>
  return typeof path === 'string' && path.startsWith('/') && typeof source === 'string' && PIN_SOURCES.has(source)
}

/** Do the libraries in use differ from the kept ones? */
export function pinsDiffer(place: Place, libraries: readonly UsedLibrary[]): boolean {
  const kept = readState(place, NAME)
  return libraries.length === 0 ? kept !== null : kept !== pinsText(libraries)
}

/** Keeps the libraries in use, or removes the file when there are none. Writes nothing when they are the same. */
export function writePins(place: Place, libraries: readonly UsedLibrary[]): void {
  if (!pinsDiffer(place, libraries)) return
  if (libraries.length === 0) {
    removeFile(pinsPath(place))
    return
  }
  makeFolders(place.stateFolder, place.root)
  replaceContent(pinsPath(place), pinsText(libraries))
}

function pinsText(libraries: readonly UsedLibrary[]): string {
  const entries = libraries.map(({ soname, path, source }) => [soname, { path, source }])
  return `${JSON.stringify(Object.fromEntries(entries), null, 1)}\n`
}
