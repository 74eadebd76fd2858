// `npm run corpus:elf [-- FOLDER…]`: every ELF file below the folders (default: /usr, /opt), and of popular wheels where they
// are given as .whl files, is read as readelf reads it, field by field; is edited; verifies; differs from its original for
// readelf only where the edit says; and comes back byte for byte. Zero differences are wanted.
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readdirSync, readSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ElfError } from '../../src/elf/error.ts'
import { graftedSource, makeGraft } from '../../src/elf/graft/graft.ts'
import { isElf, readElf } from '../../src/elf/read.ts'
import { originalSource, readUndo } from '../../src/elf/graft/undo-note.ts'
import { verifyElf, verifyGraft } from '../../src/elf/rules/verify.ts'
import { withSource } from '../../src/io/source.ts'
import { differences } from './differential.ts'
import { readelf } from './readelf.ts'

/** Larger files are read and compared, but not written out again. */
const LARGEST_WRITTEN = 64 << 20

function elfFilesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
    .filter(path => {
      try {
        const fd = openSync(path, 'r')
        const head = Buffer.alloc(4)
        readSync(fd, head, 0, 4, 0)
        closeSync(fd)
        return isElf(head)
      } catch {
        return false
      }
    })
}

const counts = { files: 0, read: 0, unreadable: 0, edited: 0, refused: 0, spanning: 0, differences: 0, violations: 0 }
const scratch = mkdtempSync(join(tmpdir(), 'wheelfix-corpus-'))
const args = process.argv.slice(2)
const folders = (args.length > 0 ? args : ['/usr', '/opt']).map(argument => {
  if (!argument.endsWith('.whl')) return argument
  const folder = mkdtempSync(join(scratch, 'wheel-'))
  execFileSync('python3', ['-m', 'zipfile', '-e', argument, folder])
  return folder
})
const complain = (path: string, what: string): void => {
  counts.differences++
  console.log(`${path}: ${what}`)
}

for (const path of folders.flatMap(folder => elfFilesBelow(folder))) {
  counts.files++
  try {
    withSource(path, source => {
      const object = readElf(source)
      counts.read++
      const theirs = readelf(path)
      for (const difference of differences(object, theirs)) complain(path, difference)
      for (const { rule, message } of verifyElf(source)) {
        counts.violations++
        console.log(`${path}: breaks ${rule}: ${message}`)
      }
      const edit = {
        searchPath: {
          tag: object.rpath === null ? 'DT_RUNPATH' : 'DT_RPATH',
          value: `${object.rpath ?? object.runpath ?? ''}:/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x/lib`,
        },
      } as const
      const graft = makeGraft(source, edit)
      if (graft === null) return
      const result = graftedSource(source, graft)
      verifyGraft(source, result, edit)
      counts.edited++
      const undo = readUndo(result)
      if (undo === null) throw new Error('no undo record')
      if (source.size > LARGEST_WRITTEN) return
      const original = Buffer.from(source.read(0, source.size))
      const back = originalSource(result, undo)
      if (!original.equals(back.read(0, back.size))) complain(path, 'does not come back')
      const written = join(scratch, 'edited')
      writeFileSync(written, result.read(0, result.size))
      const after = readelf(written)
      for (const difference of differences(readElf(result), after)) complain(path, `edited: ${difference}`)
      const unchanged = (file: typeof after): string =>
        JSON.stringify([
          file.header.entry.toString(),
          file.interpreter,
          file.versionNeeds,
          file.versionDefinitions,
          file.dynamic
            .filter(({ tag }) => ![5n, 10n, 15n, 29n, 0n].includes(tag))
            .map(({ tag, text }) => [tag.toString(), text]),
        ])
      if (unchanged(after) !== unchanged(theirs)) complain(path, 'readelf shows more changed than the edit says')
      // the one known complaint: a string table of more than 128 KiB stays where it is and reaches over several segments
      if (graft.tail.length > 0 && /not located in any PT_LOAD segment/.test(after.stderr)) counts.spanning++
      else if (after.stderr.replaceAll(written, '') !== theirs.stderr.replaceAll(path, '')) {
        complain(path, `a new complaint of readelf: ${after.stderr.trim()}`)
      }
    })
  } catch (error) {
    if (!(error instanceof ElfError)) throw error
    if (error.code === 'REFUSED') counts.refused++
    else {
      counts.unreadable++
      console.log(`${path}: ${error.code}: ${error.message} (${statSync(path).size} bytes)`)
    }
  }
}
rmSync(scratch, { recursive: true })
console.log(JSON.stringify(counts))
process.exitCode = counts.differences > 0 ? 1 : 0
