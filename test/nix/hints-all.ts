// npm run hints -- NIXPKGS [CACHE]: every row of the hints against a checkout of nixpkgs, and against the listings of a
// binary cache (https://cache.nixos.org) where one is named.
import { resolve } from 'node:path'
import { HINTS } from '../../src/nix/hints-data.ts'
import { checkHints } from './hints-check.ts'

const [nixpkgs, cache] = process.argv.slice(2)
if (nixpkgs === undefined) {
  process.stderr.write('usage: npm run hints -- NIXPKGS [CACHE], such as ~/src/nixpkgs https://cache.nixos.org\n')
  process.exit(2)
}
const findings = await checkHints(HINTS, resolve(nixpkgs), cache ?? null)
for (const { attribute, severity, message } of findings) {
  process.stdout.write(`${severity === 'error' ? '✗' : '-'} ${attribute} ${message}\n`)
}
const errors = findings.filter(({ severity }) => severity === 'error').length
process.stdout.write(`${HINTS.length} attributes: ${errors} wrong, ${findings.length - errors} notes\n`)
process.exit(errors > 0 ? 1 : 0)
