import assert from 'node:assert/strict'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { MODULE, testVenv } from '../resolve/venv.ts'
import { worldSuite } from '../world/suite.ts'

/** The parts of the document that are asked for here. */
interface WhyDocument {
  readonly kind: string
  readonly objects: readonly {
    readonly path: string
    readonly loads: readonly {
      readonly path: string
      readonly change: { readonly rpath?: { readonly after: readonly string[] } } | null
      readonly needed: readonly {
        readonly soname: string
        readonly provider: string | null
        readonly how: string
        readonly because: { readonly by: string; readonly entry: string | null }
        readonly tried: readonly { readonly path: string; readonly by: string; readonly outcome: string }[]
      }[]
    }[]
  }[]
}

worldSuite('wheelfix why', ['gcc', 'ld'], world => {
  const venv = testVenv(world, 'why')
  venv.install('left', {
    [`left/core${MODULE}`]: { needed: ['libvendored-1.so', 'libstdc++.so.6'], rpath: '$ORIGIN/../left.libs' },
    [`left/other${MODULE}`]: { needed: ['libstdc++.so.6'] },
    'left.libs/libvendored-1.so': { needed: ['libgone.so.9'] },
  })
  venv.install('pure', { 'pure.py': '' })
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`, '--no-scan']
  const ask = (name: string) => {
    const { stdout } = venv.run('why', name, '--json', ...libs)
    return JSON.parse(stdout) as WhyDocument
  }

  test('a module is shown as a tree, with the entry that finds each needed', () => {
    const { status, stdout } = venv.run('why', 'left.core', ...libs)
    const lines = stdout.split('\n')
    assert.equal(status, 1)
    assert.match(lines[0] ?? '', /^left\/core\.abi3\.so {2}left$/)
    assert.match(lines[1] ?? '', /^\+ DT_RPATH .*-gcc-.*\/lib$/)
    assert.match(stdout, /^├─ libvendored-1\.so {2}left\.libs\/libvendored-1\.so$/m)
    assert.match(stdout, /^│ {4}DT_RPATH of left\/core\.abi3\.so: \$ORIGIN\/\.\.\/left\.libs$/m)
    assert.match(stdout, /^│ {2}└─ ✗ libgone\.so\.9 {2}not found$/m)
    assert.match(
      stdout,
      /1\. DT_RPATH of left\/core\.abi3\.so \$ORIGIN\/\.\.\/left\.libs {2}left\.libs\/libgone\.so\.9: no file/,
    )
    assert.match(stdout, /^└─ libstdc\+\+\.so\.6 {2}\/.*-gcc-.*\/lib\/libstdc\+\+\.so\.6$/m)
  })

  test('the document names what was tried before, in order', () => {
    const { kind, objects } = ask('left.core')
    assert.equal(kind, 'module')
    const [root, vendored] = objects[0]?.loads ?? []
    assert.deepEqual(
      root?.needed.map(({ soname, how, because }) => [soname, how, because.by]),
      [
        ['libvendored-1.so', 'found', 'DT_RPATH'],
        ['libstdc++.so.6', 'found', 'DT_RPATH'],
      ],
    )
    assert.deepEqual(
      root?.needed[1]?.tried.map(({ path, outcome }) => [path, outcome]),
      [[join(venv.site, 'left/../left.libs/libstdc++.so.6'), 'no file']],
    )
    assert.deepEqual(root?.change?.rpath?.after, ['$ORIGIN/../left.libs', world.libs.gcc])
    const [gone] = vendored?.needed ?? []
    assert.equal(gone?.how, 'missing')
    assert.equal(gone?.tried[0]?.path, join(venv.site, 'left/../left.libs/libgone.so.9'))
    assert.ok(gone?.tried.some(({ by }) => by === 'built-in'))
  })

  test('a distribution stands for all of its objects', () => {
    const { kind, objects } = ask('Left')
    assert.equal(kind, 'distribution')
    assert.equal(objects.length, 3)
  })

  test('among several objects, those that need nothing are only counted', () => {
    venv.install('mixed', { [`mixed/a${MODULE}`]: {}, [`mixed/b${MODULE}`]: { needed: ['libstdc++.so.6'] } })
    const { stdout } = venv.run('why', 'mixed', ...libs)
    assert.match(stdout, /^mixed\/b\.abi3\.so/)
    assert.match(
      stdout,
      /\n\n1 more object needs nothing but the C library \(-v shows it\)\nfiles here are not patched yet/,
    )
    assert.match(
      venv.run('why', 'mixed', '-v', ...libs).stdout,
      /^mixed\/a\.abi3\.so {2}mixed\nneeds nothing but the C library\n/,
    )
    venv.install('plain', { [`plain/a${MODULE}`]: {}, [`plain/b${MODULE}`]: {} })
    assert.equal(venv.run('why', 'plain', ...libs).stdout, '2 objects need nothing but the C library (-v shows them)\n')
    // one object is an answer of its own
    assert.match(venv.run('why', 'mixed.a', ...libs).stdout, /^mixed\/a\.abi3\.so {2}mixed\nneeds nothing/)
  })

  test('a file may be named from the folder of the venv or from site-packages', () => {
    assert.equal(ask(`left/other${MODULE}`).objects.length, 1)
    assert.equal(ask(join(venv.site, `left/other${MODULE}`)).kind, 'file')
  })

  test('a package of modules stands for everything below it', () => {
    venv.install('deep', { [`deep_package/sub/one${MODULE}`]: {}, [`deep_package/sub/two${MODULE}`]: {} })
    assert.deepEqual([ask('deep_package.sub').kind, ask('deep_package.sub').objects.length], ['module', 2])
  })

  test('a soname is shown with the objects that need it', () => {
    assert.equal(ask('libstdc++.so.6').kind, 'soname')
    const { stdout, status } = venv.run('why', 'libstdc++.so.6', ...libs)
    assert.match(
      stdout,
      /^libstdc\+\+\.so\.6\n\/.*gcc.*\/lib\/libstdc\+\+\.so\.6\n[^]*^ {2}left\/other\.abi3\.so {2}its own DT_RUNPATH: \/.*gcc/m,
    )
    // the answer describes the patched venv, and this one is not patched
    assert.match(stdout, /\nfiles here are not patched yet; [^\n]*\n→ to patch: wheelfix venv \S+\/why\n$/)
    // left/core needs it too, and lacks another library
    assert.equal(status, 1)
  })

  test('a missing soname is shown with three objects that need it, and the command that adds it', () => {
    const needed = ['libGL.so.1']
    venv.install('many', Object.fromEntries([1, 2, 3, 4, 5].map(n => [`many/m${n}${MODULE}`, { needed }])))
    const { stdout, status } = venv.run('why', 'ImportError: libGL.so.1: cannot open shared object file', ...libs)
    assert.equal(status, 1)
    assert.match(stdout, /^libGL\.so\.1\n✗ not found\n {2}many\/m1/)
    assert.equal(stdout.match(/^ {2}many\//gm)?.length, 3)
    assert.match(
      stdout,
      /\n {2}and 2 more \(-v shows them\)\nin nixpkgs: libGL\n→ to add it: wheelfix libs build libGL \/.*\n$/,
    )
    assert.equal(venv.run('why', '-v', 'libGL.so.1', ...libs).stdout.match(/^ {2}many\//gm)?.length, 5)
  })

  test('a long answer about several objects is bounded, begins with what is missing, and says how to see the rest', () => {
    const large = testVenv(world, 'large')
    const objects = Array.from({ length: 40 }, (_, index) => `large/m${10 + index}${MODULE}`)
    large.install('large', {
      ...Object.fromEntries(objects.map(path => [path, { needed: ['libstdc++.so.6'] }])),
      [`large/y${MODULE}`]: { needed: ['libbelow.so'], rpath: '$ORIGIN' },
      [`large/z${MODULE}`]: { needed: ['libstdc++.so.6', 'libgone.so.9', 'libbelow.so'], rpath: '$ORIGIN' },
      'large/libbelow.so': { needed: ['libgone.so.8'] },
    })
    assert.equal(large.run('venv', ...libs).status, 1)
    const say = (...more: string[]) =>
      large
        .run('why', 'large', ...more, ...libs)
        .stdout.trimEnd()
        .split('\n')
    const whole = say('-v')
    for (const path of objects) assert.ok(whole.some(line => line.startsWith(path)))
    const lines = say()
    assert.ok(lines.length <= 65, lines.join('\n'))
    assert.deepEqual(lines.slice(0, 10), [
      '3 of 43 objects lack something; their trees show only what leads to it',
      '',
      'large/libbelow.so  large',
      '└─ ✗ libgone.so.8  not found',
      '',
      `large/z${MODULE}  large`,
      '├─ ✗ libgone.so.9  not found',
      '└─ libbelow.so  large/libbelow.so (shown above)',
      `     DT_RPATH of large/z${MODULE}: $ORIGIN`,
      '',
    ])
    const shown = lines.filter(line => / {2}large$/.test(line)).length
    assert.match(
      lines.at(-1) ?? '',
      new RegExp(`^${43 - shown} more objects, \\d+ more lines \\(-v shows all; name one`),
    )
    // an answer about one object is whole
    assert.match(large.run('why', `large/z${MODULE}`, ...libs).stdout, /libstdc\+\+[^]*1\. DT_RPATH [^]*: no file/)

    const served = large.run('why', 'libstdc++.so.6', ...libs).stdout.split('\n')
    assert.equal(served.filter(line => line.startsWith('  large/')).length, 20)
    assert.ok(served.includes('  and 21 more (-v shows them)'), served.join('\n'))
  })

  test('a distribution without objects and an unknown name get different messages', () => {
    const pure = venv.run('why', 'pure')
    assert.deepEqual([pure.status, /has no ELF object/.test(pure.stderr)], [2, true])
    const unknown = venv.run('why', 'nonesuch')
    assert.deepEqual(
      [unknown.status, /nonesuch is not a file, distribution, module or soname/.test(unknown.stderr)],
      [2, true],
    )
  })

  test('a file of another place gets the command that patches it', () => {
    const python = join(world.root, 'uv/cpython-3.12/bin/python3.12')
    for (const path of [python, join(world.root, 'uv/tool')]) {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, '')
    }
    const said = (line: string) => venv.run('why', line, ...libs).stderr
    const line = `Could not start dynamically linked executable: ${python}`
    assert.match(said(line), /python3\.12 does not belong to .*; to patch it: wheelfix python \S+\/uv\/cpython-3\.12\n/)
    assert.match(said(join(world.root, 'uv/tool')), /to patch it: wheelfix path \S+\/uv\/tool\n/)
  })

  test('the kept answer of the last run says the same as the whole work', () => {
    const settled = testVenv(world, 'settled')
    settled.install('torch', {
      [`torch/_C${MODULE}`]: { needed: ['libtorch.so'], rpath: '$ORIGIN/lib' },
      'torch/lib/libtorch.so': { needed: ['libc10.so', 'libstdc++.so.6'] },
      'torch/lib/libc10.so': { needed: ['libgone.so.9'] },
    })
    // finds c10 in every process, but not by itself; another distribution has the next one
    settled.install('vision', { [`vision/_C${MODULE}`]: { needed: ['libc10.so', 'libz.so.1'] } }, ['torch'])
    settled.install('chain', {
      [`chain/top${MODULE}`]: { needed: ['liblow.so', 'libhigh.so'], rpath: '$ORIGIN/libs' },
      'chain/libs/libhigh.so': { needed: ['liblow.so'] },
      'chain/libs/liblow.so': {},
    })
    settled.program('tool', { needed: ['libz.so.1'] })
    settled.run('venv', ...libs)
    const state = join(settled.root, '.wheelfix/state.json')
    const names = [
      'torch',
      'vision',
      'chain',
      'chain.top',
      'torch/lib/libc10.so',
      'bin/tool',
      'libz.so.1',
      'libgone.so.9',
    ]
    const answers = (): string[] =>
      [...names, 'nonesuch'].flatMap(name => {
        const { status, stdout, stderr } = settled.run('why', name, '--json', '--no-scan')
        return [`${name}: ${status}`, stdout, stderr]
      })
    const known = answers()
    assert.deepEqual(
      ['run-time', 'inherited', 'missing', 'found'].filter(how => !known.join('').includes(`"how":"${how}"`)),
      [],
    )
    rmSync(state)
    assert.deepEqual(known, answers())
  })

  test('in a patched venv nothing is left to change', () => {
    venv.run('venv', ...libs)
    const { stdout } = venv.run('why', 'left.core', '--no-scan')
    assert.doesNotMatch(stdout, /^\s*[+-] DT_|not patched yet/m)
    assert.match(stdout, /libstdc\+\+\.so\.6 {2}\//)
    rmSync(join(venv.site, 'left.libs'), { recursive: true })
    assert.match(venv.run('why', 'left.core', '--no-scan').stdout, /^├─ ✗ libvendored-1\.so {2}not found$/m)
  })
})
