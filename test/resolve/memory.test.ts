// The rules of the resolution and of the plan on objects in memory: one rule a test, no compiler, no process.
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { EM_AARCH64 } from '../../src/elf/constants.ts'
import { inheritedDirectories } from '../../src/ldso/directories.ts'
import { elf, GLIBC, type MemoryWorld, planOf, pythonOn, SITE, treeOf } from './memory.ts'

const X = '/nix/store/x/lib'
const Y = '/nix/store/y/lib'

suite('the order of the directories that are added', () => {
  test('the one that serves more comes first', () => {
    const { of } = planOf({
      objects: { 'a/m.abi3.so': { needed: ['libone.so', 'libtwo.so', 'libthree.so'] } },
      files: { [`${Y}/libone.so`]: {}, [`${X}/libtwo.so`]: {}, [`${X}/libthree.so`]: {} },
      set: { 'libone.so': `${Y}/libone.so`, 'libtwo.so': `${X}/libtwo.so`, 'libthree.so': `${X}/libthree.so` },
    })
    assert.deepEqual(of('a/m.abi3.so').change?.rpath?.after, [X, Y])
  })

  test('but none comes before the one that a soname must be taken from', () => {
    const { of, plan } = planOf({
      objects: { 'a/m.abi3.so': { needed: ['libone.so', 'libtwo.so', 'libthree.so'] } },
      files: {
        [`${Y}/libone.so`]: {},
        [`${X}/libone.so`]: {},
        [`${X}/libtwo.so`]: {},
        [`${X}/libthree.so`]: {},
      },
      set: { 'libone.so': `${Y}/libone.so`, 'libtwo.so': `${X}/libtwo.so`, 'libthree.so': `${X}/libthree.so` },
    })
    assert.deepEqual(of('a/m.abi3.so').change?.rpath?.after, [Y, X])
    assert.equal(of('a/m.abi3.so').needed[0]?.provider, `${Y}/libone.so`)
    assert.deepEqual(plan.conflicts, [])
  })

  test('also where several directories hold what others must serve', () => {
    const Z = '/nix/store/z/lib'
    const { of } = planOf({
      objects: { 'a/m.abi3.so': { needed: ['liba.so', 'libb.so', 'libc1.so', 'libc2.so', 'libc3.so'] } },
      files: {
        [`${X}/liba.so`]: {},
        [`${Y}/liba.so`]: {},
        [`${Y}/libb.so`]: {},
        [`${Z}/libb.so`]: {},
        [`${Z}/libc1.so`]: {},
        [`${Z}/libc2.so`]: {},
        [`${Z}/libc3.so`]: {},
      },
      set: {
        'liba.so': `${X}/liba.so`,
        'libb.so': `${Y}/libb.so`,
        'libc1.so': `${Z}/libc1.so`,
        'libc2.so': `${Z}/libc2.so`,
        'libc3.so': `${Z}/libc3.so`,
      },
    })
    assert.deepEqual(of('a/m.abi3.so').change?.rpath?.after, [X, Y, Z])
  })
})

suite('the tag', () => {
  const files = { [`${X}/libz.so`]: {} }
  const set = { 'libz.so': `${X}/libz.so` }

  test('stays what it is', () => {
    const { of } = planOf({
      objects: {
        'a/old.abi3.so': { needed: ['libz.so'], rpath: '/o' },
        'a/new.abi3.so': { needed: ['libz.so'], runpath: '/n' },
      },
      files,
      set,
    })
    assert.deepEqual(of('a/old.abi3.so').edit?.searchPath, { tag: 'DT_RPATH', value: `/o:${X}` })
    assert.deepEqual(of('a/new.abi3.so').edit?.searchPath, { tag: 'DT_RUNPATH', value: `/n:${X}` })
  })

  test('is DT_RPATH for what inherits one, which DT_RUNPATH would cut off', () => {
    const { of } = planOf({
      objects: {
        'a/m.abi3.so': { needed: ['libmid.so'], rpath: '$ORIGIN' },
        'a/libmid.so': { needed: ['libleaf.so', 'libz.so'] },
        'a/libleaf.so': {},
      },
      files,
      set,
    })
    assert.equal(of('a/libmid.so').edit?.searchPath?.tag, 'DT_RPATH')
    assert.equal(of('a/m.abi3.so').edit, null)
  })
})

