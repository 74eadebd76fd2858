// The hint for a missing soname: one sentence that says what to do.
import { type Libc, isLibcFamily } from '../../ldso/libc.ts'
import { attributeFor, describeHint, hintFor, packageWith } from '../../nix/hints.ts'
import type { Distributions } from '../../python/distributions.ts'
import { platformPolicy } from '../../python/wheel-tags.ts'
import { isDriverLibrary } from '../drivers.ts'
import { newest } from '../providers.ts'

/** A file that the loader finds under the wanted name, although it does not define wanted versions. */
export interface UnfitFile {
  /** The versions that it lacks. */
  readonly versions: readonly string[]
  readonly path: string
  /** The distribution that brings it; null for a file that does not come with a wheel. */
  readonly owner: string | null
  /** The distributions whose objects want the versions. */
  readonly users: readonly string[]
}

/**
 * What to do about a missing soname, in one sentence; null when nothing is known.
 * @param unfit the file that lacks wanted versions; null when no file was found
 * @param clashes why files of this name were rejected
 * @param distributions what is installed; null where nothing is
 */
export function hintOf(
  soname: string,
  unfit: UnfitFile | null,
  clashes: readonly string[],
  libc: Libc,
  distributions: Pick<Distributions, 'get'> | null = null,
): string | null {
  if (/^(?:libc\.musl-|ld-musl-)/.test(soname) && libc.kind === 'glibc') {
    return 'this is a musllinux wheel, but this Python uses glibc: install the manylinux wheel'
  }
  if (isLibcFamily(soname, 'glibc') && libc.kind === 'musl') {
    return 'this is a manylinux wheel, but this Python uses musl: install the musllinux wheel'
  }
  if (isLibcFamily(soname, libc.kind)) return libcHint(unfit, libc, distributions)
  if (isDriverLibrary(soname)) {
    const option = hintFor(soname)?.note ?? 'hardware.graphics.enable = true'
    return `it belongs to the graphics driver: on NixOS set ${option}; elsewhere start Python with nixGL or nix-gl-host`
  }
  const reasons = clashes.length === 0 ? '' : `${SKIPPED}${clashes.join('; ')}`
  const hint = hintFor(soname)
  if (unfit !== null) {
    const text = unfitHint(unfit, hint?.attribute ?? null, distributions)
    return unfit.owner === null ? `${text}${reasons}` : text
  }
  if (hint === null) return clashes.length === 0 ? null : `no file of that name fits${reasons}`
  return `${describeHint(hint)}${reasons}`
}

const SKIPPED = '; skipped: '

/** A hint without the reasons why files were skipped, which may be many and long. `-v` shows them. */
export function shortHint(hint: string): string {
  const end = hint.indexOf(SKIPPED)
  return end === -1 ? hint : `${hint.slice(0, end)}; some files were skipped (-v says why)`
}

/**
 * What to do about a file that comes first in the search path and lacks versions. Another file of this name does not help.
 * @param attribute the package of nixpkgs that has such files
 */
function unfitHint(
  { versions, path, owner, users }: UnfitFile,
  attribute: string | null,
  distributions: Pick<Distributions, 'get'> | null,
): string {
  const version = newest(versions)
  const packaged = /\/[0-9a-df-np-sv-z]{32}-([^/]+)\//.exec(path)?.[1] ?? null
  if (distributions === null && packaged === null) return `the wheel that brings it does not define ${version}`
  if (owner !== null) {
    const brings = `${[owner, distributions?.get(owner)?.version ?? ''].join(' ').trim()} brings it without ${version}`
    const others = users.filter(user => user !== owner)
    const installer = distributions?.get(owner)?.installer() ?? 'pip'
    // the two may also be wrong about each other the other way around, so both are brought up to date
    if (others.length > 0) return `${brings}: ${installWords('--upgrade', [...others, owner], installer)}`
    return `${brings}, although its own files want it: ${installWords('--force-reinstall', [owner], installer)}`
  }
  const older = 'an older release of the package that wants it'
  if (packaged === null) return `${path} does not define ${version}: use a newer system, or ${older}`
  return `${packaged} does not define ${version}: take ${attribute ?? 'it'} from a newer nixpkgs, or use ${older}`
}

function installWords(how: '--upgrade' | '--force-reinstall', names: readonly string[], installer: string): string {
  if (installer === 'pip') return `pip install ${how} ${names.join(' ')}`
  const verb = how === '--upgrade' ? how : '--reinstall'
  if (installer === 'uv') return `uv pip install ${verb} ${names.join(' ')}`
  return `${verb.slice(2)} ${names.join(' and ')} with ${installer}`
}

function libcHint(unfit: UnfitFile | null, libc: Libc, distributions: Pick<Distributions, 'get'> | null): string {
  const have = `this Python has ${libc.kind} ${libc.version ?? 'of an unknown version'}`
  if (unfit === null) return `${have}, which does not have this library`
  const tags = taggedAs(unfit.users, distributions)
  const version = newest(unfit.versions)
  const tag = /^GLIBC_(\d+)\.(\d+)/.exec(version)
  const derived = tag === null ? [] : [`a manylinux_${tag[1] ?? ''}_${tag[2] ?? ''} wheel`]
  const policy = [...derived, ...tags].join('; ')
  return `${version} is needed${policy === '' ? '' : ` (${policy})`}, but ${have}: use a Python from a newer nixpkgs, or an older release of the package`
}

/** The platforms that the wheels of installed distributions name: `foo is tagged manylinux_2_39`. */
function taggedAs(names: readonly string[], distributions: Pick<Distributions, 'get'> | null): string[] {
  return names.flatMap(name => {
    const tags = distributions?.get(name)?.tags() ?? []
    const platforms = [...new Set(tags.flatMap(({ platform }) => platformPolicy(platform)?.name ?? []))]
    return platforms.length === 0 ? [] : [`${name} is tagged ${platforms.join(', ')}`]
  })
}

/** The package that would bring a missing soname; null when no package would (libc's own, a driver's) or none is known. */
export function attributeOf(soname: string, libc: Libc): string | null {
  return isOfNoPackage(soname, libc) ? null : attributeFor(soname)
}

/** The names of the package for a soname in every release of nixpkgs, also when today's nixpkgs no longer has it. */
export function packageFor(soname: string, libc: Libc): ReturnType<typeof packageWith> {
  return isOfNoPackage(soname, libc) ? null : packageWith(soname)
}

function isOfNoPackage(soname: string, libc: Libc): boolean {
  return isLibcFamily(soname, libc.kind) || isDriverLibrary(soname) || /^(?:libc\.musl-|ld-musl-)/.test(soname)
}
