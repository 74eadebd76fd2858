// What doctor makes of the real loader's refusals: every one is a finding, as serious as it is certain.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { refusalFindings } from '../../../src/inspect/real-loader/refusals.ts'
import type { ScannedObject } from '../../../src/resolve/objects.ts'
import { MODULE, testVenv, type TestVenv } from '../../resolve/venv.ts'
import { run, runWell } from '../../support/run.ts'
import { worldSuite } from '../../world/suite.ts'

interface Finding {
  readonly code: string
  readonly severity: string
  readonly message: string
  readonly remedy: string | null
  readonly paths: readonly string[]
}

worldSuite('what the loader refuses', ['gcc', 'ld'], world => {
  let count = 0
  const rule = (name: string, prove: (venv: TestVenv, build: Build) => void) =>
    test(name, () => {
      const venv = testVenv(world, `refuses${count++}`)
      mkdirSync(join(venv.site, 'pack'))
      const build: Build = (file, code, ...flags) => {
        const source = join(world.root, 'refused.c')
        writeFileSync(source, code)
        runWell('gcc', ['-shared', '-fPIC', '-O1', '-o', join(venv.site, 'pack', file), source, ...flags])
      }
      prove(venv, build)
      rmSync(venv.root, { recursive: true })
    })
  type Build = (file: string, code: string, ...flags: readonly string[]) => void
  const refusals = (venv: TestVenv): { status: number | null; findings: Finding[] } => {
    const { status, stdout } = venv.run('doctor', '--json', '--no-scan')
    const { findings } = JSON.parse(stdout) as { findings: Finding[] }
    assert.deepEqual(
      findings.filter(({ code }) => code === 'loader-differs'),
      [],
    )
    return { status, findings: findings.filter(({ code }) => code === 'loader-refuses') }
  }
  const BIG_TLS =
    '__thread char big[1 << 20] __attribute__((tls_model("initial-exec"))); char *use(void) { return big; }\n'

  rule(
    'no room for thread-local data: an error for a module, a warning for a library that nobody links to',
    (venv, build) => {
      build(`core${MODULE}`, BIG_TLS)
      build('libtls.so', BIG_TLS)
      const { status, findings } = refusals(venv)
      assert.equal(status, 1)
      const severityOf = (name: string) => findings.find(({ paths }) => paths[0]?.endsWith(name))?.severity
      assert.deepEqual([severityOf(`core${MODULE}`), severityOf('libtls.so')], ['error', 'warning'])
      assert.match(findings[0]?.message ?? '', /static TLS block/)
      assert.match(findings[0]?.remedy ?? '', /optional_static_tls/)
    },
  )

  rule('no room for the thread-local data of an allocator is a note: it is preloaded', (venv, build) => {
    build('libjemalloc.so', `${BIG_TLS}void *malloc(unsigned long size) { return big + size; }\n`)
    const { status, findings } = refusals(venv)
    assert.equal(status, 0)
    assert.deepEqual(
      findings.map(({ severity }) => severity),
      ['note'],
    )
  })

  const LACKING = 'extern int absent; int *use(void) { return &absent; }\n'

  rule('a symbol that nothing here defines is an error for a module', (venv, build) => {
    build(`core${MODULE}`, LACKING)
    const { status, findings } = refusals(venv)
    assert.equal(status, 1)
    assert.equal(findings[0]?.severity, 'error')
    assert.match(findings[0].message, /undefined symbol: absent$/)
  })

  rule('a symbol that another object defines is a note: the package may load that one first', (venv, build) => {
    build(`core${MODULE}`, LACKING)
    build('libabsent.so', 'int absent = 1;\n')
    const { status, findings } = refusals(venv)
    assert.equal(status, 0)
    assert.equal(findings[0]?.severity, 'note')
    assert.match(
      findings[0].message,
      /undefined symbol: absent; it loads once libabsent\.so is loaded globally \(RTLD_GLOBAL\)$/,
    )
  })

  rule(
    'an import binds functions at once, whatever the linker asked for; a library may bind them later',
    (venv, build) => {
      const later = 'int later(void); int use(void) { return later(); }\n'
      build('liblazy.so', later, '-Wl,-z,lazy')
      assert.deepEqual(refusals(venv), { status: 0, findings: [] })
      build('libnow.so', later, '-Wl,-z,now')
      assert.deepEqual(
        refusals(venv).findings.map(({ severity }) => severity),
        ['note'],
      )
      build(`core${MODULE}`, later, '-Wl,-z,lazy')
      const module = join(venv.site, 'pack', `core${MODULE}`)
      const said = run(join(venv.root, 'bin/python'), ['-c', 'import pack.core'])
      assert.match(said.stderr, /undefined symbol: later/)
      const { status, findings } = refusals(venv)
      assert.equal(status, 1)
      assert.deepEqual(
        findings.filter(({ paths }) => module.endsWith(paths[0] ?? '?')).map(({ severity }) => severity),
        ['error'],
      )
    },
  )

  rule('a module of another Python and a plugin of another program are notes', (venv, build) => {
    build('core.cpython-27m-x86_64-linux-gnu.so', LACKING)
    build('libplugin.so', LACKING)
    const { status, findings } = refusals(venv)
    assert.equal(status, 0)
    assert.deepEqual(
      findings.map(({ severity }) => severity),
      ['note', 'note'],
    )
  })

  rule('a Node add-on may lack symbols, because Node defines them; any other refusal is a finding', (venv, build) => {
    build('watcher.node', 'extern int napi_create_error; int *use(void) { return &napi_create_error; }\n')
    const code =
      'void napi_module_register(void); __attribute__((constructor)) void start(void) { napi_module_register(); }\n'
    build('older.node', code, '-Wl,-z,lazy')
    assert.deepEqual(refusals(venv), { status: 0, findings: [] })
    build('tls.node', BIG_TLS)
    assert.deepEqual(
      refusals(venv).findings.map(({ paths }) => paths[0]?.endsWith('tls.node')),
      [true],
    )
  })

  rule('a library that ends the process is a note, a module that does is a warning', (venv, build) => {
    const code = '#include <stdlib.h>\n__attribute__((constructor)) static void end(void) { abort(); }\n'
    build('libend.so', code)
    assert.deepEqual([refusals(venv).status, refusals(venv).findings[0]?.severity], [0, 'note'])
    build(`core${MODULE}`, code)
    assert.equal(refusals(venv).status, 1)
  })

  rule('a file that wheelfix calls broken and that the loader loads is a bug of wheelfix', (venv, build) => {
    build('libwhole.so', 'int one = 1;\n')
    const path = join(venv.site, 'pack/libwhole.so')
    writeFileSync(path, readFileSync(path).subarray(0, 100))
    assert.deepEqual(refusals(venv), { status: 0, findings: [] })
  })
})

test('an executable stack is refused by glibc 2.41 and later, in these words', () => {
  const object = { path: '/v/x.abi3.so', relative: 'x.abi3.so', kind: 'extension' } as ScannedObject
  const error = '/v/x.abi3.so: cannot enable executable stack as shared object requires: Invalid argument'
  const [finding] = refusalFindings([{ object, error, counts: true }], [])
  assert.equal(finding?.severity, 'error')
  assert.match(finding.message, /^the loader does not load it: cannot enable executable stack/)
  assert.match(finding.remedy ?? '', /wheelfix elf --clear-execstack \/v\/x\.abi3\.so$/)
})

test("musl's words for a symbol are understood", () => {
  const object = { path: '/v/libx.so', relative: 'libx.so', kind: 'library' } as ScannedObject
  const error = 'Error relocating /v/libx.so: Py_None: symbol not found'
  assert.equal(refusalFindings([{ object, error, counts: false }], [])[0]?.severity, 'note')
})
