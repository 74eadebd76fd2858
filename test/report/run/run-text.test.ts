// The report of a run, from data: what a person reads, at several widths.
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Chalk } from 'chalk'
import { shortWarnings } from '../../../src/commands/shared/warnings.ts'
import { widthOf, wrap } from '../../../src/report/screen.ts'
import { remediesFor } from '../../../src/report/run/remedies.ts'
import type { ChangedPackage, Lack, RunFacts } from '../../../src/report/run/run-facts.ts'
import { type ReportStyle, reportLines } from '../../../src/report/run/run-text.ts'
import { shortHint } from '../../../src/resolve/problems/hint.ts'

const STORE = `/nix/store/${'a'.repeat(32)}`

const FINE: RunFacts = {
  root: '/home/you/project/.venv',
  python: { version: '3.12.8', program: `${STORE}-python3-3.12.8/bin/python3.12` },
  libc: { name: 'glibc 2.40', dir: `${STORE}-glibc-2.40-36/lib` },
  nixLd: null,
  loader: null,
  packages: [],
  libraries: [],
  refused: [],
  broken: [],
  lacking: [],
  optional: [],
  windows: [],
  windowAttributes: [],
  held: [],
  nested: [],
  interrupted: false,
  incomplete: false,
  summary: { objects: 78, patched: 0, restored: 0, fine: 78, missing: 0, optional: 0, refused: 0, broken: 0, held: 0 },
}

function styleOf(columns: number, more: Partial<ReportStyle> = {}): ReportStyle {
  return {
    chalk: new Chalk({ level: 0 }),
    screen: { columns, rows: 24 },
    repair: 'venv',
    pending: false,
    quiet: false,
    strict: false,
    details: null,
    target: '',
    remedies: attributes =>
      remediesFor(
        attributes,
        '',
        { path: '/home/you/project/shell.nix', kind: 'shell', hasLibs: false },
        '/home/you/project',
      ),
    ...more,
  }
}

function changed(name: string, objects = 3): ChangedPackage {
  return {
    name,
    objects,
    restored: 0,
    gains: ['libgcc_s.so.1', 'libstdc++.so.6', 'libz.so.1'],
    programs: 0,
    again: false,
  }
}

function lack(more: Partial<Lack> = {}): Lack {
  return {
    packages: ['opencv-python'],
    names: ['libGL.so.1'],
    files: ['lib/python3.12/site-packages/cv2/cv2.abi3.so'],
    through: [],
    attributes: ['libGL'],
    hints: [],
    ...more,
  }
}

/** What `wheelfix venv` found on a real venv with PyQt6 6.11 and PySide6 6.12 and the manylinux set. */
function twoToolkits(): RunFacts {
  const xcb = ['libxcb-icccm.so.4', 'libxcb-keysyms.so.1', 'libxcb-util.so.1']
  const failing = [
    { platform: 'Wayland', path: 'platforms/libqwayland.so', lacks: ['libwayland-egl.so.1'] },
    { platform: 'X11', path: 'platforms/libqxcb.so', lacks: xcb },
  ] as const
  return {
    ...FINE,
    packages: ['pyqt6', 'pyqt6-qt6', 'pyside6-addons', 'pyside6-essentials', 'pyside6-pdf', 'pyside6-webengine'].map(
      name => changed(name, 248),
    ),
    libraries: [
      {
        source: 'scan',
        folders: ['glib-2.74.6', 'gcc-12.2.0-lib', 'libglvnd-1.6.0'].map(name => `${STORE}-${name}/lib`),
      },
      { source: 'closure', folders: [`${STORE}-zlib-1.2.13/lib`, `${STORE}-expat-2.5.0/lib`] },
    ],
    lacking: [
      ['pyside6-webengine', 'libXcomposite.so.1'],
      ['pyqt6-qt6', 'libXrandr.so.2'],
      ['pyside6-addons', 'libgbm.so.1'],
      ['pyside6-essentials', 'libpulse.so.0'],
    ].map(([name = '', soname = '']) => {
      const attributes = [soname.toLowerCase().replace(/\.so.*/, ''), `${name}-more`, `${name}-yet-more`]
      return lack({ packages: [name], names: [soname, `${soname}.2`], files: [`${name}.so`], attributes })
    }),
    optional: [lack({ names: Array.from({ length: 54 }, (_, index) => `libplugin${index}.so.1`) })],
    windows: ['PyQt6', 'PySide6'].map(toolkit => ({ toolkit, failing, opensSomewhere: false })),
    windowAttributes: ['libxcb-keysyms', 'libxcb-util', 'libxcb-wm', 'wayland'],
    summary: {
      objects: 767,
      patched: 756,
      restored: 0,
      fine: 11,
      missing: 11,
      optional: 54,
      refused: 0,
      broken: 0,
      held: 0,
    },
  }
}

