// `npm run pictures`: draws docs/demo.svg from a real run of the demo in a terminal of 80 columns.
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const { stdout, status } = spawnSync(process.execPath, [join(root, 'build/test/world/demo.js')], {
  env: { ...process.env, FORCE_COLOR: '1', COLUMNS: '80', NODE_EXTRA_CA_CERTS: '' },
  encoding: 'utf8',
})
if (status !== 0) throw new Error(`the demo ended with ${status}`)

// the system of the demo is in a folder that is made for the run
const world = /in (\/\S+): Python/.exec(stdout)?.[1] ?? ''
const lines = stdout
  .trimEnd()
  .split('\n')
  .slice(1)
  .map(line => line.replaceAll(`${world}/nix/store`, '/nix/store').replaceAll(world, '/home/you/project'))

const COLOURS = { 31: '#ff7b72', 32: '#7ee787', 33: '#e3b341', 36: '#79c0ff' }
const WIDTH = 8.2
const HEIGHT = 19

const escape = text => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

/** The parts of a line with their colours (SGR). */
function spans(line) {
  let colour = ''
  let weight = ''
  let shade = ''
  return line
    .split(/\x1b\[([\d;]*)m/)
    .map((part, index) => {
      if (index % 2 === 0) {
        return part === '' ? '' : `<tspan${colour}${weight}${shade}>${escape(part)}</tspan>`
      }
      for (const code of part.split(';').map(Number)) {
        if (COLOURS[code] !== undefined) colour = ` fill="${COLOURS[code]}"`
        else if (code === 39) colour = ''
        else if (code === 1) weight = ' font-weight="bold"'
        else if (code === 2) shade = ' opacity="0.6"'
        else if (code === 22) weight = shade = ''
        else if (code === 0) colour = weight = shade = ''
      }
      return ''
    })
    .join('')
}

const plain = line => line.replaceAll(/\x1b\[[\d;]*m/g, '')
const width = Math.ceil(Math.max(80, ...lines.map(line => plain(line).length)) * WIDTH) + 32
const height = lines.length * HEIGHT + 56
writeFileSync(
  join(root, 'docs/demo.svg'),
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="A terminal: the import fails, wheelfix venv runs, the import works">
<rect width="${width}" height="${height}" rx="8" fill="#0d1117"/>
<circle cx="20" cy="18" r="6" fill="#ff5f57"/><circle cx="40" cy="18" r="6" fill="#febc2e"/><circle cx="60" cy="18" r="6" fill="#28c840"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, monospace" font-size="13.6" fill="#e6edf3" xml:space="preserve">
${lines.map((line, index) => `<text x="16" y="${index * HEIGHT + 52}">${spans(line)}</text>`).join('\n')}
</g>
</svg>
`,
)
console.log('docs/demo.svg')