suite('the folders that an object inherits come before those that are added', () => {
  const set = { 'libz.so': `${X}/libz.so` }
  const parent = { needed: ['libmid.so'], rpath: '$ORIGIN/libs:$ORIGIN/more' }
  const after = (world: MemoryWorld): readonly string[] | undefined =>
    planOf({ set, files: { [`${X}/libz.so`]: {}, [`${X}/libown.so`]: {} }, ...world }).of('a/libs/libmid.so').change
      ?.rpath?.after

  test('so that a library of the store does not hide one of the wheel', () => {
    const { of, plan, after } = planOf({
      objects: {
        'a/m.abi3.so': parent,
        'a/libs/libmid.so': { needed: ['libz.so', 'libown.so'] },
        'a/libs/libown.so': {},
      },
      files: { [`${X}/libz.so`]: {}, [`${X}/libown.so`]: {} },
      set,
    })
    const mid = of('a/libs/libmid.so')
    assert.deepEqual(mid.edit?.searchPath, { tag: 'DT_RPATH', value: `$ORIGIN:${X}` })
    assert.equal(mid.needed[1]?.provider, `${SITE}/a/libs/libown.so`)
    assert.deepEqual(
      after.simulation.inRoots.get(mid.identity)?.map(({ needed }) => needed[1]?.provider?.path),
      [`${SITE}/a/libs/libown.so`],
    )
    assert.deepEqual(plan.conflicts, [])
  })

  test('also where only a later dlopen could meet it', () => {
    const objects = {
      'a/m.abi3.so': parent,
      'a/libs/libmid.so': { needed: ['libz.so'] },
      'a/more/libown.so': {},
    }
    assert.deepEqual(after({ objects }), ['$ORIGIN', '$ORIGIN/../more', X])
  })

  test('but not where their place changes no answer', () => {
    const objects = { 'a/m.abi3.so': parent, 'a/libs/libmid.so': { needed: ['libz.so'] }, 'a/more/libother.so': {} }
    assert.deepEqual(after({ objects }), [X])
  })

  test('behind the own entries, and none twice', () => {
    const objects = {
      'a/m.abi3.so': parent,
      'a/libs/libmid.so': { needed: ['libz.so', 'libown.so'], rpath: '/o:$ORIGIN' },
      'a/more/libown.so': {},
    }
    assert.deepEqual(after({ objects }), ['/o', '$ORIGIN', '$ORIGIN/../more', X])
  })

  test('none with DT_RUNPATH, which inherits nothing', () => {
    const objects = {
      'a/m.abi3.so': parent,
      'a/libs/libmid.so': { needed: ['libz.so'], runpath: '/o' },
      'a/more/libown.so': {},
    }
    assert.deepEqual(after({ objects }), ['/o', X])
  })

  test('none of another distribution, which can be removed alone', () => {
    const objects = {
      'b/m.abi3.so': { needed: ['libmid.so'], rpath: '$ORIGIN/../a/libs:$ORIGIN/libs' },
      'a/libs/libmid.so': { needed: ['libz.so', 'libother.so'] },
      'b/libs/libother.so': {},
    }
    assert.deepEqual(after({ objects }), [X])
  })

  test('where the objects above disagree, only those that come first for all; what moves away is said', () => {
    const { of, plan } = planOf({
      objects: {
        'a/m.abi3.so': { needed: ['libmid.so'], rpath: '$ORIGIN/libs:$ORIGIN/left' },
        'a/n.abi3.so': { needed: ['libmid.so'], rpath: '$ORIGIN/libs:$ORIGIN/right' },
        'a/libs/libmid.so': { needed: ['libz.so', 'libnext.so', 'libown.so'] },
        'a/libs/libnext.so': {},
        'a/left/libown.so': {},
        'a/right/libown.so': {},
      },
      files: { [`${X}/libz.so`]: {}, [`${X}/libown.so`]: {} },
      set,
    })
    assert.deepEqual(of('a/libs/libmid.so').change?.rpath?.after, ['$ORIGIN', X])
    assert.deepEqual(
      plan.conflicts.map(({ kind, objects, sonames, providers }) => ({ kind, objects, sonames, providers })),
      [
        {
          kind: 'moved-away',
          objects: ['a/libs/libmid.so'],
          sonames: ['libown.so'],
          providers: [`${X}/libown.so`, `${SITE}/a/left/libown.so`],
        },
      ],
    )
  })

  test('musl inherits both tags', () => {
    const said = elf({ runpath: '$ORIGIN/libs' })
    const { loader } = pythonOn(treeOf({ objects: {} }), [])
    const above = { path: `${SITE}/a/m.so`, identity: 'm', object: said, openedBy: null, needed: [] }
    const map = {
      path: `${SITE}/a/libs/l.so`,
      identity: 'l',
      object: elf({ runpath: '/r' }),
      openedBy: above,
      needed: [],
    }
    const musl = { ...loader, libc: { ...loader.libc, kind: 'musl' as const } }
    assert.deepEqual(inheritedDirectories(musl, map), [`${SITE}/a/libs`])
    assert.deepEqual(inheritedDirectories(loader, { ...map, openedBy: { ...above } }), [])
    const old = { ...above, object: elf({ rpath: '$ORIGIN/libs' }) }
    assert.deepEqual(inheritedDirectories(loader, { ...map, object: elf(), openedBy: old }), [`${SITE}/a/libs`])
    assert.deepEqual(inheritedDirectories(loader, { ...map, object: elf(), openedBy: { ...above } }), [])
  })
})

