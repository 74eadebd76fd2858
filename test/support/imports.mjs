// The import-direction check: commands → fix, wheel → loader, nix, python → io → elf; ui by commands only.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

const root = join(import.meta.dirname, '../../src')
/** What a folder may import besides itself. */
const allowed = {
  elf: [],
  io: ['elf'],
  loader: ['io', 'elf'],
  nix: ['io', 'elf'],
  python: ['io', 'elf'],
  fix: ['loader', 'nix', 'python', 'io', 'elf'],
  wheel: ['fix', 'loader', 'nix', 'python', 'io', 'elf'],
  ui: ['io'],
  commands: ['fix', 'wheel', 'loader', 'nix', 'python', 'ui', 'io', 'elf'],
  '.': ['commands', 'ui', 'io'],
}
const typesOnly = { ui: ['fix', 'wheel', 'loader', 'nix', 'python', 'elf'] }
const faults = []
for (const name of readdirSync(root, { recursive: true })) {
  if (!name.endsWith('.ts')) continue
  const folder = name.includes('/') ? name.split('/')[0] : '.'
  const text = readFileSync(join(root, name), 'utf8')
  for (const [, clause, target] of text.matchAll(/^(?:import|export)\s+([^'"]*?)from\s+'(\.[^']+)'/gm)) {
    const to = relative(root, join(dirname(join(root, name)), target))
    const toFolder = to.includes('/') ? to.split('/')[0] : '.'
    if (toFolder === folder || allowed[folder]?.includes(toFolder)) continue
    if (clause.startsWith('type ') && typesOnly[folder]?.includes(toFolder)) continue
    faults.push(`src/${name} must not import ${toFolder}/ (${target})`)
  }
  if (folder === 'elf' && /from '(node:)?(fs|child_process|path)/.test(text))
    faults.push(`src/${name} touches the file system`)
}
if (faults.length > 0) {
  console.error(faults.join('\n'))
  process.exit(1)
}
