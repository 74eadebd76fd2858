// Wheel compatibility tags: PYTHON-ABI-PLATFORM (PEP 425), the platform tags manylinux_X_Y (PEP 600) with their old
// names (PEP 513, 571, 599), and musllinux_X_Y (PEP 656). This file only handles strings.

/** One tag of a wheel. */
export interface WheelTag {
  /** `cp311`, `py3` … */
  readonly python: string
  /** `cp311`, `abi3`, `none` … */
  readonly abi: string
  /** `manylinux_2_28_x86_64`, `linux_aarch64`, `any` … */
  readonly platform: string
}

/** What a platform tag promises about the systems on which its wheel runs. */
interface PlatformPolicy {
  readonly kind: 'manylinux' | 'musllinux'
  /** The canonical name without the machine: `manylinux_2_17`, also for `manylinux2014`. */
  readonly name: string
  /** The oldest libc on which the wheel runs: glibc for manylinux, musl for musllinux. */
  readonly libcVersion: string
  /** `x86_64`, `aarch64`, `armv7l`, `ppc64le` … */
  readonly machine: string
}

/** The names from before PEP 600, and the glibc versions that they stand for. */
const LEGACY = new Map([
  ['manylinux1', '2.5'],
  ['manylinux2010', '2.12'],
  ['manylinux2014', '2.17'],
])

/**
 * Real wheels have about ten tags. A compressed set of three long lists stands for their product, which may be huge.
 */
const MOST_TAGS = 1000

/**
 * The tags of a compressed tag set: each of the three parts may hold several values, joined by dots. Empty for a set
 * with too many tags.
 */
export function parseTags(text: string): WheelTag[] {
  const parts = text.trim().split('-')
  const [pythons = '', abis = '', platforms = ''] = parts
  if (parts.length !== 3 || parts.some(part => part === '')) return []
  const [all, abiList, platformList] = [pythons.split('.'), abis.split('.'), platforms.split('.')]
  if (all.length * abiList.length * platformList.length > MOST_TAGS) return []
  return all.flatMap(python => abiList.flatMap(abi => platformList.map(platform => ({ python, abi, platform }))))
}

/** The tags in the `Tag:` lines of a WHEEL file; only the first ones where there are too many. */
export function tagsOfWheelFile(text: string): WheelTag[] {
  const tags: WheelTag[] = []
  for (const [, tag = ''] of text.matchAll(/^Tag:[ \t]*(\S+)/gm)) {
    if (tags.length >= MOST_TAGS) break
    tags.push(...parseTags(tag))
  }
  return tags
}

/** The tags in a wheel's file name; empty when it is not the name of a wheel. */
export function tagsOfWheelName(fileName: string): WheelTag[] {
  return parseTags(splitWheelName(fileName)?.tag ?? '')
}

/** The parts of a wheel's file name, in their original spelling. */
export interface WheelName {
  readonly distribution: string
  readonly version: string
  readonly build: string | null
  /** `cp311-cp311-manylinux_2_28_x86_64` */
  readonly tag: string
  /** The label of a wheel variant (PEP 825): `cu128`. */
  readonly variant: string | null
}

/**
 * Splits NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM[-VARIANT].whl. A build tag begins with a digit and a Python tag does
 * not; this distinguishes the two optional parts. Null when it is not the name of a wheel.
 */
export function splitWheelName(fileName: string): WheelName | null {
  const match = /^([^-]+)-([^-]+)(?:-(\d[^-]*))?-([^-\d][^-]*-[^-]+-[^-]+)(?:-([0-9a-z._]{1,16}))?\.whl$/.exec(fileName)
  if (match === null) return null
  const [, distribution = '', version = '', build, tag = '', variant] = match
  return { distribution, version, build: build ?? null, tag, variant: variant ?? null }
}

/** The promise of a platform tag; null for `any`, `linux_x86_64` and the tags of other systems. */
export function platformPolicy(platform: string): PlatformPolicy | null {
  const modern = /^(manylinux|musllinux)_(\d+)_(\d+)_(\w+)$/.exec(platform)
  if (modern !== null) {
    const [, kind, major = '', minor = '', machine = ''] = modern
    const libcVersion = `${Number(major)}.${Number(minor)}`
    return {
      kind: kind === 'musllinux' ? 'musllinux' : 'manylinux',
      name: `${kind}_${Number(major)}_${Number(minor)}`,
      libcVersion,
      machine,
    }
  }
  const legacy = /^(manylinux(?:1|2010|2014))_(\w+)$/.exec(platform)
  const libcVersion = LEGACY.get(legacy?.[1] ?? '')
  if (libcVersion === undefined) return null
  return {
    kind: 'manylinux',
    name: `manylinux_${libcVersion.replace('.', '_')}`,
    libcVersion,
    machine: legacy?.[2] ?? '',
  }
}