suite('conflicts', () => {
  test('a directory that is added serves what a file of the environment served before', () => {
    const { plan, of } = planOf({
      objects: { 'a/m.abi3.so': { needed: ['libown.so', 'libz.so'] }, 'a/libown.so': {} },
      files: { [`${X}/libz.so`]: {}, [`${X}/libown.so`]: {} },
      set: { 'libz.so': `${X}/libz.so` },
      builtin: [`${SITE}/a`],
    })
    assert.equal(of('a/m.abi3.so').needed[0]?.provider, `${X}/libown.so`)
    assert.deepEqual(
      plan.conflicts.map(({ kind, objects, sonames, providers }) => ({ kind, objects, sonames, providers })),
      [
        {
          kind: 'moved-away',
          objects: ['a/m.abi3.so'],
          sonames: ['libown.so'],
          providers: [`${X}/libown.so`, `${SITE}/a/libown.so`],
        },
      ],
    )
  })

  test('but not where that file is outside of the environment', () => {
    const builtin = '/opt/lib'
    const { plan, of } = planOf({
      objects: { 'a/m.abi3.so': { needed: ['libown.so', 'libz.so'] } },
      files: { [`${X}/libz.so`]: {}, [`${X}/libown.so`]: {}, [`${builtin}/libown.so`]: {} },
      set: { 'libz.so': `${X}/libz.so` },
      builtin: [builtin],
    })
    assert.equal(of('a/m.abi3.so').needed[0]?.provider, `${X}/libown.so`)
    assert.deepEqual(plan.conflicts, [])
  })

  test('a library of the C library comes from another one', () => {
    const farm = '/nix/store/farm/lib'
    const { plan } = planOf({
      objects: { 'a/m.abi3.so': { needed: ['libresolv.so.2'], runpath: farm } },
      files: { [`${farm}/libresolv.so.2`]: {} },
    })
    assert.deepEqual(
      plan.conflicts.map(({ kind, providers }) => ({ kind, providers })),
      [{ kind: 'foreign-libc', providers: [`${farm}/libresolv.so.2`] }],
    )
  })

  test('but not where it is loaded already or comes from its own directory', () => {
    const farm = '/nix/store/farm/lib'
    const { plan } = planOf({
      objects: { 'a/m.abi3.so': { needed: ['libc.so.6', 'libm.so.6'], runpath: farm } },
      files: { [`${farm}/libc.so.6`]: {} },
    })
    assert.deepEqual(plan.conflicts, [])
  })

  test('the file for a soname depends on who is loaded first', () => {
    const { plan } = planOf({
      objects: {
        'a/one.abi3.so': { needed: ['libmid.so', 'libleaf.so'], runpath: '$ORIGIN/one:$ORIGIN' },
        'a/two.abi3.so': { needed: ['libleaf.so', 'libmid.so'], runpath: '$ORIGIN/two:$ORIGIN' },
        'a/libmid.so': { needed: ['libleaf.so'], runpath: '$ORIGIN/one' },
        'a/one/libleaf.so': {},
        'a/two/libleaf.so': {},
      },
    })
    const conflict = plan.conflicts.find(({ kind }) => kind === 'order-dependent')
    assert.deepEqual([conflict?.objects, conflict?.sonames], [['a/libmid.so'], ['libleaf.so']])
  })

  test('two distributions bring a soname each', () => {
    const { plan } = planOf({
      objects: {
        'a/m.abi3.so': { needed: ['libx.so.1'], runpath: '$ORIGIN' },
        'a/libx.so.1': {},
        'b/m.abi3.so': { needed: ['libx.so.1'], runpath: '$ORIGIN' },
        'b/libx.so.1': {},
      },
    })
    assert.deepEqual(
      plan.conflicts.map(({ kind, sonames }) => ({ kind, sonames })),
      [{ kind: 'brought-twice', sonames: ['libx.so.1'] }],
    )
  })
})

