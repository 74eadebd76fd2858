// Power lost on real file systems: while the disk catches up with a run that ended well, copies of the block device are
// taken. Whatever state a copy has, the next run (of another boot) finds every object, RECORD and wheel old or new, or puts
// it back, and completes. Only in `npm run survive`, as root, where loop devices can be mounted.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { inapplicable, missing, skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { hashFile } from '../support/tree.ts'
import { wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'
import { hasHeaders, makeTemplate, venvFiles, whatWorks } from './template.ts'

const MACHINE = join(import.meta.dirname, '../../../test/survive/machine.cjs')
const VISIBLE = join(import.meta.dirname, '../../../test/support/visible.cjs')
const DEMO_WHEEL = join(import.meta.dirname, '../../../fixtures/demo-wheel')
/** Dirty pages are written 30 s after they were made, by a thread that wakes every 5 s; the folder's changes follow. */
const WINDOW_MS = 44_000

/** Each is looked at for some seconds. */
const MOST_IMAGES = 24

/** How each is made, with its smallest usual size. */
const FILE_SYSTEMS = {
  ext4: { size: 200 << 20, make: ['mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0'] },
  'xfs without reflinks': { size: 320 << 20, make: ['mkfs.xfs', '-q', '-f', '-m', 'reflink=0'] },
  xfs: { size: 320 << 20, make: ['mkfs.xfs', '-q', '-f'] },
  btrfs: { size: 320 << 20, make: ['mkfs.btrfs', '-q', '-f'] },
}

/** What runs before the power is lost, and again after it. */
const RUNS = { patched: 'venv', restored: 'restore', 'restored in place': 'restore', loader: 'loader' } as const
type Run = keyof typeof RUNS
const NAMES = Object.keys(RUNS) as Run[]

const reason = whyNot()
const world = reason === false ? buildWorld() : reason
if (typeof world === 'string') test('images of a disk', { skip: world })
else if (!hasHeaders(world)) test('images of a disk', { skip: skip('needs the headers of Python') })
else theSuite(world)

function whyNot(): string | false {
  if (process.env['WHEELFIX_SURVIVE'] !== 'all') return inapplicable('takes some minutes: npm run survive')
  if (process.getuid?.() !== 0) return skip('only root may mount images of a disk')
  return missing('g++', 'losetup', 'mkfs.ext4', 'mkfs.xfs', 'mkfs.btrfs')
}

interface Disk {
  readonly name: string
  readonly image: string
  readonly mount: string
  readonly copies: string[]
  /** When the last image was written to. */
  taken: bigint
  done: { readonly venvs: Record<Run, Map<string, string>>; readonly wheel: string } | null
}

function theSuite(world: World): void {
  suite('images of the disk, taken after a run', () => {
    const template = makeTemplate(world)
    const original = venvFiles(template)
    const wheelName = readdirSync(DEMO_WHEEL).find(name => name.endsWith('.whl')) ?? ''
    const plainWheel = hashFile(join(DEMO_WHEEL, wheelName))
    const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
    const disks = Object.entries(FILE_SYSTEMS).map(([name, { size, make }], index): Disk => {
      const image = join(world.root, `disk${index}`)
      const mount = join(world.root, `mount${index}`)
      mkdirSync(mount)
      writeFileSync(image, '')
      truncateSync(image, size)
      const [program = '', ...args] = make
      runWell(program, [...args, image])
      runWell('mount', ['-o', 'loop', image, mount])
      return { name, image, mount, copies: [], taken: 0n, done: null }
    })
    const mounted = new Set(disks.map(({ mount }) => mount))
    after(() => {
      for (const mount of mounted) spawnSync('umount', [mount])
      world.dispose()
    })
    const fix = (args: readonly string[], env: NodeJS.ProcessEnv = {}): string => {
      const { status, stdout, stderr } = wheelfix(world, args, env)
      assert.equal(status, 0, `${args.join(' ')}: ${stdout}${stderr}`)
      return stdout + stderr
    }
    const venvCommand = (disk: Disk, name: Run) => {
      const command = RUNS[name]
      return [command, join(disk.mount, name), ...(command === 'restore' ? [] : libs)]
    }
    const wheelCommands = ({ mount }: Disk) =>
      [
        ['-o', join(mount, 'out'), join(mount, wheelName)],
        ['--in-place', join(mount, 'in-place', wheelName)],
      ].map(args => ['wheel', ...args, '--python', world.python, ...libs])
    const wheelsOf = ({ mount }: Disk) => [join(mount, 'out', wheelName), join(mount, 'in-place', wheelName)]

    for (const disk of disks) {
      for (const name of NAMES) {
        cpSync(template, join(disk.mount, name), { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
      }
      mkdirSync(join(disk.mount, 'in-place'))
      for (const folder of ['', 'in-place']) {
        copyFileSync(join(DEMO_WHEEL, wheelName), join(disk.mount, folder, wheelName))
      }
      for (const name of NAMES) if (RUNS[name] === 'restore') fix(['venv', join(disk.mount, name), ...libs])
      runWell('sync', ['-f', disk.mount])
    }

    test('images are taken', { timeout: 600_000 }, async () => {
      for (const disk of disks) {
        for (const name of NAMES) {
          fix(venvCommand(disk, name), name === 'restored in place' ? { NODE_OPTIONS: `--require ${VISIBLE}` } : {})
        }
        for (const command of wheelCommands(disk)) fix(command)
        const [out = '', inPlace = ''] = wheelsOf(disk)
        const files = (name: Run) => venvFiles(join(disk.mount, name))
        const venvs = Object.fromEntries(NAMES.map(name => [name, files(name)])) as Record<Run, Map<string, string>>
        disk.done = { venvs, wheel: hashFile(out) }
        assert.equal(hashFile(inPlace), disk.done.wheel)
        takeImage(disk)
      }
      for (const end = Date.now() + WINDOW_MS; Date.now() < end; await sleep(100))
        for (const disk of disks) takeImage(disk)
      for (const { mount } of disks) {
        runWell('umount', [mount])
        mounted.delete(mount)
      }
    })

    for (const disk of disks) {
      test(disk.name, { timeout: 1_200_000 }, t => {
        const { done } = disk
        assert.ok(done !== null && disk.copies.length > 0)
        let putBack = 0
        const env = { NODE_OPTIONS: `--require ${MACHINE}`, MACHINE_BOOT: 'second' }
        for (const [index, copy] of disk.copies.entries()) {
          runWell('mount', ['-o', 'loop', copy, disk.mount])
          mounted.add(disk.mount)
          try {
            const when = `image ${index + 1} of ${disk.copies.length}`
            for (const name of NAMES) {
              const venv = join(disk.mount, name)
              if (/put\s+back/.test(fix(venvCommand(disk, name), env))) putBack++
              assert.deepEqual(venvFiles(venv), done.venvs[name], `${name}, ${when}`)
              if (RUNS[name] === 'restore') continue
              assert.deepEqual(whatWorks(world, venv), { modules: true, tool: true }, `${name}, ${when}`)
              fix(['restore', venv], env)
              assert.deepEqual(venvFiles(venv), original, `${name} restored, ${when}`)
            }
            const [out = '', inPlace = ''] = wheelsOf(disk)
            assert.ok(!existsSync(out) || hashFile(out) === done.wheel, `the new wheel, ${when}`)
            assert.ok([plainWheel, done.wheel].includes(hashFile(inPlace)), `the wheel in place, ${when}`)
            for (const command of wheelCommands(disk)) fix(command, env)
            for (const wheel of wheelsOf(disk)) assert.equal(hashFile(wheel), done.wheel, `${wheel} again, ${when}`)
          } finally {
            runWell('umount', [disk.mount])
            mounted.delete(disk.mount)
          }
        }
        t.diagnostic(
          `${disk.name}: ${disk.copies.length} images, ${original.size} files of 4 venvs and 2 wheels each, ${putBack} venvs put back and done again, 0 lost`,
        )
      })
    }
  })
}

/** Copies the image as it is at one moment: while the copy is made nothing may be written. */
function takeImage(disk: Disk): void {
  const written = (): bigint => statSync(disk.image, { bigint: true }).mtimeNs
  const before = written()
  if (before === disk.taken || disk.copies.length >= MOST_IMAGES) return
  const copy = `${disk.image}.${disk.copies.length}`
  runWell('cp', ['--sparse=always', disk.image, copy])
  if (written() === before) {
    disk.copies.push(copy)
    disk.taken = before
  } else rmSync(copy)
}
