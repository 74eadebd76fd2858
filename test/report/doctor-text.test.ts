// The report of doctor, from data: what a person reads, at several widths.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Chalk } from 'chalk'
import type { DoctorReport } from '../../src/inspect/diagnose.ts'
import type { Finding } from '../../src/inspect/findings.ts'
import { AFTER_THE_LOADER } from '../../src/inspect/real-loader/compare.ts'
import { doctorLines } from '../../src/report/doctor-text.ts'
import { widthOf } from '../../src/report/screen.ts'

const SITE = 'lib/python3.12/site-packages'

function missing(soname: string, remedy: string): Finding {
  const paths = [`${SITE}/a-package-with-a-long-name/plugins/platforms/lib-with-a-long-name-too.so`]
  return { code: 'library-missing', severity: 'error', message: `${soname} is missing`, remedy, paths }
}

function linesOf(findings: readonly Finding[], columns: number, level: 0 | 1 = 0, verbose = false): string[] {
  // only the root of the environment is shown
  const venv = { root: '/home/you/project/.venv' } as DoctorReport['venv']
  const style = { chalk: new Chalk({ level }), verbose, columns, target: ' ../other' }
  return doctorLines({ venv, findings, asked: 70, imported: null }, style)
}

test('no command is broken into lines, and no other line is wider than the screen', () => {
  const packages = 'libx11 libxcb libxcb-cursor libxcb-image libxcb-keysyms libxcb-render-util libxkbcommon'
  const command = `wheelfix libs build ${packages}`
  const sentence = 'to complete the run, which the machine ended early: wheelfix venv /home/you/project/.venv'
  for (const columns of [60, 80, 120]) {
    for (const level of [0, 1] as const) {
      const lines = linesOf([missing('libGL.so.1', command), missing('libX11.so.6', sentence)], columns, level)
      assert.ok(lines.includes(`  → ${command}`), lines.join('\n'))
      assert.match(lines.join('\n'), /: ?(?:\n {4})?wheelfix venv \/home\/you\/project\/\.venv\n/)
      assert.deepEqual(
        lines.filter(line => widthOf(line) > columns && !/wheelfix|\.so/.test(line)),
        [],
      )
      // a colour before a long path is no line of its own
      assert.equal(lines.filter(line => widthOf(line) === 0).length, 3)
    }
  }
})

test('several packages to build get one command at the end', () => {
  const last = (...findings: Finding[]) => linesOf(findings, 80).at(-2)
  const build = (name: string) => missing(`${name}.so.1`, `wheelfix libs build ${name}`)
  assert.equal(
    last(build('libGL'), build('cups')),
    '→ to add all that is missing: wheelfix libs build --missing ../other',
  )
  assert.equal(last(build('libGL'), missing('libX11.so.6', 'sudo apt install libx11-6')), '2 errors')
})

test('a fault of the private loader stands for the differences that it explains, and for no others', () => {
  const differs = (remedy: string): Finding => {
    return {
      code: 'loader-differs',
      severity: 'error',
      message: 'the loader does not find libz.so.1',
      remedy,
      paths: [],
    }
  }
  const fault: Finding = { code: 'loader-fault', severity: 'error', message: 'is gone', remedy: null, paths: [] }
  const explained = Array.from({ length: 40 }, () => differs(AFTER_THE_LOADER))
  const short = linesOf([...explained, differs('this is a bug'), fault], 80)
  assert.equal(short.filter(line => line.includes('loader-differs')).length, 1)
  const at = short.findIndex(line => line.includes('loader-fault'))
  assert.equal(short[at + 1], '  this explains 40 differences from the real loader, not listed here (-v shows')
  assert.ok(short.includes('2 errors'), short.join('\n'))
  assert.ok(short.some(line => line.includes('41 differ')))
  const long = linesOf([...explained, fault], 80, 0, true)
  assert.equal(long.filter(line => line.includes('loader-differs')).length, 40)
})
