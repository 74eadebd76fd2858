// The private loader: a copy of glibc's ld.so that reads wheelfix's own cache file. glibc compiles the path of its cache
// into ld.so as one string (/etc/ld.so.cache; in Nix it lies below glibc's own store path). When that string holds another
// path, the loader looks up every bare name (DT_NEEDED, dlopen, ctypes) in wheelfix's cache. This file turns bytes into
// bytes and knows nothing of venvs. Only `probeLoader` runs anything.
import { spawnSync } from 'node:child_process'
import { EM_AARCH64, EM_X86_64, PF_W, PF_X, PT_LOAD } from '../elf/constants.ts'
import { ElfError } from '../elf/error.ts'
import { encode, formatOf } from '../elf/layout.ts'
import { readElf } from '../elf/read.ts'
import { bytesSource } from '../elf/source.ts'
import { encodeText } from '../elf/text.ts'
import type { ElfObject, ProgramHeader } from '../elf/types.ts'
import { fsPath } from '../io/path.ts'
import { count } from '../io/words.ts'

/** The place of the cache's path in a loader. */
interface CacheSlot {
  /** File offset of the path's first byte. */
  readonly offset: number
  /** The longest path that fits, in bytes without the NUL. */
  readonly room: number
}

export interface PrivateLoader {
  readonly bytes: Uint8Array
  /** `slot`: the new path is in the place of the old one. `redirected`: it is elsewhere, and the code now points to it. */
  readonly how: 'slot' | 'redirected'
}

/** The first glibc whose loader accepts a cache that names its byte order. Earlier loaders ignore such a cache. */
const FIRST_GLIBC = [2, 33] as const
const PAGE = 4096

/**
 * The place of the cache's path: the only NUL-delimited string that ends in /ld.so.cache. (The path also occurs inside the
 * usage text, which only people read.)
 * @throws ElfError `REFUSED` when there is no such string, or more than one
 */
export function cacheSlot(loader: Uint8Array): CacheSlot {
  const name = encodeText('/ld.so.cache\0')
  const slots: CacheSlot[] = []
  const text = Buffer.from(loader.buffer, loader.byteOffset, loader.byteLength)
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + 1)) {
    const start = text.lastIndexOf(0, at) + 1
    const end = at + name.length - 1
    if (text[start] === 0x2f) slots.push({ offset: start, room: end - start })
  }
  const [slot] = slots
  if (slot === undefined) throw refused('it names no ld.so.cache, so a cache cannot control it')
  if (slots.length > 1) throw refused(`it names ${slots.length} caches, and wheelfix cannot tell which one it reads`)
  return slot
}

/**
 * A copy of a loader that reads the cache at `cachePath` (absolute). When the slot is too short, a loader of x86-64 or
 * aarch64 gets the path after its constants instead.
 * @param version the version of the loader's libc (`2.40`), because the loader itself does not name it before 2.33; null
 * when unknown
 * @throws ElfError `REFUSED` with the reason, or the errors of `readElf`
 */
export function makePrivateLoader(loader: Uint8Array, version: string | null, cachePath: string): PrivateLoader {
  const slot = cacheSlot(loader)
  assertReadsNewCache(version)
  const object = readElf(bytesSource(loader))
  const path = encodeText(cachePath)
  const bytes = Uint8Array.from(loader)
  if (path.length <= slot.room) {
    bytes.fill(0, slot.offset, slot.offset + slot.room)
    bytes.set(path, slot.offset)
    return { bytes, how: 'slot' }
  }
  const { machine, class: elfClass, byteOrder } = object.header
  if ((machine !== EM_X86_64 && machine !== EM_AARCH64) || elfClass !== 64 || byteOrder !== 'little') {
    throw refused(
      `the path ${cachePath} is ${count(path.length - slot.room, 'byte')} too long for its slot of ${slot.room} bytes`,
    )
  }
  redirect(bytes, object, slot, path)
  return { bytes, how: 'redirected' }
}

