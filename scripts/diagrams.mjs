// The second half of `npm run pictures`: draws the diagrams of docs/how-it-works.md from the boxes below.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const docs = join(import.meta.dirname, '../docs')
const escape = text => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

function page(width, height, title, parts) {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(title)}">
<title>${escape(title)}</title>
<style>
  text { font: 13px ui-monospace, monospace; fill: #24292f } .note { fill: #57606a } .bad { fill: #cf222e } .good { fill: #1a7f37 }
  rect { fill: #f6f8fa; stroke: #8c959f } .new { fill: #dafbe1; stroke: #1a7f37 } .old { fill: #fff; stroke: #8c959f; stroke-dasharray: 4 3 }
  path { stroke: #57606a; fill: none } .background { fill: #fff; stroke: none }
</style>
<rect class="background" width="${width}" height="${height}"/>
${parts.join('\n')}
</svg>
`
}
const text = (x, y, words, kind = '') => `<text x="${x}" y="${y}" class="${kind}">${escape(words)}</text>`
const box = (x, y, width, height, words, kind = '') =>
  `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="4" class="${kind}"/>` + text(x + 10, y + height / 2 + 5, words)
const arrow = (x1, y1, x2, y2) =>
  `<path d="M${x1} ${y1} L${x2} ${y2} m-8 -4 l8 4 l-8 4"/>`

const lookup = page(790, 330, 'How the loader looks for libstdc++.so.6, before and after', [
  text(20, 28, 'before: import numpy'),
  box(20, 42, 210, 34, '_multiarray_umath.so'),
  arrow(230, 59, 290, 59),
  text(300, 54, '1. DT_RPATH  $ORIGIN/../numpy.libs', 'note'),
  text(640, 54, 'no such file', 'bad'),
  text(300, 76, '2. ld.so.cache  (a Nix glibc has none)', 'note'),
  text(640, 76, '-', 'bad'),
  text(300, 98, "3. glibc's own lib, libgcc's lib", 'note'),
  text(640, 98, 'no such file', 'bad'),
  text(300, 126, 'ImportError: libstdc++.so.6: cannot open shared object file', 'bad'),
  text(20, 178, 'after: wheelfix venv'),
  box(20, 192, 210, 34, '_multiarray_umath.so', 'new'),
  arrow(230, 209, 290, 209),
  text(300, 204, '1. DT_RPATH  $ORIGIN/../numpy.libs', 'note'),
  text(640, 204, 'no such file', 'note'),
  text(300, 226, '2. DT_RPATH  /nix/store/…-gcc-14-lib/lib', 'good'),
  text(640, 226, 'found', 'good'),
  box(300, 244, 400, 34, '/nix/store/…-gcc-14-lib/lib/libstdc++.so.6', 'new'),
  text(20, 308, 'Old entries stay first, the kind of tag stays, and nothing is set in the environment.', 'note'),
])

const graft = page(760, 300, 'What wheelfix appends to an ELF file', [
  text(20, 28, 'the file as it came'),
  box(20, 42, 110, 36, 'ELF header'),
  box(130, 42, 130, 36, 'prog. headers'),
  box(260, 42, 180, 36, 'code, data, symbols'),
  box(440, 42, 120, 36, '.dynamic'),
  box(560, 42, 150, 36, 'section headers'),
  text(20, 128, 'after wheelfix: every old byte stays in its place, but for the 64 of the ELF header'),
  box(20, 142, 110, 36, 'ELF header', 'new'),
  box(130, 142, 130, 36, 'prog. headers', 'old'),
  box(260, 142, 180, 36, 'code, data, symbols'),
  box(440, 142, 120, 36, '.dynamic', 'old'),
  box(560, 142, 150, 36, 'section headers', 'old'),
  box(60, 206, 120, 36, 'undo note', 'new'),
  box(180, 206, 130, 36, 'new .dynamic', 'new'),
  box(310, 206, 120, 36, 'new .dynstr', 'new'),
  box(430, 206, 130, 36, 'prog. headers', 'new'),
  box(560, 206, 150, 36, 'section headers', 'new'),
  '<path d="M75 178 L75 192 L495 192 L495 202 m-4 -8 l4 8 l4 -8"/>',
  text(20, 274, 'green: written by wheelfix; dashed: no longer used, kept for restore', 'note'),
])

writeFileSync(join(docs, 'lookup.svg'), lookup)
writeFileSync(join(docs, 'graft.svg'), graft)
console.log('docs/lookup.svg\ndocs/graft.svg')
