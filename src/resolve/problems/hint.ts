// The hint for a missing soname: one sentence that says what to do.
import { type Libc, isLibcFamily } from '../../ldso/libc.ts'
import { attributeFor, describeHint, hintFor, packageWith } from '../../nix/hints.ts'
import { isDriverLibrary } from '../drivers.ts'
import { newest } from '../providers.ts'

/**
 * What to do about a missing soname, in one sentence; null when nothing is known.
 * @param lacking versions that the objects want and the found provider lacks
 * @param clashes why files of this name were rejected
 * @param tags what the wheels that want the versions promise: `foo: manylinux_2_39`
 */
export function hintOf(
  soname: string,
  lacking: readonly string[],
  clashes: readonly string[],
  libc: Libc,
  tags: readonly string[] = [],
): string | null {
  if (/^(?:libc\.musl-|ld-musl-)/.test(soname) && libc.kind === 'glibc') {
    return 'this is a musllinux wheel, but this Python uses glibc: install the manylinux wheel'
  }
  if (isLibcFamily(soname, 'glibc') && libc.kind === 'musl') {
    return 'this is a manylinux wheel, but this Python uses musl: install the musllinux wheel'
  }
  if (isLibcFamily(soname, libc.kind)) return libcHint(lacking, libc, tags)
  if (isDriverLibrary(soname)) {
    const option = hintFor(soname)?.note ?? 'hardware.graphics.enable = true'
    return `it belongs to the graphics driver: on NixOS set ${option}; elsewhere start Python with nixGL or nix-gl-host`
  }
  const reasons = clashes.length === 0 ? '' : `${SKIPPED}${clashes.join('; ')}`
  const hint = hintFor(soname)
  if (hint === null) return clashes.length === 0 ? null : `no file of that name fits${reasons}`
  return `${describeHint(hint)}${reasons}`
}

const SKIPPED = '; skipped: '

/** A hint without the reasons why files were skipped, which may be many and long. `-v` shows them. */
export function shortHint(hint: string): string {
  const end = hint.indexOf(SKIPPED)
  return end === -1 ? hint : `${hint.slice(0, end)}; some files were skipped (-v says why)`
}

function libcHint(lacking: readonly string[], libc: Libc, tags: readonly string[]): string {
  const have = `this Python has ${libc.kind} ${libc.version ?? 'of an unknown version'}`
  if (lacking.length === 0) return `${have}, which does not have this library`
  const version = newest(lacking)
  const tag = /^GLIBC_(\d+)\.(\d+)/.exec(version)
  const derived = tag === null ? [] : [`a manylinux_${tag[1] ?? ''}_${tag[2] ?? ''} wheel`]
  const policy = [...derived, ...tags].join('; ')
  return `${version} is needed${policy === '' ? '' : ` (${policy})`}, but ${have}: use a Python from a newer nixpkgs, or an older release of the package`
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
