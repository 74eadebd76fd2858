// Editing an ELF file with wheelfix's own writer, for what the tests build.
import { spawnSync } from 'node:child_process'
import { chmodSync, statSync } from 'node:fs'
import type { ElfEdit } from '../../src/elf/edit.ts'
import { isElf, readElf } from '../../src/elf/read.ts'
import { withSource } from '../../src/io/source.ts'

/** PT_INTERP of a file; null where it has none. */
export function interpreterOf(path: string): string | null {
  return withSource(path, source =>
    isElf(source.read(0, Math.min(4, source.size))) ? readElf(source).interpreter : null,
  )
}

/** Edits a file in place, keeping its mode. */
export function editElf(path: string, edit: Pick<ElfEdit, 'searchPath' | 'interpreter'>): void {
  const { mode } = statSync(path)
  chmodSync(path, mode | 0o200)
  const args = edit.searchPath ? ['--set-rpath', edit.searchPath.value] : []
  if (edit.searchPath?.tag === 'DT_RPATH') args.unshift('--force-rpath')
  if (edit.interpreter !== undefined) args.push('--set-interpreter', edit.interpreter)
  const { status, stderr } = spawnSync('/usr/bin/patchelf', [...args, path], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
}
