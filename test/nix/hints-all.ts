// npm run hints -- NIXPKGS [--commit COMMIT] [CACHE]: every row of the hints against nixpkgs' files (a checkout, a part of one,
// or a bare Git directory), against what Nix makes of them, and against the listings of a binary cache
// (https://cache.nixos.org) where one is named.
import { parseArgs } from 'node:util'
import { HINTS } from '../../src/nix/hints.ts'
import { which } from '../support/requires.ts'
import { checkHints } from './hints-check.ts'
import { attributesOf, checkFiles, type FileFinding } from './hints-files.ts'
import { openNixpkgs } from './nixpkgs-tree.ts'

const { values, positionals } = parseArgs({ options: { commit: { type: 'string' } }, allowPositionals: true })
const [path, cache] = positionals
if (path === undefined) {
  process.stderr.write(
    'usage: npm run hints -- NIXPKGS [--commit COMMIT] [CACHE], such as ~/src/nixpkgs https://cache.nixos.org\n' +
      'NIXPKGS is a checkout, or a Git directory: git clone --bare --depth 1 --filter=blob:none --branch nixos-26.05 URL\n',
  )
  process.exit(2)
}
const say = (line: string) => process.stdout.write(`${line}\n`)
const nixpkgs = openNixpkgs(path, values.commit)
const files = checkFiles(attributesOf(HINTS), nixpkgs)
for (const { attribute, state, by } of files) {
  if (state !== 'confirmed') say(`${state === 'unknown' ? '-' : '✗'} ${attribute} ${state}: ${by}`)
}
const count = (...states: FileFinding['state'][]) => files.filter(({ state }) => states.includes(state)).length
let errors = count('renamed', 'removed', 'absent')
say(
  `${nixpkgs.name}: ${files.length} attributes, ${count('confirmed')} confirmed, ${count('unknown')} unknown, ${errors} wrong`,
)
if (nixpkgs.folder === null || which('nix-instantiate') === undefined) {
  say(`not evaluated: ${nixpkgs.folder === null ? `${path} is not a whole checkout` : 'nix-instantiate is not there'}`)
} else {
  const findings = await checkHints(HINTS, nixpkgs.folder, cache ?? null)
  for (const { attribute, severity, message } of findings) {
    say(`${severity === 'error' ? '✗' : '-'} ${attribute} ${message}`)
  }
  const wrong = findings.filter(({ severity }) => severity === 'error').length
  errors += wrong
  say(`evaluated: ${HINTS.length} rows, ${wrong} wrong, ${findings.length - wrong} notes`)
}
process.exit(errors > 0 ? 1 : 0)