function assertReadsNewCache(version: string | null): void {
  const needs = `a private loader needs glibc ${FIRST_GLIBC.join('.')} or later`
  if (version === null) throw refused(`the version of its libc cannot be read; ${needs}`)
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < FIRST_GLIBC[0] || (major === FIRST_GLIBC[0] && minor < FIRST_GLIBC[1])) {
    throw refused(`glibc ${version} ignores the cache of a private loader; ${needs}`)
  }
}

/**
 * Puts the path into the zero bytes between the end of the constants' segment and the end of its last page. These bytes are
 * mapped in any case. Makes the segment longer by the path. Changes the instructions that take the address of the old
 * string, so that they take the address of the new one.
 * @throws ElfError `REFUSED` when anything else uses the old string
 */
function redirect(bytes: Uint8Array, object: ElfObject, slot: CacheSlot, path: Buffer): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const loads = object.programHeaders.filter(header => header.type === PT_LOAD)
  const constants = loads.find(load => slot.offset >= load.offset && slot.offset < load.offset + load.filesz)
  if (constants === undefined || (constants.flags & PF_W) !== 0) {
    throw refused('the path of its cache is not among its constants')
  }
  const old = constants.vaddr + BigInt(slot.offset - constants.offset)
  // a NUL before the path lets `cacheSlot` find it again
  const end = constants.offset + constants.filesz
  const addition = Buffer.concat([Buffer.from([0]), path, Buffer.from([0])])
  const isFree =
    BigInt(constants.filesz) === constants.memsz &&
    end % PAGE !== 0 &&
    addition.length <= PAGE - (end % PAGE) &&
    end + addition.length <= bytes.length &&
    bytes.subarray(end, end + addition.length).every(byte => byte === 0) &&
    !loads.some(load => load !== constants && overlaps(load, end, addition.length))
  if (!isFree) {
    throw refused(`the path is too long for its slot of ${slot.room} bytes, and there is no room after its constants`)
  }
  const target = constants.vaddr + BigInt(constants.filesz + 1)
  assertNoPointer(view, loads, old)
  const point = object.header.machine === EM_X86_64 ? pointX86 : pointAarch64
  const code = loads.filter(load => (load.flags & PF_X) !== 0)
  const pointed = code.reduce((count, load) => count + point(view, load, old, target), 0)
  if (pointed === 0) throw refused('the code that opens its cache was not found')
  bytes.fill(0, slot.offset, slot.offset + slot.room)
  bytes.set(addition, end)
  const format = formatOf(object.header)
  const header = object.header.phoff + object.programHeaders.indexOf(constants) * format.phdr.bytes
  const size = constants.filesz + addition.length
  encode(format.phdr, format, bytes, header, { filesz: size, memsz: size })
}

function overlaps(load: ProgramHeader, offset: number, length: number): boolean {
  return load.offset < offset + length && offset < load.offset + load.filesz
}

/**
 * Refuses a pointer to the string in the data, because the loader would relocate it. The packed form (DT_RELR) keeps the
 * address in place too.
 */
function assertNoPointer(view: DataView, loads: readonly ProgramHeader[], address: bigint): void {
  for (const load of loads) {
    if ((load.flags & PF_X) !== 0) continue
    for (let at = load.offset + ((8 - (load.offset % 8)) % 8); at + 8 <= endOfSegment(load, view); at += 8) {
      if (view.getBigUint64(at, true) === address) throw refused('its data points to the path of its cache')
    }
  }
}

function endOfSegment(load: ProgramHeader, view: DataView): number {
  return Math.min(load.offset + load.filesz, view.byteLength)
}

