// `npm run bench:growth`: the cost of the first run and of a run with nothing to do, by the number of objects. Prints a table
// and draws a picture (SVG).
//   npm run bench:growth -- [--objects N,N…] [--svg FILE]
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runWell } from '../test/support/run.ts'
import { makeVenv, sitePackages, WHEELFIX } from '../test/world/venv.ts'
import { buildWorld, type World } from '../test/world/world.ts'
import { measure, type Measure } from './measure.ts'
import { mega, printTable, processorTime, whole } from './table.ts'

interface Point {
  readonly objects: number
  readonly first: Measure
  readonly again: Measure
}

/** The number of objects in one folder, as in the largest distributions. */
const IN_A_FOLDER = 100

/** An environment with `objects` copies of a library that needs zlib, which only the store has. */
function generate(world: World, library: string, objects: number): string {
  const venv = makeVenv(world, `with-${objects}`)
  const site = sitePackages(world, venv)
  const info = join(site, 'many-1.0.dist-info')
  mkdirSync(info)
  const rows = Array.from({ length: objects }, (_, index) => {
    const folder = `many${Math.floor(index / IN_A_FOLDER)}`
    const name = `${folder}/m${index}.abi3.so`
    mkdirSync(join(site, folder), { recursive: true })
    copyFileSync(library, join(site, name))
    return `${name},,\n`
  })
  writeFileSync(join(info, 'METADATA'), 'Metadata-Version: 2.1\nName: many\nVersion: 1.0\n')
  writeFileSync(join(info, 'RECORD'), rows.join(''))
  return venv
}

function pointOf(world: World, library: string, objects: number): Point {
  const venv = generate(world, library, objects)
  const libs = ['--libs', world.libs.gcc, '--libs', world.libs.zlib]
  const command = [process.execPath, WHEELFIX, 'venv', venv, ...libs]
  const run = () => measure(world.host.python.executable, command, world.env)
  const point = { objects, first: run(), again: run() }
  rmSync(venv, { recursive: true })
  return point
}

const WIDTH = 640
const HEIGHT = 360
const MARGIN = 60

/** Both axes begin at 0 and are linear: a straight line means that the cost is proportional to the number of objects. */
function picture(points: readonly Point[]): string {
  const most = Math.max(...points.map(({ objects }) => objects))
  const curves = [
    {
      name: 'first run, processor time',
      unit: 's',
      colour: '#1f6feb',
      of: ({ first }: Point) => first.processorSeconds,
    },
    {
      name: 'nothing to do, processor time',
      unit: 's',
      colour: '#2da44e',
      of: ({ again }: Point) => again.processorSeconds,
    },
    { name: 'first run, memory', unit: 'MB', colour: '#bc4c00', of: ({ first }: Point) => first.peakBytes / 1e6 },
  ]
  const x = (objects: number): number => MARGIN + (objects / most) * (WIDTH - 2 * MARGIN)
  const lines = curves.map(({ name, unit, colour, of }, index) => {
    const top = Math.max(...points.map(of))
    const y = (value: number): number => HEIGHT - MARGIN - (value / top) * (HEIGHT - 2 * MARGIN)
    const path = points.map(point => `${x(point.objects).toFixed(1)},${y(of(point)).toFixed(1)}`).join(' ')
    return (
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>\n` +
      `<text x="${MARGIN + 8}" y="${20 + 16 * index}" fill="${colour}">${name}: up to ${top.toFixed(unit === 's' ? 2 : 0)} ${unit}</text>`
    )
  })
  const bottom = HEIGHT - MARGIN
  const marks = points.map(
    ({ objects }) =>
      `<text x="${x(objects).toFixed(1)}" y="${bottom + 18}" text-anchor="middle">${whole(objects)}</text>`,
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    `<path d="M${MARGIN} ${MARGIN}V${bottom}H${WIDTH - MARGIN}" fill="none" stroke="#57606a"/>`,
    ...marks.slice(-4),
    `<text x="${WIDTH / 2}" y="${HEIGHT - 12}" text-anchor="middle">objects; each curve has its own scale, from 0</text>`,
    ...lines,
    '</svg>\n',
  ].join('\n')
}

const { values } = parseArgs({
  options: {
    objects: { type: 'string', default: '100,1000,3000,10000,30000' },
    svg: { type: 'string' },
  },
})
const world = buildWorld()
if (typeof world === 'string') throw new Error(world)
try {
  const source = join(world.root, 'm.c')
  const library = join(world.root, 'm.so')
  writeFileSync(source, 'int crc32(int); int f(void) { return crc32(1); }\n')
  runWell('gcc', ['-shared', '-fPIC', '-nostdlib', '-o', library, source, join(world.libs.zlib, 'libz.so.1')])
  const points = values.objects.split(',').map(objects => pointOf(world, library, Number(objects)))
  printTable(
    ['objects', 'first run', 'for each object', 'memory', 'nothing to do', 'memory'],
    points.map(({ objects, first, again }) => [
      whole(objects),
      processorTime(first),
      `${whole((first.processorSeconds * 1e6) / objects)} µs`,
      mega(first.peakBytes),
      processorTime(again),
      mega(again.peakBytes),
    ]),
  )
  if (values.svg !== undefined) writeFileSync(values.svg, picture(points))
} finally {
  world.dispose()
}
