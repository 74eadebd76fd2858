// Can the GUI toolkits of an environment open a window? Nothing links to Qt's platform plugins, so their missing libraries
// count as optional. But an application whose xcb and wayland plugins both fail aborts at its start.
import type { PlannedObject } from '../plan.ts'
import type { Simulation } from '../simulate.ts'

/** A toolkit that cannot open a window on every desktop. */
export interface WindowProblem {
  /** The name that a user knows: `PyQt6`. */
  readonly toolkit: string
  /** The platform plugins that cannot be loaded. */
  readonly failing: readonly FailingPlugin[]
  /** False: no platform plugin for a screen can be loaded, so the toolkit opens no window at all. */
  readonly opensSomewhere: boolean
}

interface FailingPlugin {
  readonly platform: 'X11' | 'Wayland'
  /** Path relative to the environment. */
  readonly path: string
  /** The sonames that the plugin, or a library that it loads, does not find. */
  readonly lacks: readonly string[]
}

/**
 * The toolkits, by the distribution that holds their plugins. opencv-python is not listed: it has such plugins too, but is
 * mostly used without a window.
 */
const TOOLKITS: ReadonlyMap<string, string> = new Map([
  ['pyqt5', 'PyQt5'],
  ['pyqt5-qt5', 'PyQt5'],
  ['pyqt6', 'PyQt6'],
  ['pyqt6-qt6', 'PyQt6'],
  ['pyside2', 'PySide2'],
  ['pyside6', 'PySide6'],
  ['pyside6-essentials', 'PySide6'],
])

const PLUGIN = /\/platforms\/libq(xcb|wayland)[\w-]*\.so$/

/** @param isIgnored does the user say that this soname is not needed? */
export function windowProblems(
  objects: readonly PlannedObject[],
  simulation: Simulation,
  isIgnored: (soname: string) => boolean,
): WindowProblem[] {
  const missing = new Map(objects.map(object => [object.identity, object.missing]))
  const toolkits = new Map<string, (FailingPlugin & { readonly isLoaded: boolean })[]>()
  for (const { identity, path, relative, distribution } of objects) {
    const toolkit = TOOLKITS.get(distribution ?? '')
    const kind = PLUGIN.exec(path)?.[1]
    const process = simulation.processes.get(identity)
    if (toolkit === undefined || kind === undefined || process === undefined) continue
    const sonames = process.maps.flatMap(map => missing.get(map.identity) ?? []).filter(soname => !isIgnored(soname))
    const lacks = [...new Set(sonames)].sort()
    const plugin = { platform: kind === 'xcb' ? 'X11' : 'Wayland', path: relative, lacks } as const
    toolkits.set(toolkit, [...(toolkits.get(toolkit) ?? []), { ...plugin, isLoaded: lacks.length === 0 }])
  }
  return [...toolkits].flatMap(([toolkit, plugins]): WindowProblem[] => {
    // Qt 6 before 6.10 has two plugins for Wayland, one of which is enough
    const platforms = new Set(plugins.filter(({ isLoaded }) => isLoaded).map(({ platform }) => platform))
    const failing = plugins.filter(({ platform }) => !platforms.has(platform))
    if (failing.length === 0) return []
    return [
      {
        toolkit,
        failing: failing.map(({ platform, path, lacks }) => ({ platform, path, lacks })),
        opensSomewhere: platforms.size > 0,
      },
    ]
  })
}
