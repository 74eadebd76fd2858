// A library with a .note.dlopen section, as the specification lays it out.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { runWell } from '../support/run.ts'

/** Writes a library whose note is this JSON. Needs gcc and ld. */
export function writeNoted(path: string, features: readonly unknown[]): void {
  const scratch = mkdtempSync(join(tmpdir(), 'wheelfix-note-'))
  try {
    const source = join(scratch, 'note.s')
    writeFileSync(source, assembly(JSON.stringify(features)))
    runWell('gcc', ['-c', '-o', join(scratch, 'note.o'), source])
    mkdirSync(dirname(path), { recursive: true })
    runWell('ld', ['-shared', '-o', path, join(scratch, 'note.o')])
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

function assembly(json: string): string {
  return `
.section .note.dlopen, "a", %note
.p2align 2
.long 1f - 0f
.long 3f - 2f
.long 0x407c0c0a
0: .asciz "FDO"
1: .p2align 2
2: .asciz "${json.replaceAll('"', String.raw`\"`)}"
3: .p2align 2
`
}
