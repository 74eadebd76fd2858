// The plan's rules, each on a venv made for it: what is added to which object, and what is said of what cannot be settled.
import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { suite, test } from 'node:test'
import { VER_FLG_WEAK } from '../../src/elf/constants.ts'
import { runWell } from '../support/run.ts'
import { judgeLibraries } from '../world/oracle.ts'
import type { Report } from '../world/report.ts'
import { writeNoted } from './noted.ts'
import { MODULE, testVenv, type TestVenv } from './venv.ts'
import { worldSuite } from '../world/suite.ts'

interface Document {
  readonly conflicts: Report['conflicts']
  readonly libs: readonly { readonly soname: string; readonly path: string }[]
  readonly objects: readonly {
    readonly path: string
    readonly needed: readonly { readonly soname: string; readonly provider: string | null; readonly because: string }[]
    readonly change: { readonly rpath?: { readonly tag: string; readonly after: readonly string[] } } | null
    readonly missing: readonly string[]
  }[]
  readonly missing: readonly { readonly soname: string; readonly optional: boolean; readonly hint: string | null }[]
}

worldSuite('the plan', ['gcc', 'ld'], world => {
  const { gcc, zlib } = world.libs

  /** A library set's folder in the store, with these libraries. */
  const storeLibraries = (name: string, files: Readonly<Record<string, (path: string) => void>>): string => {
    const folder = join(world.store, `${'0'.repeat(32)}-${name}`, 'lib')
    mkdirSync(folder, { recursive: true })
    for (const [file, make] of Object.entries(files)) make(join(folder, file))
    return folder
  }
  const plan = (venv: TestVenv, libs: readonly string[] = [gcc, zlib]): { document: Document; warnings: string } => {
    const { stdout, stderr } = venv.run('venv', '--dry-run', '--json', '--no-scan', '--libs', libs.join(':'))
    return { document: JSON.parse(stdout) as Document, warnings: stderr }
  }
  const objectOf = ({ objects }: Document, end: string) => {
    const object = objects.find(({ path }) => path.endsWith(end))
    assert.ok(object, `${end} among ${objects.map(({ path }) => path).join(' ')}`)
    return object
  }

  let count = 0
  /** A venv for a rule. */
  const rule = (name: string, prove: (venv: TestVenv) => void) =>
    test(name, () => {
      const venv = testVenv(world, `plan${count++}`)
      prove(venv)
      rmSync(venv.root, { recursive: true })
    })

  rule('an object gets only the directories that it needs, the most used one first', venv => {
    const both = storeLibraries('both', { 'libone.so.1': copyOf(venv), 'libtwo.so.1': copyOf(venv) })
    venv.install('a', {
      [`a/cxx${MODULE}`]: { needed: ['libstdc++.so.6'] },
      [`a/all${MODULE}`]: { needed: ['libstdc++.so.6', 'libone.so.1', 'libtwo.so.1'] },
      [`a/none${MODULE}`]: { needed: ['libc.so.6'] },
    })
    const { document } = plan(venv, [gcc, zlib, both])
    assert.deepEqual(objectOf(document, `a/cxx${MODULE}`).change?.rpath, {
      tag: 'DT_RUNPATH',
      before: [],
      after: [gcc],
    })
    assert.deepEqual(objectOf(document, `a/all${MODULE}`).change?.rpath?.after, [both, gcc])
    assert.equal(objectOf(document, `a/none${MODULE}`).change, null)
  })

  rule('the kind of tag stays, and old entries come first and in order', venv => {
    venv.install('a', {
      [`a/old${MODULE}`]: { needed: ['libstdc++.so.6'], rpath: '$ORIGIN/x:/y' },
      [`a/new${MODULE}`]: { needed: ['libstdc++.so.6'], runpath: '$ORIGIN/x:/y' },
    })
    const { document } = plan(venv)
    const after = ['$ORIGIN/x', '/y', gcc]
    assert.deepEqual(objectOf(document, `a/old${MODULE}`).change?.rpath, {
      tag: 'DT_RPATH',
      before: ['$ORIGIN/x', '/y'],
      after,
    })
    assert.deepEqual(objectOf(document, `a/new${MODULE}`).change?.rpath, {
      tag: 'DT_RUNPATH',
      before: ['$ORIGIN/x', '/y'],
      after,
    })
  })

  rule('a new tag is DT_RPATH where the object inherits one, which DT_RUNPATH would cut off', venv => {
    venv.install('a', {
      [`a/core${MODULE}`]: { needed: ['libmid.so'], rpath: '$ORIGIN/../a.libs' },
      'a.libs/libmid.so': { needed: ['libleaf.so', 'libstdc++.so.6'] },
      'a.libs/libleaf.so': {},
    })
    const { document } = plan(venv)
    const mid = objectOf(document, 'a.libs/libmid.so')
    // the inherited folder comes first, as it did before
    assert.deepEqual([mid.change?.rpath?.tag, mid.change?.rpath?.after], ['DT_RPATH', ['$ORIGIN', gcc]])
    assert.match(mid.needed[0]?.because ?? '', /^DT_RPATH of .*a\.libs\/libmid\.so: \$ORIGIN$/)
  })

  rule('a folder of the store hides no library that a bundled one inherits', venv => {
    venv.install('a', {
      [`a/core${MODULE}`]: { needed: ['libmid.so'], rpath: '$ORIGIN/../a.libs' },
      'a.libs/libmid.so': { needed: ['libstdc++.so.6', 'libgomp.so.1'] },
      'a.libs/libgomp.so.1': {},
    })
    assert.ok(existsSync(join(gcc, 'libgomp.so.1')))
    venv.run('venv', '--quiet', '--no-scan', '--libs', gcc)
    const middle = join(venv.site, 'a.libs/libmid.so')
    const [verdict] = judgeLibraries(join(venv.root, 'bin/python'), [join(venv.site, `a/core${MODULE}`)], world.env)
    assert.deepEqual(Object.fromEntries(verdict?.providers.get(middle) ?? []), {
      'libstdc++.so.6': join(gcc, 'libstdc++.so.6'),
      'libgomp.so.1': join(venv.site, 'a.libs/libgomp.so.1'),
    })
  })

  rule('what a vendored library finds through its loaders is left alone', venv => {
    venv.install('a', {
      [`a/core${MODULE}`]: { needed: ['libmid.so'], rpath: '$ORIGIN/../a.libs' },
      'a.libs/libmid.so': { needed: ['libleaf.so'] },
      'a.libs/libleaf.so': {},
    })
    const { document } = plan(venv)
    assert.equal(objectOf(document, 'libmid.so').change, null)
    assert.deepEqual(document.missing, [])
  })

  rule('a library of the same distribution is found relative to the object', venv => {
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libown.so'] }, 'a/deep/lib/libown.so': {} })
    assert.deepEqual(objectOf(plan(venv).document, `a/core${MODULE}`).change?.rpath?.after, ['$ORIGIN/deep/lib'])
  })

  rule('a library of the right name in another distribution does not serve', venv => {
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libshared.so'] } })
    venv.install('b', { 'b/libshared.so': {}, [`b/core${MODULE}`]: {} })
    const { document } = plan(venv)
    assert.equal(objectOf(document, `a/core${MODULE}`).change, null)
    assert.deepEqual(
      document.missing.map(({ soname }) => soname),
      ['libshared.so'],
    )
  })

  rule('no added entry leads into another distribution with modules, so each can be removed alone', venv => {
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libown.so', 'libstdc++.so.6'] }, 'a.libs/libown.so': {} })
    venv.install('b', { [`b/core${MODULE}`]: { needed: ['libown.so'] }, 'b.libs/libown.so': {} })
    venv.run('venv', '--quiet', '--no-scan', '--libs', gcc)
    for (const folder of ['b', 'b.libs', 'b-1.0.dist-info']) rmSync(join(venv.site, folder), { recursive: true })
    const { document } = plan(venv)
    assert.deepEqual(document.missing, [])
    assert.equal(objectOf(document, `a/core${MODULE}`).change, null)
  })

  rule('a library of a distribution that is required is provided at run time', venv => {
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libshared.so'] } }, ['b'])
    venv.install('b', { 'b/libshared.so': {} })
    const { document } = plan(venv)
    assert.deepEqual(document.missing, [])
    assert.match(
      objectOf(document, `a/core${MODULE}`).needed[0]?.because ?? '',
      /Python loads it first, from this distribution or one that it requires/,
    )
  })

  rule('the report names a needed that depends on the order of loading', venv => {
    venv.install('a', {
      [`a/one${MODULE}`]: { needed: ['libmid.so'], rpath: '$ORIGIN/lib:$ORIGIN/left' },
      [`a/two${MODULE}`]: { needed: ['libmid.so'], rpath: '$ORIGIN/lib:$ORIGIN/right' },
      'a/lib/libmid.so': { needed: ['libside.so'] },
      'a/left/libside.so': {},
      'a/right/libside.so': { link: ['-z', 'now'] },
    })
    const { document, warnings } = plan(venv)
    assert.match(
      warnings,
      /libmid\.so gets libside\.so from .*left\/libside\.so or .*right\/libside\.so, whichever is loaded first/,
    )
    const [conflict] = document.conflicts
    const middle = objectOf(document, 'a/lib/libmid.so')
    const files = ['left', 'right'].map(side => join(venv.site, `a/${side}/libside.so`))
    assert.deepEqual(
      { ...conflict, message: '' },
      { kind: 'order-dependent', objects: [middle.path], sonames: ['libside.so'], providers: files, message: '' },
    )
    assert.ok(warnings.includes(conflict?.message ?? 'none'))
    // what the report names as the provider comes first
    assert.equal(middle.needed.find(({ soname }) => soname === 'libside.so')?.provider, files[0])
  })

  rule('the provider of a bundled library is what the modules that bring it in have loaded', venv => {
    venv.install('a', {
      [`a/one${MODULE}`]: { needed: ['libside.so', 'libmid.so'], runpath: '$ORIGIN/lib:$ORIGIN/first' },
      'a/lib/libmid.so': { needed: ['libside.so'], runpath: '$ORIGIN/../alone' },
      'a/first/libside.so': {},
      'a/alone/libside.so': { link: ['-z', 'now'] },
    })
    const { document, warnings } = plan(venv)
    const [needed] = objectOf(document, 'a/lib/libmid.so').needed
    assert.equal(needed?.provider, join(venv.site, 'a/first/libside.so'))
    assert.equal(needed?.because, 'already loaded under this name')
    assert.doesNotMatch(warnings, /whichever is loaded first/)
  })

  rule('the report names a soname that two distributions bring', venv => {
    for (const name of ['left', 'right']) {
      venv.install(name, {
        [`${name}/core${MODULE}`]: { needed: ['libQt6Core.so.6'], runpath: '$ORIGIN' },
        [`${name}/libQt6Core.so.6`]: {},
      })
    }
    const { document, warnings } = plan(venv)
    assert.match(warnings, /left and right each bring libQt6Core\.so\.6/)
    const files = ['left', 'right'].map(side => join(venv.site, `${side}/libQt6Core.so.6`))
    assert.deepEqual(
      document.conflicts.map(({ kind, sonames, providers }) => ({ kind, sonames, providers })),
      [{ kind: 'brought-twice', sonames: ['libQt6Core.so.6'], providers: files }],
    )
  })

  rule('what a module, a program of bin or a library that is opened at import misses counts', venv => {
    venv.install('a', {
      [`a/core${MODULE}`]: { needed: ['libmid.so'], runpath: '$ORIGIN' },
      'a/libmid.so': { needed: ['liblinked.so.1'] },
      'a/plugins/libplugin.so': { needed: ['libplugged.so.1'] },
      'xgboost/lib/libxgboost.so': { needed: ['libopened.so.1'] },
    })
    venv.program('tool', { needed: ['libtool.so.1'] })
    assert.deepEqual(
      plan(venv).document.missing.map(({ soname, optional }) => [soname, optional]),
      [
        ['liblinked.so.1', false],
        ['libopened.so.1', false],
        ['libplugged.so.1', true],
        ['libtool.so.1', false],
      ],
    )
  })

  rule('a directory that holds the libraries of another C library is never added', venv => {
    const farm = storeLibraries('farm', {
      'libextra.so.1': copyOf(venv),
      'libresolv.so.2': path => copyFileSync(join(world.libs.glibc, 'libresolv.so.2'), path),
    })
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libextra.so.1', 'libresolv.so.2'] } })
    const { document, warnings } = plan(venv, [farm])
    assert.equal(objectOf(document, `a/core${MODULE}`).change, null)
    assert.match(objectOf(document, `a/core${MODULE}`).needed[1]?.because ?? '', /built-in directory/)
    assert.deepEqual(
      document.missing.map(({ soname }) => soname),
      ['libextra.so.1'],
    )
    assert.match(warnings + (document.missing[0]?.hint ?? ''), /farm/)
  })

  suite('versions', () => {
    /** A library that defines symbol versions, and one that needs them. */
    const versioned = (path: string, soname: string, versions: readonly string[]): void => {
      const script = join(world.root, 'versions.map')
      const source = join(world.root, 'versions.c')
      writeFileSync(script, versions.map((name, index) => `${name} { global: f${index}; };`).join('\n'))
      writeFileSync(source, versions.map((_, index) => `int f${index}(void) { return 0; }`).join('\n'))
      runWell('gcc', [
        '-shared',
        '-fpic',
        '-nostdlib',
        `-Wl,-soname,${soname},--version-script,${script}`,
        '-o',
        path,
        source,
      ])
    }
    /** A module that calls a function of each version. */
    const user = (path: string, library: string, count: number): void => {
      const source = join(world.root, 'user.c')
      const names = Array.from({ length: count }, (_, index) => `f${index}`)
      const declared = names.map(name => `extern int ${name}(void);`).join('\n')
      writeFileSync(source, `${declared}\nint use(void) { return ${names.map(name => `${name}()`).join(' + ')}; }`)
      mkdirSync(dirname(path), { recursive: true })
      runWell('gcc', ['-shared', '-fpic', '-nostdlib', '-Wl,--no-as-needed', '-o', path, source, library])
    }
    /** Sets VER_FLG_WEAK of a version that the file needs: the hash of its name, then the flags. */
    const makeWeak = (path: string, version: string): void => {
      const hash = [...Buffer.from(version)].reduce((sum, byte) => (sum << 4) + byte, 0)
      const bytes = readFileSync(path)
      const entry = Buffer.alloc(6)
      entry.writeUInt32LE(hash)
      bytes.writeUInt16LE(VER_FLG_WEAK, bytes.indexOf(entry) + 4)
      writeFileSync(path, bytes)
    }

    rule('a provider that lacks a version is passed over for the next one', venv => {
      const old = storeLibraries('old', { 'libv.so.1': path => versioned(path, 'libv.so.1', ['V_1']) })
      const fresh = storeLibraries('fresh', { 'libv.so.1': path => versioned(path, 'libv.so.1', ['V_1', 'V_2']) })
      venv.install('a', { 'a/x.txt': '' })
      user(join(venv.site, `a/core${MODULE}`), join(fresh, 'libv.so.1'), 2)
      const { document } = plan(venv, [old, fresh])
      assert.deepEqual(objectOf(document, `a/core${MODULE}`).change?.rpath?.after, [fresh])
    })

    rule('where no provider has the version, the message names the newest wanted one and what was found', venv => {
      const old = storeLibraries('old2', { 'libv.so.1': path => versioned(path, 'libv.so.1', ['V_1']) })
      const scratch = join(world.root, 'libv.so.1')
      versioned(scratch, 'libv.so.1', ['V_1', 'V_9', 'V_10'])
      venv.install('a', { 'a/x.txt': '' })
      user(join(venv.site, `a/core${MODULE}`), scratch, 3)
      const { document } = plan(venv, [old])
      assert.match(document.missing[0]?.hint ?? '', /V_10/)
    })

    rule('a missing weak version does not matter', venv => {
      const old = storeLibraries('old3', { 'libv.so.1': path => versioned(path, 'libv.so.1', ['V_1']) })
      const scratch = join(world.root, 'libv.so.1')
      versioned(scratch, 'libv.so.1', ['V_1', 'V_2'])
      venv.install('a', { 'a/x.txt': '' })
      const file = join(venv.site, `a/core${MODULE}`)
      user(file, scratch, 2)
      makeWeak(file, 'V_2')
      const { document } = plan(venv, [old])
      assert.deepEqual(document.missing, [])
      assert.deepEqual(objectOf(document, `a/core${MODULE}`).change?.rpath?.after, [old])
    })

    rule('the message says when a wheel is too new for this glibc', venv => {
      const scratch = join(world.root, 'libc.so.6')
      versioned(scratch, 'libc.so.6', ['GLIBC_2.99'])
      venv.install('a', { 'a/x.txt': '' })
      user(join(venv.site, `a/core${MODULE}`), scratch, 1)
      const hint = () => plan(venv).document.missing[0]?.hint ?? ''
      assert.match(hint(), /^GLIBC_2\.99 is needed \(a manylinux_2_99 wheel\), but this Python has glibc 2\.\d+/)
      writeFileSync(join(venv.site, 'a-1.0.dist-info/WHEEL'), 'Tag: cp311-cp311-manylinux_2_98_x86_64\n')
      rmSync(join(venv.site, 'a/x.txt'))
      writeFileSync(
        join(venv.site, 'a-1.0.dist-info/RECORD'),
        ['a/core.abi3.so,,', 'a-1.0.dist-info/METADATA,,', 'a-1.0.dist-info/WHEEL,,', ''].join('\n'),
      )
      assert.match(hint(), /\(a manylinux_2_99 wheel; a is tagged manylinux_2_98\)/)
    })

    rule('where an entry of the object comes first and is too old, nothing is added in vain', venv => {
      const fresh = storeLibraries('fresh2', { 'libv.so.1': path => versioned(path, 'libv.so.1', ['V_1', 'V_2']) })
      venv.install('a', { 'a/x.txt': '' })
      user(join(venv.site, 'a/libuser.so'), join(fresh, 'libv.so.1'), 2)
      versioned(join(venv.site, 'a/libv.so.1'), 'libv.so.1', ['V_1'])
      venv.install('b', { [`b/core${MODULE}`]: { needed: ['libuser.so'], rpath: '$ORIGIN/../a' } })
      venv.install('c', { 'c/x.txt': '' })
      const source = join(world.root, 'first.c')
      writeFileSync(source, 'extern int f1(void); int use(void) { return f1(); }')
      mkdirSync(join(venv.site, 'c'), { recursive: true })
      runWell('gcc', [
        '-shared',
        '-fpic',
        '-nostdlib',
        '-Wl,-rpath,$ORIGIN/../a',
        '-o',
        join(venv.site, `c/core${MODULE}`),
        source,
        join(fresh, 'libv.so.1'),
      ])
      const object = objectOf(plan(venv, [fresh]).document, `c/core${MODULE}`)
      assert.deepEqual([object.change, object.missing], [null, ['libv.so.1']])
    })
  })

  rule('a library that an object declares to open by name is served too, unless it is only suggested', venv => {
    const set = storeLibraries('named', { 'libone.so.1': copyOf(venv), 'libtwo.so.1': copyOf(venv) })
    venv.install('a', { 'a/x.txt': '' })
    const features = [
      { feature: 'one', priority: 'recommended', soname: ['libnone.so.1', 'libone.so.1'] },
      { feature: 'two', priority: 'suggested', soname: ['libtwo.so.1'] },
    ]
    writeNoted(join(venv.site, 'a/libnoted.so'), features)
    const { document } = plan(venv, [set])
    assert.deepEqual(objectOf(document, 'a/libnoted.so').change?.rpath?.after, [set])
    writeNoted(join(venv.site, 'a/libnoted.so'), features.slice(1))
    assert.equal(objectOf(plan(venv, [set]).document, 'a/libnoted.so').change, null)
  })

  rule('the message names a musllinux wheel in a glibc Python', venv => {
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libc.musl-x86_64.so.1'] } })
    assert.match(plan(venv).document.missing[0]?.hint ?? '', /^this is a musllinux wheel, but this Python uses glibc/)
  })

  rule('the same venv gives the same plan again after it was patched', venv => {
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libz.so.1', 'libstdc++.so.6'], rpath: '$ORIGIN/x' } })
    const before = plan(venv).document.objects.map(({ needed }) => needed)
    venv.run('venv', '--quiet', '--no-scan', '--libs', `${gcc}:${zlib}`)
    const { document } = plan(venv)
    assert.deepEqual(
      document.objects.map(({ needed }) => needed),
      before,
    )
    assert.ok(document.objects.every(({ change }) => change === null))
  })

  /** Makes a file by copying a small object without needs. */
  function copyOf(venv: TestVenv): (path: string) => void {
    const empty = join(venv.root, 'empty.so')
    return path => {
      if (!existsSync(empty)) {
        venv.install('scratch', { 'scratch/empty.so': { soname: null } })
        copyFileSync(join(venv.site, 'scratch/empty.so'), empty)
        for (const folder of ['scratch', 'scratch-1.0.dist-info']) rmSync(join(venv.site, folder), { recursive: true })
      }
      copyFileSync(empty, path)
    }
  }
})
