// npm run hints -- NIXPKGS [CACHE]: every row of the hints against a checkout of nixpkgs (its files, and what Nix makes of
// them), and against the listings of a binary cache (https://cache.nixos.org) where one is named.
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { HINTS } from '../../src/nix/hints.ts'
import { which } from '../support/requires.ts'
import { checkHints } from './hints-check.ts'
import { attributesOf, checkFiles } from './hints-files.ts'

const [nixpkgs, cache] = process.argv.slice(2)
if (nixpkgs === undefined) {
  process.stderr.write('usage: npm run hints -- NIXPKGS [CACHE], such as ~/src/nixpkgs https://cache.nixos.org\n')
  process.exit(2)
}
const folder = resolve(nixpkgs)
const files = checkFiles(attributesOf(HINTS), folder)
for (const { attribute, state, by } of files) {
  if (state !== 'confirmed') process.stdout.write(`${state === 'unknown' ? '-' : '✗'} ${attribute} ${state}: ${by}\n`)
}
const confirmed = files.filter(({ state }) => state === 'confirmed').length
const unknown = files.filter(({ state }) => state === 'unknown').length
process.stdout.write(
  `by nixpkgs' files: ${files.length} attributes, ${confirmed} confirmed, ${unknown} unknown, ${files.length - confirmed - unknown} wrong\n`,
)
let errors = files.length - confirmed - unknown
if (existsSync(join(folder, 'default.nix')) && which('nix-instantiate') !== undefined) {
  const findings = await checkHints(HINTS, folder, cache ?? null)
  for (const { attribute, severity, message } of findings) {
    process.stdout.write(`${severity === 'error' ? '✗' : '-'} ${attribute} ${message}\n`)
  }
  const wrong = findings.filter(({ severity }) => severity === 'error').length
  errors += wrong
  process.stdout.write(`by evaluation: ${HINTS.length} rows, ${wrong} wrong, ${findings.length - wrong} notes\n`)
}
process.exit(errors > 0 ? 1 : 0)
