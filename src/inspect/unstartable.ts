// Programs that cannot start, but not because of a missing library. They ask for the loader of another system, or they are
// scripts for a program that NixOS does not have.
import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs'
import type { Examination } from '../environment/examine.ts'
import { errnoOf } from '../io/error.ts'
import { entriesIn, fsPath, isInside, relativeTo } from '../io/path.ts'
import type { Environment } from '../python/environment.ts'
import { agree, count } from '../io/words.ts'
import { fits } from '../ldso/fits.ts'
import type { Finding } from './findings.ts'

/** Programs whose loader does not exist here and is not replaced (resolve/programs.ts). Nothing can be done about them. */
export function foreignPrograms({ plan, objects }: Examination): Finding[] {
  const byLoader = new Map<string, string[]>()
  for (const { kind, edit, identity, relative } of plan.objects) {
    const interpreter = edit?.interpreter ?? objects.get(identity)?.original.ptInterp
    if (kind !== 'executable' || interpreter == null || isRegularFile(interpreter)) continue
    byLoader.set(interpreter, [...(byLoader.get(interpreter) ?? []), relative])
  }
  return [...byLoader].map(([loader, paths]): Finding => ({
    code: 'foreign-program',
    severity: 'note',
    message: `${paths.length === 1 ? 'a program asks' : `${paths.length} programs ask`} for ${loader}, the loader of another system, which ${existsSync(fsPath(loader)) ? 'is not a program' : 'does not exist'} here`,
    remedy: null,
    paths,
  }))
}

/** Is there a regular file, which the kernel might start, and not a folder or a device? */
function isRegularFile(path: string): boolean {
  try {
    return statSync(fsPath(path)).isFile()
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

/**
 * Libraries that the loader of this Python cannot load at all: they are for another machine or another C library. A wheel
 * that brings a library for each platform has such files. Nothing can be done about them.
 */
export function foreignLibraries({ plan, objects, python }: Examination): Finding[] {
  const byReason = new Map<string, string[]>()
  for (const { kind, identity, relative, needed } of plan.objects) {
    const original = objects.get(identity)?.original
    if (kind === 'executable' || original === undefined || !needed.some(({ how }) => how === 'foreign')) continue
    const reason = fits(original, python.interpreter.object) ? 'another C library' : 'another machine'
    byReason.set(reason, [...(byReason.get(reason) ?? []), relative])
  }
  return [...byReason].map(([reason, paths]): Finding => ({
    code: 'foreign-library',
    severity: 'note',
    message: `${count(paths.length, 'library')} ${agree(paths.length, 'is', 'are')} for ${reason}`,
    remedy: null,
    paths,
  }))
}

/** The programs of /bin and /usr/bin that NixOS has. On NixOS the first line of a script may name only these. */
const IN_NIXOS = new Set(['/bin/sh', '/usr/bin/env'])

/**
 * Executable scripts of packages and of bin/ that name an interpreter which NixOS does not have, or which no longer exists.
 */
export function scriptLaunchers({ root, walk }: Environment): Finding[] {
  const scripts = new Map<string, string[]>()
  const visit = (directory: string): void => {
    for (const { name, kind } of entriesIn(directory)) {
      const path = `${directory}/${name}`
      if (kind === 'directory') visit(path)
      // a module with such a line is imported, so the line does not matter
      else if (kind === 'file' && !name.endsWith('.py')) look(path)
    }
  }
  const look = (path: string): void => {
    const interpreter = scriptInterpreter(path)
    if (interpreter === null || !isAbsent(interpreter)) return
    scripts.set(interpreter, [...(scripts.get(interpreter) ?? []), relativeTo(root, path)])
  }
  for (const folder of walk) visit(folder)
  return [...scripts].map(([interpreter, paths]): Finding => ({
    code: 'script-interpreter',
    severity: 'note',
    message: `${paths.length === 1 ? 'a script starts' : `${paths.length} scripts start`} ${interpreter}, which NixOS does not have`,
    remedy: 'services.envfs.enable = true, or begin the script with #!/usr/bin/env',
    paths,
  }))
}

function isAbsent(interpreter: string): boolean {
  if (IN_NIXOS.has(interpreter)) return false
  return isInside(interpreter, '/bin') || isInside(interpreter, '/usr/bin') || !existsSync(fsPath(interpreter))
}

/** The kernel reads no more of a first line (BINPRM_BUF_SIZE, include/uapi/linux/binfmts.h). */
const FIRST_LINE = 256

/** The program behind `#!` of an executable file (binfmt_script.c); null for anything else. */
function scriptInterpreter(path: string): string | null {
  try {
    if ((statSync(fsPath(path)).mode & 0o111) === 0) return null
    const fd = openSync(fsPath(path), 'r')
    try {
      const bytes = Buffer.alloc(FIRST_LINE)
      const text = bytes.toString('latin1', 0, readSync(fd, bytes, 0, FIRST_LINE, 0))
      return /^#![ \t]*(\/[^ \t\n]*)/.exec(text)?.[1] ?? null
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}