suite('what a file must be to serve', () => {
  for (const [what, header] of Object.entries({
    'the byte order': { byteOrder: 'big' },
    'the class': { class: 32 },
    'the machine': { machine: 183 },
  } as const)) {
    test(`${what} is that of the interpreter`, () => {
      const { of, plan } = planOf({
        objects: { 'a/m.abi3.so': { needed: ['libz.so'] } },
        files: { [`${X}/libz.so`]: { header } },
        set: { 'libz.so': `${X}/libz.so` },
      })
      assert.deepEqual(of('a/m.abi3.so').missing, ['libz.so'])
      assert.match(plan.clashes[0]?.reasons.join() ?? '', /another machine/)
    })
  }

  test('it defines the versions that are wanted, unless they are weak', () => {
    const need = (weak: boolean) => [{ file: 'libz.so', versions: [{ name: 'Z_2', weak }] }]
    const { of } = planOf({
      objects: {
        'a/m.abi3.so': { needed: ['libz.so'], runpath: X, versionNeeds: need(false) },
        'a/weak.abi3.so': { needed: ['libz.so'], runpath: X, versionNeeds: need(true) },
      },
      files: { [`${X}/libz.so`]: { versionDefinitions: ['Z_1'] } },
    })
    assert.deepEqual([of('a/m.abi3.so').missing, of('a/weak.abi3.so').missing], [['libz.so'], []])
  })
})

suite('needed', () => {
  test('what a required distribution loads first is served at run time', () => {
    const { of } = planOf({
      objects: { 'a/m.abi3.so': { needed: ['libtorch.so'] }, 'torch/libtorch.so': {} },
      requires: { a: ['torch'] },
    })
    assert.deepEqual(
      of('a/m.abi3.so').needed.map(({ how, provider }) => [how, provider]),
      [['run-time', `${SITE}/torch/libtorch.so`]],
    )
  })

  test('what another distribution has is not', () => {
    const objects = { 'a/m.abi3.so': { needed: ['libtorch.so'] }, 'torch/libtorch.so': {}, 'torch/_C.abi3.so': {} }
    const { of } = planOf({ objects })
    assert.deepEqual(of('a/m.abi3.so').missing, ['libtorch.so'])
  })

  test('what is required by way of another distribution is served at run time, too', () => {
    const { of } = planOf({
      objects: { 'a/m.abi3.so': { needed: ['libtorch.so'] }, 'torch/libtorch.so': {}, 'torch/_C.abi3.so': {} },
      // a circle, as some distributions have
      requires: { a: ['middle'], middle: ['torch', 'a'], torch: ['middle'] },
    })
    assert.deepEqual(
      of('a/m.abi3.so').needed.map(({ how }) => how),
      ['run-time'],
    )
  })

  test('a library of another file name is served at run time, because its distribution must open it by path', () => {
    const needed = { needed: ['libexiv2.so.28'] }
    const library = { 'a/lib/libexiv2.so': { soname: 'libexiv2.so.28' } }
    const { of } = planOf({ objects: { 'a/m.abi3.so': needed, ...library, 'b/m.abi3.so': needed } })
    assert.deepEqual(
      of('a/m.abi3.so').needed.map(({ how, provider }) => [how, provider]),
      [['run-time', `${SITE}/a/lib/libexiv2.so`]],
    )
    assert.deepEqual(of('b/m.abi3.so').missing, ['libexiv2.so.28'])
  })

  test('what is missing below a library outside of the environment is missing here', () => {
    const { of } = planOf({
      objects: { 'a/m.abi3.so': { needed: ['libout.so'], runpath: '/opt/lib' } },
      files: { '/opt/lib/libout.so': { needed: ['libgone.so'] } },
    })
    assert.deepEqual(of('a/m.abi3.so').missing, ['libgone.so'])
  })

  test('an object that finds everything is left as it is', () => {
    const { of } = planOf({ objects: { 'a/m.abi3.so': { needed: ['libc.so.6', 'libm.so.6'] } } })
    assert.deepEqual([of('a/m.abi3.so').edit, of('a/m.abi3.so').needed[1]?.provider], [null, `${GLIBC}/libm.so.6`])
  })
})

