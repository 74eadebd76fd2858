// `npm run docs`: writes the pages of docs/ that are made from the program. The tests compare these pages with the program.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generatedPages } from '../build/src/pages.js'

for (const [name, text] of generatedPages()) {
  writeFileSync(join(import.meta.dirname, '../docs', name), text)
  console.log(`docs/${name}`)
}
