import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { fuzz, fuzzLoader } from './fuzz.ts'

test('mutated objects are read, edited, verified and restored, or give an ElfError', () => {
  const counts = fuzz(1, 8000, 2000)
  assert.ok(counts.parsed > 2000 && counts.edited > 500 && counts.rejected < counts.edited / 10, JSON.stringify(counts))
})

test('a mutated library that the real loader opens, it opens after the edit too', { skip: missing('gcc') }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-fuzz-'))
  try {
    writeFileSync(
      join(folder, 'l.c'),
      '#include <math.h>\nstatic __thread int n; double one(double x) { return sin(x) + n; }\n',
    )
    writeFileSync(
      join(folder, 'o.c'),
      '#include <dlfcn.h>\nint main(int c, char **v) { return !dlopen(v[1], RTLD_NOW); }\n',
    )
    runWell('gcc', ['-shared', '-fPIC', '-o', join(folder, 'l.so'), join(folder, 'l.c'), '-lm'])
    runWell('gcc', ['-o', join(folder, 'o'), join(folder, 'o.c')])
    const counts = fuzzLoader(7, 80, join(folder, 'l.so'), join(folder, 'o'))
    assert.ok(counts.loaded > 20, JSON.stringify(counts))
  } finally {
    rmSync(folder, { recursive: true })
  }
})
