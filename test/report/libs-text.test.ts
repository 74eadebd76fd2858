// The library set, from data: what a person reads where dozens of files were skipped.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Chalk } from 'chalk'
import type { LibraryRow, LibsReport } from '../../src/inspect/library-set.ts'
import { systemRemedy } from '../../src/nix/system-packages.ts'
import { libsLines } from '../../src/report/libs-text.ts'

const REASONS = Array.from({ length: 40 }, (_, index) => `/nix/store/${index}-libx11-1.0/lib/libX11.so.6: nobody`)

const FOUND: LibraryRow = {
  soname: 'libz.so.1',
  path: '/nix/store/zlib-1.3.1/lib/libz.so.1',
  package: 'zlib',
  version: '1.3.1',
  source: 'scan',
  inUse: true,
  hint: null,
  passedOver: REASONS,
}

const MISSING: LibraryRow = {
  ...FOUND,
  soname: 'libX11.so.6',
  path: null,
  package: null,
  version: null,
  source: null,
  hint: `in nixpkgs: libx11; skipped: ${REASONS.join('; ')}`,
  passedOver: [],
}

const WITH_NIX = { NIX_STORE_DIR: '/' }

function linesOf(verbose: boolean, env: NodeJS.ProcessEnv = WITH_NIX): string[] {
  // only these fields are shown
  const report = {
    venv: { root: '/home/you/project/.venv' },
    python: { version: '3.12.8', program: '/nix/store/python3/bin/python3.12', libc: { kind: 'glibc', dir: '/lib' } },
    rows: [FOUND, MISSING],
    warnings: [],
  } as unknown as LibsReport
  return libsLines(report, { chalk: new Chalk({ level: 0 }), verbose, env })
}

test('why files were skipped is told with --verbose only', () => {
  assert.deepEqual(linesOf(false).slice(4), [
    '✓ libz.so.1  zlib 1.3.1  found in the store  /nix/store/zlib-1.3.1/lib/libz.so.1',
    '',
    'Missing',
    '✗ libX11.so.6  in nixpkgs: libx11; some files were skipped (-v says why)',
    '',
    '1 soname found, 1 missing',
  ])
  const whole = linesOf(true).join('\n')
  assert.equal(whole.match(/libX11\.so\.6: nobody/g)?.length, 2 * REASONS.length)
})

test('where there is no Nix, no package of nixpkgs is named', () => {
  const lines = linesOf(false, { NIX_STORE_DIR: '/nonexistent', PATH: '/nonexistent' })
  assert.ok(lines.includes(`✗ libX11.so.6  ${systemRemedy(['libX11.so.6'])}`), lines.join('\n'))
})
