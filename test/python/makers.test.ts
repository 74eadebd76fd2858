// Venvs as the tools make them that people use. What we read from their files must be what the started Python says.
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { findInterpreter } from '../../src/python/interpreter.ts'
import { findVenv } from '../../src/python/pyvenv.ts'
import { missing, skip, which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'

const root = realpathSync(mkdtempSync(join(tmpdir(), 'wheelfix-makers-')))
after(() => rmSync(root, { recursive: true }))

const needsPython = missing('python3')

/** Makes the venv and checks all that is read of it. */
function check(path: string, make: () => unknown): void {
  make()
  const venv = findVenv({ argument: path, env: {}, cwd: root })
  const interpreter = findInterpreter(venv)
  const told = JSON.parse(
    runWell(join(path, 'bin/python'), [
      '-c',
      'import os,json,platform,sysconfig,_imp;' +
        'print(json.dumps([os.readlink("/proc/self/exe"),platform.python_version(),_imp.extension_suffixes(),[sysconfig.get_path("purelib")]]))',
    ]),
  ) as [string, string, string[], string[]]
  const { program, version, extensionSuffixes } = interpreter
  // only Debian's 3.14 has the suffix with the platform
  const suffixes = extensionSuffixes.filter(name => told[2].includes(name) || !name.startsWith('.abi3-'))
  assert.deepEqual([program, version, suffixes, venv.sitePackages], told)
  assert.equal(venv.python, join(path, 'bin/python'))
  assert.deepEqual(venv.walk, [...venv.sitePackages, join(path, 'bin')])
  assert.equal(venv.systemSitePackages, path.includes('system'))
}

const plain = ['-m', 'venv', '--without-pip']
for (const [name, args] of [
  ['links', []],
  ['copies', ['--copies']],
  ['system', ['--system-site-packages']],
] as const) {
  test(`python3 -m venv ${args.join(' ')}`, { skip: needsPython }, () => {
    const path = join(root, name)
    check(path, () => runWell('python3', [...plain, ...args, path]))
  })
}

/** virtualenv and uv from PATH, else by pip into our own folder. */
const tools = join(root, 'tools')
function installed(tool: 'virtualenv' | 'uv'): readonly string[] | undefined {
  if (which(tool) !== undefined) return [tool]
  if (!existsSync(join(tools, tool)) && !install(tool)) return undefined
  return tool === 'uv' ? [join(tools, 'uv/bin/uv')] : ['env', `PYTHONPATH=${join(tools, tool)}`, 'python3', '-m', tool]
}

function install(tool: string): boolean {
  const { status } = run('python3', ['-m', 'pip', 'install', '-q', '--target', join(tools, tool), tool])
  return status === 0
}

for (const [tool, ...args] of [
  ['virtualenv', '-q', '--no-pip'],
  ['virtualenv', '-q', '--no-pip', '--copies'],
  ['uv', 'venv', '-q', '--offline'],
  ['uv', 'venv', '-q', '--offline', '--relocatable', '--system-site-packages'],
] as const) {
  test([tool, ...args].join(' '), { skip: needsPython }, context => {
    const command = installed(tool)
    if (command === undefined) return context.skip(skip(`needs ${tool}, or pip and a network`))
    const [program = '', ...before] = command
    const path = join(root, [tool, ...args].join(' '))
    check(path, () => runWell(program, [...before, ...args, path]))
  })
}
