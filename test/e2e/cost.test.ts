// What a run asks of the file system for each object: the difference of two environments, of which one has more of the same
// objects. A slow path shows here on any machine, however busy it is.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { constants, copyFileSync, mkdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { inapplicable, missing, skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

const COUNT = join(import.meta.dirname, '../../../test/support/count.cjs')
/** A machine without other processes: what a restore asks about them does not depend on the number of objects. */
const ALONE = `--require=${join(import.meta.dirname, '../../../test/support/blind.cjs')}`
const FEW = 10
const MANY = 60

/** An object is opened by the scan, for its edit and its journal entry, and for the change. */
const FIRST_RUN = {
  openSync: 3,
  closeSync: 3,
  fstatSync: 4,
  lstatSync: 3,
  futimesSync: 1,
  readSync: 4,
  read: 28_000,
  writeSync: 3,
  written: 3400,
}
/** Each byte of the file is read once and written once, besides the reads of the scan. */
const RENAMED = { fchmodSync: 1, renameSync: 1, statfsSync: 1, writeSync: 1 }
const RESTORE = { openSync: 4, closeSync: 4, fstatSync: 6, lstatSync: 2, futimesSync: 1, readSync: 6, ...RENAMED }
const CLONED = { copyFileSync: 1, ftruncateSync: 1, statSync: 1 }
/** Nothing is read but for the scan and the journal, and nothing is written but a header and the line of the journal. */
const IN_PLACE = {
  openSync: 5,
  closeSync: 5,
  fstatSync: 7,
  lstatSync: 1,
  futimesSync: 2,
  readSync: 7,
  fdatasyncSync: 1,
  ftruncateSync: 1,
  writeSync: 1,
  written: 700,
}
/** What a scan reads of a patched object. */
const SCANNED = 37_000

const world = missing('gcc') === false ? buildWorld() : (missing('gcc') as string)
if (typeof world === 'string') test('cost', { skip: skip(world) })
else theSuite(world)

function theSuite(world: World): void {
  suite('what a run asks of the file system for each object', () => {
    after(() => world.dispose())
    const library = makeExtension(world)
    const { size } = statSync(library)
    const hash = `sha256=${createHash('sha256').update(readFileSync(library)).digest('base64url')}`
    const few = environmentOf(FEW)
    const many = environmentOf(MANY)

    function environmentOf(objects: number): string {
      const venv = makeVenv(world, `with-${objects}`)
      const site = sitePackages(world, venv)
      mkdirSync(join(site, 'many'))
      mkdirSync(join(site, 'many-1.0.dist-info'))
      const names = Array.from({ length: objects }, (_, index) => `many/m${index}.abi3.so`)
      for (const name of names) copyFileSync(library, join(site, name))
      writeFileSync(join(site, 'many-1.0.dist-info/METADATA'), 'Metadata-Version: 2.1\nName: many\nVersion: 1.0\n')
      writeFileSync(join(site, 'many-1.0.dist-info/RECORD'), names.map(name => `${name},${hash},${size}\n`).join(''))
      return venv
    }

    /** All calls and bytes of one run. */
    function countsOf(
      venv: string,
      [name, ...options]: readonly [string, ...string[]],
      load = '',
    ): Record<string, number> {
      const log = join(world.root, 'counts.json')
      const env = { NODE_OPTIONS: `${load} --require=${COUNT}`, COUNT_LOG: log, BLIND_TO: 'processes' }
      const result = wheelfix(world, [name, venv, ...options], env)
      assert.equal(result.status, 0, result.stdout + result.stderr)
      return JSON.parse(readFileSync(log, 'utf8')) as Record<string, number>
    }

    /** The calls and bytes for each object, those of less than a tenth left out. */
    function costOf(command: readonly [string, ...string[]], load = ''): Readonly<Record<string, number>> {
      const [ofFew, ofMany] = [few, many].map(venv => countsOf(venv, command, load))
      const each = Object.entries(ofMany ?? {}).map(([name, count]): [string, number] => {
        return [name, (count - (ofFew?.[name] ?? 0)) / (MANY - FEW)]
      })
      return Object.fromEntries(each.filter(([, count]) => count >= 0.1))
    }

    /** Fails where something is asked for more often than that, or anything else at all. */
    function within(cost: Readonly<Record<string, number>>, most: Readonly<Record<string, number>>): void {
      for (const [name, count] of Object.entries(cost)) {
        assert.ok(
          count <= (most[name] ?? 0),
          `${name}: ${count} for each object, not ${most[name] ?? 0}: ${JSON.stringify(cost)}`,
        )
      }
    }

    const libs = ['--libs', world.libs.gcc, '--libs', world.libs.zlib]

    test('a dry run', () => {
      within(costOf(['venv', '--dry-run', ...libs]), {
        openSync: 2,
        closeSync: 2,
        fstatSync: 2,
        readSync: 4,
        read: 28_000,
      })
    })
    const why = clones(library) ? inapplicable('the file system copies by reference, so objects are replaced') : false
    test('the first run', { skip: why }, () => {
      within(costOf(['venv', ...libs]), FIRST_RUN)
    })
    test('a run with nothing to do', () => {
      within(costOf(['venv']), { lstatSync: 1, read: 150 })
    })
    test('a run with nothing to do reads the first stage of the program, and not the whole', () => {
      const { openSync = 0, readdirSync = 0, read = 0 } = countsOf(few, ['venv'])
      // what readFileSync reads by readSync counts twice
      const whole = 2 * statSync(join(import.meta.dirname, '../../../dist/program.txt')).size
      assert.ok(read < whole, `${read} bytes are read; the whole program has ${whole}`)
      // the stage and its code cache, pyvenv.cfg, the state folder, the kept answer, the settings; and the way to site-packages
      assert.ok(openSync <= 6 && readdirSync <= 3, `${openSync} files are opened, ${readdirSync} folders are listed`)
    })
    test('why, of one object, after that run', () => {
      within(costOf(['why', 'many.m0']), { lstatSync: 1, read: 300 })
    })
    test('a restore', () => {
      // each byte is read and written once; where the file system copies by reference, it is copied and read
      const bytes = { read: SCANNED + size, written: size + 100, copied: size + 4096 }
      within(costOf(['restore']), { ...RESTORE, ...CLONED, ...bytes })
    })
    const noPlace = seesAll() ? why : inapplicable('needs root outside any container')
    test('a restore in place', { skip: noPlace }, () => {
      for (const venv of [few, many]) assert.equal(wheelfix(world, ['venv', venv, ...libs]).status, 0)
      within(costOf(['restore'], ALONE), { ...IN_PLACE, read: SCANNED + 17_000 })
    })
  })
}

function seesAll(): boolean {
  return process.getuid?.() === 0 && readlinkSync('/proc/self/ns/pid') === 'pid:[4026531836]'
}

function clones(path: string): boolean {
  try {
    copyFileSync(path, `${path}.clone`, constants.COPYFILE_FICLONE_FORCE)
    return true
  } catch {
    return false
  }
}

/** A library that needs zlib, which only the store has. */
function makeExtension(world: World): string {
  const source = join(world.root, 'm.c')
  const library = join(world.root, 'm.so')
  writeFileSync(source, 'int crc32(int); int f(void) { return crc32(1); }\n')
  runWell('gcc', ['-shared', '-fPIC', '-nostdlib', '-o', library, source, join(world.libs.zlib, 'libz.so.1')])
  return library
}
