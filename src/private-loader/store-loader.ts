// Chooses a loader of the Nix store for programs that ask for another system's loader, if no Python decides it. The first
// choice is the loader that the user names. Then come nix-ld's loader, the loader that runs wheelfix itself, and the newest
// one.
import { basename, dirname, join, resolve } from 'node:path'
import { ElfError } from '../elf/error.ts'
import { readElf } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { isInside, realPath } from '../io/path.ts'
import { withSource } from '../io/source.ts'
import { fits } from '../ldso/fits.ts'
import { lackingVersions } from '../ldso/process.ts'
import { storeScanner } from '../nix/scan-store.ts'
import type { StoreTrust } from '../nix/trust/trust.ts'
import { ptInterpOf } from './python-names.ts'

interface LoaderQuestion {
  /** The program that must run with the loader, as the subject of a sentence. */
  readonly program: string
  /** The objects whose versions of libc's symbols the loader's libc must have. */
  readonly users: readonly ElfObject[]
  /** The loader's file name: `ld-linux-x86-64.so.2`. */
  readonly name: string
  /** The loader that an earlier run chose. */
  readonly current: string | null
  /** The folder or loader of a glibc; null: wheelfix looks for one. */
  readonly libc: string | null
  readonly noScan: boolean
  readonly store: string
  readonly trust: StoreTrust
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
}

/** @throws WheelfixError `LOADER_NOT_FOUND` */
export function chooseLoader(question: LoaderQuestion): string {
  const { program, name, libc, store, trust, env, cwd } = question
  if (libc !== null) {
    const given = resolve(cwd, libc)
    const found = [given, join(given, name), join(given, 'lib', name)].find(path => servesAs(path, question))
    if (found !== undefined) return found
    throw new WheelfixError(
      'LOADER_NOT_FOUND',
      `${libc} holds no ${name} that ${program} can run with: name another glibc, such as --libc /nix/store/…-glibc-2.40`,
      given,
    )
  }
  const scanned = question.noScan ? [] : storeScanner({ store, env, trust })('libc.so.6')
  // the present loader may be one that an earlier scan found
  const candidates = [
    { path: question.current, isScanned: true },
    { path: env['NIX_LD'] ?? null, isScanned: false },
    { path: ptInterpOf(process.execPath), isScanned: false },
    ...scanned.map(({ directory }) => ({ path: join(directory, name), isScanned: true })),
  ]
  for (const { path, isScanned } of candidates) {
    if (path === null || !servesAs(path, question)) continue
    const real = realPath(path)
    if (isInside(real, store) && (!isScanned || trust.reasonFor(real) !== null)) return real
  }
  throw new WheelfixError(
    'LOADER_NOT_FOUND',
    `no glibc in ${store} that ${program} can run with was found: name one with --libc /nix/store/…-glibc-2.40`,
    program,
  )
}

/** Is this a loader for these objects, and does its libc have all symbol versions that they need? */
function servesAs(path: string, { name, users }: LoaderQuestion): boolean {
  if (basename(path) !== name || isInside(path, '/lib') || isInside(path, '/lib64')) return false
  try {
    const loader = withSource(path, readElf)
    const libc = withSource(join(dirname(realPath(path)), 'libc.so.6'), readElf)
    const serves = (object: ElfObject) =>
      fits(loader, object) && lackingVersions('glibc', object, 'libc.so.6', libc).length === 0
    return loader.ptInterp === null && users.every(serves)
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return false
    throw error
  }
}
