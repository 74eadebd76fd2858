// The import check. Imports between rooms point one way, and no file imports itself through others. Type imports count too.
// No folder has more than fifteen files.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

const root = join(import.meta.dirname, '../src')

/** The rooms from the bottom up, each with the rooms that it may import. */
const allowed = {
  elf: [],
  io: ['elf'],
  python: ['io', 'elf'],
  nix: ['io', 'elf'],
  ldso: ['io', 'elf'],
  zip: ['io', 'elf'],
  tools: ['python', 'io', 'elf'],
  config: ['io', 'elf'],
  state: ['config', 'nix', 'python', 'io', 'elf'],
  resolve: ['ldso', 'nix', 'python', 'io', 'elf'],
  patchelf: ['state', 'python', 'io', 'elf'],
  'private-loader': ['resolve', 'state', 'config', 'ldso', 'nix', 'python', 'io', 'elf'],
  environment: ['private-loader', 'resolve', 'state', 'config', 'ldso', 'nix', 'python', 'io', 'elf'],
  wheel: ['resolve', 'config', 'zip', 'ldso', 'nix', 'python', 'io', 'elf'],
  inspect: ['environment', 'private-loader', 'resolve', 'state', 'config', 'ldso', 'nix', 'python', 'io', 'elf'],
  report: ['inspect', 'environment', 'wheel', 'private-loader', 'resolve', 'ldso', 'nix', 'python', 'io', 'elf'],
  commands: [
    ...['report', 'inspect', 'environment', 'wheel', 'patchelf', 'private-loader', 'zip'],
    ...['resolve', 'state', 'config', 'tools', 'ldso', 'nix', 'python', 'io', 'elf'],
  ],
  '.': ['commands', 'report', 'inspect', 'io'],
  // the public face of the library
  'index.ts': [
    ...['environment', 'patchelf', 'private-loader', 'resolve', 'state', 'config'],
    ...['ldso', 'nix', 'python', 'io', 'elf'],
  ],
}

/** The core of the library must not read these by itself. The entry files may read them and pass them on. */
const SURROUNDINGS = /\bprocess\.(?:env|cwd)\b/
const ENTRIES = new Set(['commands', '.', 'index.ts'])

const MOST_FILES = 15

/** File → the files that it imports, relative to src. */
const imports = new Map()
const faults = []
for (const name of readdirSync(root, { recursive: true })) {
  if (!name.endsWith('.ts')) continue
  const text = readFileSync(join(root, name), 'utf8')
  const targets = [...text.matchAll(/^(?:import|export)\s[^'"]*?from\s+'(\.[^']+)'/gm)].map(([, target]) =>
    normalize(join(dirname(name), target)),
  )
  imports.set(name, targets)
  const room = roomOf(name)
  for (const target of targets) {
    if (roomOf(target) !== room && !allowed[room]?.includes(roomOf(target))) {
      faults.push(`src/${name} must not import ${target}: ${room} may import ${allowed[room]?.join(', ') ?? 'nothing'}`)
    }
  }
  if (room === 'elf' && /from '(node:)?(fs|child_process|path)/.test(text)) {
    faults.push(`src/${name} touches the file system`)
  }
}
for (const name of imports.keys()) {
  if (!ENTRIES.has(roomOf(name)) && SURROUNDINGS.test(readFileSync(join(root, name), 'utf8')))
    faults.push(`src/${name} reads process.env or process.cwd(): take them as parameters`)
}
/** Folder → how many files it has. */
const sizes = new Map()
for (const name of imports.keys()) sizes.set(dirname(name), (sizes.get(dirname(name)) ?? 0) + 1)
for (const [folder, size] of sizes) {
  if (size > MOST_FILES) faults.push(`src/${folder} has ${size} files, more than ${MOST_FILES}: give a part of it its own folder`)
}
for (const cycle of cycles()) faults.push(`these files import each other in a circle: ${cycle.join(' → ')}`)
if (faults.length > 0) {
  console.error(faults.join('\n'))
  process.exit(1)
}

function roomOf(name) {
  if (name === 'index.ts') return name
  return name.includes('/') ? name.split('/')[0] : '.'
}

/** The import circles, each once, found depth first. */
function cycles() {
  const found = []
  const done = new Set()
  const visit = (name, way) => {
    const start = way.indexOf(name)
    if (start !== -1) found.push([...way.slice(start), name])
    if (start !== -1 || done.has(name)) return
    for (const target of imports.get(name) ?? []) visit(target, [...way, name])
    done.add(name)
  }
  for (const name of imports.keys()) visit(name, [])
  return found
}