/** Points each `lea r64, [rip+disp32]` of `from` (REX.W 8D /r with mod 00, r/m 101) to `to`. Returns their number. */
function pointX86(view: DataView, load: ProgramHeader, from: bigint, to: bigint): number {
  let count = 0
  for (let at = load.offset + 3; at + 4 <= endOfSegment(load, view); at++) {
    const next = load.vaddr + BigInt(at + 4 - load.offset)
    if (view.getInt32(at, true) !== Number(from - next)) continue
    const isLea =
      (view.getUint8(at - 3) & 0xfb) === 0x48 &&
      view.getUint8(at - 2) === 0x8d &&
      (view.getUint8(at - 1) & 0xc7) === 0x05
    if (!isLea) throw refused('its code uses the path of its cache in an unknown way')
    view.setInt32(at, Number(to - next), true)
    count++
  }
  return count
}

/** How far apart a compiler puts the two halves of an address, in bytes. */
const ADRP_REACH = 64

/**
 * Changes each `add xd, xn, #lo12` that completes the `adrp xn` of `from`'s page into `adr xd, to`. An `adr` reaches 1 MiB.
 * The `adrp` stays for its other users. Returns the number of changes.
 */
function pointAarch64(view: DataView, load: ProgramHeader, from: bigint, to: bigint): number {
  let count = 0
  const word = (at: number) => view.getUint32(at, true)
  for (let at = load.offset; at + 4 <= endOfSegment(load, view); at += 4) {
    const add = word(at)
    // ADD (immediate), 64-bit, not shifted
    if (add >>> 22 !== 0x91000000 >>> 22 || ((add >>> 10) & 0xfff) !== Number(from & 0xfffn)) continue
    const base = (add >>> 5) & 31
    for (let back = at - 4; back >= load.offset && back >= at - 4 * ADRP_REACH; back -= 4) {
      const adrp = word(back)
      if ((adrp & 0x9f00001f) >>> 0 !== (0x90000000 | base) >>> 0) continue
      const pages = (((adrp >>> 5) & 0x7ffff) << 2) | ((adrp >>> 29) & 3)
      const here = (load.vaddr + BigInt(back - load.offset)) & ~0xfffn
      if (here + BigInt((pages << 11) >> 11) * 4096n === (from & ~0xfffn)) {
        const distance = Number(to - (load.vaddr + BigInt(at - load.offset)))
        if (Math.abs(distance) >= 1 << 20) throw refused('its constants are too far from its code')
        const adr = 0x10000000 | ((distance & 3) << 29) | (((distance >> 2) & 0x7ffff) << 5) | (add & 31)
        view.setUint32(at, adr >>> 0, true)
        count++
      }
      break
    }
  }
  return count
}

/** The result of a probe of a loader. */
interface Probe {
  /** null when the loader works; else the reason, as the second half of a sentence. */
  readonly failure: string | null
  /** False when the loader could not be started (it is for another machine). */
  readonly ran: boolean
}

/**
 * Runs a private loader once. The loader must report that it searches the cache at `cachePath`, and must load `library` from
 * there by its bare name.
 * @param program a program that this loader can load; the loader lists it and does not run it
 */
export function probeLoader(
  loader: string,
  program: string,
  cachePath: string,
  library: { readonly soname: string; readonly path: string } | null,
): Probe {
  const preload = ['wheelfix-probe.so', ...(library === null ? [] : [library.soname])].join(':')
  const { error, status, signal, stdout, stderr } = spawnSync(loader, ['--list', program], {
    env: { LD_DEBUG: 'libs', LD_PRELOAD: preload },
    encoding: 'latin1',
    timeout: 20_000,
    killSignal: 'SIGKILL',
  })
  if (error !== undefined) return { failure: `it cannot be run here (${error.message})`, ran: false }
  const binary = (text: string) => Buffer.from(fsPath(text)).toString('latin1')
  if (!stderr.includes(`search cache=${binary(cachePath)}\n`)) {
    return { failure: `it does not read ${cachePath} (${signal ?? `exit status ${status}`})`, ran: true }
  }
  if (library !== null && !stdout.includes(`\t${binary(library.soname)} => ${binary(library.path)} (`)) {
    return { failure: `it does not find ${library.soname} through its cache`, ran: true }
  }
  return { failure: null, ran: true }
}

function refused(reason: string): ElfError {
  return new ElfError('REFUSED', reason)
}