suite('libraries of a distribution that has them for others', () => {
  const objects = {
    'numba/pool.abi3.so': { needed: ['libtbb.so.12'] },
    'tbb/lib/libtbb.so.12': { soname: 'libtbb.so.12' },
  }
  const entryOf = (world: Parameters<typeof planOf>[0]) =>
    planOf(world).of('numba/pool.abi3.so').edit?.searchPath?.value ?? null

  test('are found by an entry that leads to them', () => {
    assert.equal(entryOf({ objects }), '$ORIGIN/../tbb/lib')
    assert.deepEqual(planOf({ objects }).of('numba/pool.abi3.so').missing, [])
  })

  test('come after the library set, and do not serve where Python loads the required distribution first', () => {
    const path = '/nix/store/tbb/lib/libtbb.so.12'
    const set = { files: { [path]: { soname: 'libtbb.so.12' } }, set: { 'libtbb.so.12': path } }
    assert.equal(entryOf({ objects, ...set }), '/nix/store/tbb/lib')
    assert.equal(entryOf({ objects, requires: { numba: ['tbb'] } }), null)
  })

  test('are served at run time where wheels stay as they are', () => {
    const { of } = planOf({ objects, searchPaths: false })
    assert.deepEqual(
      of('numba/pool.abi3.so').needed.map(({ how, provider }) => [how, provider]),
      [['run-time', `${SITE}/tbb/lib/libtbb.so.12`]],
    )
  })

  test('are not taken from a distribution with modules, nor where two have them, nor for another machine', () => {
    assert.equal(entryOf({ objects: { ...objects, 'tbb/api.abi3.so': {} } }), null)
    assert.equal(entryOf({ objects: { ...objects, 'other/libtbb.so.12': { soname: 'libtbb.so.12' } } }), null)
    const foreign = { soname: 'libtbb.so.12', header: { machine: EM_AARCH64 } }
    assert.equal(entryOf({ objects: { ...objects, 'tbb/lib/libtbb.so.12': foreign } }), null)
  })
})

test('a plan is plain data', () => {
  const { plan } = planOf({
    objects: { 'a/m.abi3.so': { needed: ['libz.so', 'libgone.so'], runpath: '$ORIGIN' } },
    files: { [`${X}/libz.so`]: {} },
    set: { 'libz.so': `${X}/libz.so` },
  })
  assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan)
})

test('the same input gives the same plan', () => {
  const world = {
    objects: { 'a/m.abi3.so': { needed: ['libz.so'] }, 'b/m.abi3.so': { needed: ['libz.so'] } },
    files: { [`${X}/libz.so`]: elf() },
    set: { 'libz.so': `${X}/libz.so` },
  }
  assert.deepEqual(planOf(world).plan, planOf(world).plan)
})