/** The same where nobody vouches for the store's packages: no library is taken, and files of the right names are skipped. */
function unsignedToolkits(): RunFacts {
  const facts = twoToolkits()
  const names = Array.from({ length: 12 }, (_, index) => `libskipped${index}.so.1`)
  return {
    ...facts,
    libraries: facts.libraries.filter(({ source }) => source === 'closure'),
    lacking: facts.lacking.map(item => ({
      ...item,
      hints: names.map(name => `${name}: ${shortHint(`no file of that name fits; skipped: ${name.repeat(20)}`)}`),
    })),
  }
}

suite('the report of a run', () => {
  test('says in a few lines that there is nothing to do', () => {
    assert.deepEqual(reportLines(FINE, styleOf(80)), [
      '/home/you/project/.venv',
      'Python 3.12.8  /nix/store/…-python3-3.12.8/bin/python3.12',
      'glibc 2.40  /nix/store/…-glibc-2.40-36/lib',
      '',
      '✓ 78 objects: nothing to do',
    ])
  })

  test('of two GUI toolkits without their libraries has at most 24 lines of 80 columns', () => {
    const lines = reportLines(twoToolkits(), styleOf(80))
    assert.ok(lines.length <= 24, lines.join('\n'))
    assert.deepEqual(
      lines.filter(line => widthOf(line) > 80),
      [],
    )
    const text = lines.join(' ').replaceAll(/ +/g, ' ')
    assert.match(text, /✗ PyQt6 and PySide6 cannot open a window: the X11 plugin lacks libxcb-icccm\.so\.4/)
    assert.match(text, /- 54 optional libraries are missing/)
    assert.ok(!text.includes('libplugin0'))
  })

  for (const [columns, most] of [
    [80, 24],
    [60, 36],
  ] as const) {
    test(`fits where dozens of packages of the store were skipped: ${most} lines of ${columns} columns`, () => {
      const paths = Array.from({ length: 40 }, (_, index) => `${STORE}-package-${index}-1.0`)
      const warnings = shortWarnings([...paths.map(path => `skipped ${path}: nobody`), 'a', 'b', 'c'])
      const told = warnings.flatMap(warning => wrap(`warning: ${warning}`, columns, 4))
      assert.ok(told.length <= 4, told.join('\n'))
      const screen = { columns, rows: 24 - told.length }
      const lines = [...told, ...reportLines(unsignedToolkits(), styleOf(columns, { screen }))]
      assert.ok(lines.length <= most, lines.join('\n'))
      assert.deepEqual(
        lines.filter(line => widthOf(line) > columns && !line.startsWith('WHEELFIX')),
        [],
      )
    })
  }

  test('says of each kind of problem how many more there are', () => {
    const many = Array.from({ length: 30 }, (_, index) => `object-${index}.so`)
    const facts: RunFacts = {
      ...FINE,
      refused: many.map(path => ({ path, reason: 'no', unrecorded: false })),
      broken: many.map(path => ({ path, reason: 'no' })),
      held: many.map(folder => ({ folder, by: 'a.pth', objects: 2 })),
      lacking: many.map(file => lack({ packages: [file], files: [file], attributes: [], hints: [`${file}: a hint`] })),
      summary: { ...FINE.summary, refused: 30, broken: 30, held: 60, missing: 30 },
    }
    const lines = reportLines(facts, styleOf(80))
    assert.ok(lines.length <= 36, lines.join('\n'))
    assert.equal(lines.filter(line => line === '  and 27 more (-v shows all)').length, 3)
    assert.equal(lines.filter(line => line === '  and 29 more (-v shows all)').length, 1)
  })

  test('calls an object restored that gets its original bytes back', () => {
    const facts: RunFacts = {
      ...FINE,
      packages: [
        { ...changed('numpy', 5), restored: 2, gains: [] },
        { ...changed('pillow', 7), restored: 7, gains: [] },
      ],
      summary: { ...FINE.summary, patched: 12, restored: 9, fine: 66 },
    }
    const lines = reportLines(facts, styleOf(80))
    assert.deepEqual(lines.slice(-4), [
      '✓ numpy   3 patched, 2 restored',
      '✓ pillow  7 restored',
      '',
      '✓ 78 objects: 3 patched, 9 restored',
    ])
    const pending = reportLines(facts, styleOf(80, { pending: true })).join('\n')
    assert.match(pending, /• pillow {2}7 to restore\n/)
    assert.match(pending, /78 objects: 3 to patch, 9 to restore/)
  })

  test('fits 60 columns, however many packages were changed', () => {
    const facts = { ...FINE, packages: Array.from({ length: 99 }, (_, index) => changed(`package-number-${index}`)) }
    const lines = reportLines(facts, styleOf(60))
    assert.ok(lines.length <= 24, lines.join('\n'))
    assert.deepEqual(
      lines.filter(line => widthOf(line) > 60),
      [],
    )
    const shown = lines.filter(line => line.startsWith('✓ package-number-')).length
    assert.ok(lines.includes(`  and ${99 - shown} more packages (-v shows all)`), lines.join('\n'))
  })

  test('puts the problems last, and then what to do', () => {
    const facts = { ...FINE, lacking: [lack()], summary: { ...FINE.summary, missing: 1 } }
    assert.deepEqual(reportLines(facts, styleOf(Infinity)).slice(4), [
      '✗ opencv-python needs libGL.so.1, which is missing: cv2.abi3.so cannot load',
      '',
      '78 objects: 1 library missing',
      '→ to add them: wheelfix libs build libGL',
      '→ to keep them, in shell.nix: WHEELFIX_LIBS = pkgs.lib.makeLibraryPath (with pkgs; [ libGL ]);',
      '→ to see more: wheelfix doctor',
    ])
  })

  test('never breaks a command into lines, so that it can be pasted', () => {
    const facts = { ...FINE, lacking: [lack()], summary: { ...FINE.summary, missing: 1 } }
    assert.deepEqual(reportLines(facts, styleOf(36)).slice(-5), [
      '→ to add them:',
      'wheelfix libs build libGL',
      '→ to keep them, in shell.nix:',
      'WHEELFIX_LIBS = pkgs.lib.makeLibraryPath (with pkgs; [ libGL ]);',
      '→ to see more: wheelfix doctor',
    ])
  })

  test('counts in plain English', () => {
    const one = { ...FINE, optional: [lack()], summary: { ...FINE.summary, objects: 1, optional: 1 } }
    const text = reportLines(one, styleOf(80)).join('\n')
    assert.match(text, /- 1 optional library is missing \(only plugins need it\)/)
    assert.match(text, /✓ 1 object: nothing to do/)
    const two = lack({ packages: ['a', 'b'], names: ['libx.so.1', 'liby.so.1'], files: ['x.so', 'y.so'] })
    const lines = reportLines({ ...FINE, lacking: [two] }, styleOf(Infinity)).join('\n')
    assert.match(lines, /a and b need libx\.so\.1 and liby\.so\.1, which are missing: 2 files cannot load/)
  })

  test('counts what only plugins miss with --strict', () => {
    const facts = { ...FINE, optional: [lack()], summary: { ...FINE.summary, optional: 1 } }
    const text = reportLines(facts, styleOf(Infinity, { strict: true })).join('\n')
    assert.match(text, /✗ opencv-python needs libGL\.so\.1/)
    assert.match(text, /78 objects: 1 library missing\n→ to add them: wheelfix libs build libGL\n/)
  })

  test('names the command that does what is pending', () => {
    const facts = { ...FINE, summary: { ...FINE.summary, patched: 2 } }
    const lines = reportLines(facts, styleOf(80, { pending: true, target: ' ../other' }))
    assert.deepEqual(lines.slice(-2), ['78 objects: 2 to patch', '→ to patch: wheelfix venv ../other'])
    const folder = reportLines(facts, styleOf(80, { repair: 'path', pending: true, target: ' ../other' }))
    assert.equal(folder.at(-1), '→ to patch: wheelfix path ../other')
  })
})
