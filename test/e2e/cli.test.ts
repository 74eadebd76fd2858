// The command line itself: help with examples, options before and after the command, nearest names, completions, manuals.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { EXPLANATIONS } from '../../src/inspect/explanations.ts'
import { nameIn } from '../../src/inspect/traceback.ts'
import { commandFirst } from '../../src/run-command-line.ts'
import { missing, skip } from '../support/requires.ts'
import { run } from '../support/run.ts'
import { installDemoWheel, makeVenv, WHEELFIX, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

const call = (...args: readonly string[]) => run(process.execPath, [WHEELFIX, ...args])

/** Every command that --help lists, with its subcommands. */
const COMMANDS = [...call('--help').stdout.matchAll(/^ {2}([a-z]+) [[<]/gm)]
  .map(([, name = '']) => [name])
  .filter(([name]) => name !== 'help')
  .concat([
    ['libs', 'build'],
    ['libs', 'env'],
  ])

suite('the command line', () => {
  test('the help fits a terminal of 60 columns', { skip: missing('script') }, () => {
    for (const args of ['--help', 'venv --help', 'libs build --help']) {
      const { stdout } = run('script', ['-qc', `stty cols 60; ${process.execPath} ${WHEELFIX} ${args}`, '/dev/null'])
      const long = stdout
        .split('\r\n')
        .filter(line => line.length > 60 && !/^(?:Usage:| {2}(?:wheelfix|# ))/.test(line))
      assert.deepEqual(long, [], args)
    }
  })

  test('every command has examples in its help', () => {
    assert.ok(COMMANDS.length > 12)
    for (const command of COMMANDS.filter(([name]) => name !== 'elf')) {
      const { stdout, status } = call(...command, '--help')
      assert.equal(status, 0)
      const shown = /\nExamples:\n((?:.*\n)+)$/.exec(stdout)?.[1] ?? ''
      assert.ok([...shown.matchAll(/^ {2}# /gm)].length >= 2, `${command.join(' ')}\n${stdout}`)
    }
  })

  test('every example of the help is a command line that the program takes', () => {
    for (const command of COMMANDS.filter(([name]) => name !== 'elf')) {
      const { stdout } = call(...command, '--help')
      for (const [, line = ''] of stdout.matchAll(/^ {2}# .*\n {2}(.*)$/gm)) {
        const words = /wheelfix ((?:[a-z]+ ?)+)(.*)/.exec(line)
        const options = [...(words?.[2] ?? '').matchAll(/(?:^|\s)(--[a-z-]+|-[a-z])(?=[\s=]|$)/g)].map(
          ([, option = '']) => option,
        )
        const named = (words?.[1] ?? '').trim().split(' ')
        const help = call(
          ...named.slice(0, named[0] === 'libs' && /^(?:build|env)$/.test(named[1] ?? '') ? 2 : 1),
          '--help',
        )
        assert.equal(help.status, 0, line)
        const parent = named[0] === 'libs' ? call('libs', '--help').stdout : ''
        for (const option of options.filter(name => name !== '-l')) {
          assert.ok((help.stdout + parent).includes(option), `${line}: ${option}`)
        }
      }
    }
  })

  test('a mistyped command, option or code gets the nearest name', () => {
    for (const [args, words] of [
      [['chek'], /unknown command 'chek'\n\(Did you mean check\?\)/],
      [['fix'], /unknown command 'fix'\n\(Did you mean venv\?\)\nFor examples: wheelfix --help/],
      [['-q', 'undo', 'x'], /unknown command 'undo'\n\(Did you mean restore\?\)/],
      [['libs', 'biuld', 'libGL'], /libs has no command biuld: did you mean wheelfix libs build\?/],
      [['libs', 'libGL', 'glib'], /to build packages: wheelfix libs build libGL glib/],
      [['venv', '--lib', 'x'], /unknown option '--lib'\n\(Did you mean --libs\?\)\nFor examples: wheelfix venv --help/],
      [['libs', 'bild'], /libs has no command bild: did you mean wheelfix libs build\?/],
      [['explain', 'qt-plaform'], /there is no code qt-plaform: did you mean qt-platform\?/],
      [['completions', 'tcsh'], /no completions for tcsh \(known: bash, zsh, fish, man, markdown\)/],
    ] as const) {
      const { status, stderr } = call(...args)
      assert.equal(status, 2, stderr)
      assert.match(stderr, words)
      assert.match(stderr, /^error: /)
    }
  })

  test('options of every command may stand before it', () => {
    assert.deepEqual(commandFirst(['-q', '--color', 'never', 'venv', 'x']), ['venv', '-q', '--color', 'never', 'x'])
    assert.deepEqual(commandFirst(['--color=always', 'why', '-v']), ['why', '--color=always', '-v'])
    assert.deepEqual(commandFirst(['--help']), ['--help'])
    assert.deepEqual(commandFirst(['-q']), ['-q'])
  })

  test('every code has an explanation, which explain prints', () => {
    const { stdout } = call('explain')
    for (const { code, meaning } of EXPLANATIONS) {
      assert.ok(stdout.includes(`  ${code}\n`), code)
      assert.ok(call('explain', code).stdout.includes(meaning), code)
    }
    assert.equal(JSON.parse(call('explain', '--json').stdout).codes.length, EXPLANATIONS.length)
  })

  test('completions of bash complete commands, options and values', { skip: missing('bash') }, () => {
    const complete = (...words: readonly string[]): string[] => {
      const script = `${call('completions', 'bash').stdout}
        COMP_WORDS=(${words.map(word => `'${word}'`).join(' ')}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
        _wheelfix; printf '%s\\n' "\${COMPREPLY[@]}"`
      return run('bash', ['-c', script]).stdout.trim().split('\n')
    }
    assert.deepEqual(complete('wheelfix', 've'), ['venv'])
    assert.deepEqual(complete('wheelfix', 'venv', '--str'), ['--strict', '--strategy'])
    assert.deepEqual(complete('wheelfix', 'venv', '--strategy', 'l'), ['loader'])
    assert.deepEqual(complete('wheelfix', 'libs', 'b'), ['build'])
    assert.deepEqual(complete('wheelfix', 'libs', 'build', '--m'), ['--missing'])
  })

  test('completions of zsh and fish are read by these shells', { skip: missing('zsh', 'fish') }, () => {
    for (const [shell, args] of [
      ['zsh', ['-n']],
      ['fish', ['--no-execute']],
    ] as const) {
      const folder = mkdtempSync(join(tmpdir(), 'wheelfix-completions-'))
      const file = join(folder, `wheelfix.${shell}`)
      writeFileSync(file, call('completions', shell).stdout)
      const { status, stderr } = run(shell, [...args, file])
      rmSync(folder, { recursive: true })
      assert.deepEqual([status, stderr], [0, ''])
    }
  })

  test('the manual page holds every command and is understood by man', { skip: missing('man') }, () => {
    const page = call('completions', 'man').stdout
    for (const command of COMMANDS) assert.ok(page.includes(`.SS wheelfix ${command.join(' ')}`), command.join(' '))
    const { stdout, stderr, status } = run('man', ['--warnings', '-l', '-'], { input: page })
    assert.deepEqual([status, stderr], [0, ''])
    assert.match(stdout, /Makes PyPI wheels work/)
  })
})

test('a line of a traceback is understood', () => {
  for (const [line, name] of [
    ['ImportError: libGL.so.1: cannot open shared object file: No such file or directory', 'libGL.so.1'],
    ['OSError: libportaudio.so.2: cannot open shared object file', 'libportaudio.so.2'],
    [
      'ImportError: Error loading shared library libstdc++.so.6: No such file or directory (needed by /x/y.so)',
      'libstdc++.so.6',
    ],
    ["ImportError: /nix/store/x/lib/libm.so.6: version `GLIBC_2.38' not found (required by /v/a.so)", '/v/a.so'],
    ['ImportError: /v/lib/b.so: undefined symbol: _ZN3c10', '/v/lib/b.so'],
    ['qt.qpa.plugin: Could not load the Qt platform plugin "xcb" in "" even though it was found.', 'libqxcb.so'],
    ['Could not start dynamically linked executable: .venv/bin/ruff', '.venv/bin/ruff'],
    ['bash: .venv/bin/ruff: cannot execute: required file not found', '.venv/bin/ruff'],
    ['numpy', 'numpy'],
    ['scipy.linalg._flapack', 'scipy.linalg._flapack'],
  ] as const) {
    assert.equal(nameIn(line), name)
  }
})

suite('in a project', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('works', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  inProject(world)
})

function inProject(world: World): void {
  const root = join(world.root, 'project')
  const venv = makeVenv(world, 'project/.venv')
  installDemoWheel(world, venv)
  const within = (args: readonly string[], cwd = root, env: NodeJS.ProcessEnv = {}) =>
    run(process.execPath, [WHEELFIX, ...args], { cwd, env: { ...world.env, ...env } })

  test('-q before the command is quiet, --color before it colours', () => {
    assert.equal(within(['-q', 'venv', '--dry-run']).stdout, '')
    assert.ok(within(['--color', 'always', 'check']).stdout.includes('\u001B['))
    assert.ok(!within(['--color', 'never', 'check'], root, { FORCE_COLOR: '1' }).stdout.includes('\u001B['))
  })

  test('why takes a line of a traceback, and names what a mistyped name may mean', () => {
    const quoted = within(['why', 'ImportError: libstdc++.so.6: cannot open shared object file: No such file'])
    assert.match(quoted.stdout, /^libstdc\+\+\.so\.6\n/)
    assert.equal(
      within(['why', 'ImportError:', 'libstdc++.so.6:', 'cannot', 'open', 'shared', 'object', 'file']).stdout,
      quoted.stdout,
    )
    const { status, stderr } = within(['why', 'wheelfix-dmo'])
    assert.equal(status, 2)
    assert.match(stderr, /wheelfix-dmo is not a file, distribution, module or soname of .*: did you mean wheelfix-demo/)
  })

  test('config shows each value with its source, and a mistake names the file', () => {
    writeFileSync(join(root, 'wheelfix.toml'), 'no-scan = true\nstrict = true\nignore = ["torch/test"]\n')
    const { stdout, status } = within(['config'], root, { WHEELFIX_LIBS: world.libs.gcc })
    assert.equal(status, 0)
    assert.match(stdout, /no-scan +true +\(.*\/wheelfix\.toml\)/)
    assert.match(stdout, /ignore +torch\/test +\(.*\/wheelfix\.toml\)/)
    assert.match(stdout, /WHEELFIX_LIBS +\S+ +\(the shell\)/)
    // no-scan is in force: the library of the store is not found
    assert.match(within(['check']).stdout, /libstdc\+\+\.so\.6/)
    assert.equal(within(['venv', '--dry-run']).status, 1)
    writeFileSync(join(root, 'wheelfix.toml'), 'strict = "yes"\n')
    assert.match(within(['check']).stderr, /^error: .*\/wheelfix\.toml: "strict" must be true or false\n/)
    writeFileSync(join(root, 'wheelfix.toml'), 'libs = ["/nowhere"]\n')
    assert.match(within(['check']).stderr, /wheelfix\.toml/)
    rmSync(join(root, 'wheelfix.toml'))
  })

  test('a warning names an active environment that is not the project’s own', () => {
    makeVenv(world, 'other')
    const { stderr } = within(['check'], root, { VIRTUAL_ENV: join(world.root, 'other') })
    assert.match(
      stderr,
      /^warning: VIRTUAL_ENV names .*\/other, which is not the environment of this project\. .*wheelfix venv .*\/\.venv\n/,
    )
    assert.equal(within(['check'], root, { VIRTUAL_ENV: venv }).stderr, '')
  })

  test('an environment is found in its usual places, else the message says how to find it', () => {
    for (const name of ['venv', 'env']) {
      makeVenv(world, `named-${name}/${name}`)
      assert.match(within(['check'], join(world.root, `named-${name}`)).stdout, new RegExp(`/named-${name}/${name}\n`))
    }
    const uv = join(world.root, 'of-uv')
    makeVenv(world, 'of-uv/custom')
    writeFileSync(join(uv, 'pyproject.toml'), '')
    assert.match(within(['check'], uv, { UV_PROJECT_ENVIRONMENT: 'custom' }).stdout, /\/of-uv\/custom\n/)
    const pdm = join(world.root, 'of-pdm')
    mkdirSync(pdm)
    writeFileSync(join(pdm, '.pdm-python'), `${venv}/bin/python\n`)
    assert.match(within(['check'], pdm).stdout, /\/project\/\.venv\n/)
    for (const [file, text, words] of [
      ['poetry.lock', '', /wheelfix check "\$\(poetry env info --path\)"/],
      ['Pipfile', '', /wheelfix check "\$\(pipenv --venv\)"/],
      ['pyproject.toml', '[tool.hatch.envs.default]\n', /wheelfix check "\$\(hatch env find\)"/],
    ] as const) {
      const folder = join(world.root, `with ${file}`)
      mkdirSync(folder)
      writeFileSync(join(folder, file), text)
      const { status, stderr } = within(['check'], folder)
      assert.equal(status, 2)
      assert.match(stderr, words)
    }
    const conda = within(['check'], world.root, { CONDA_PREFIX: '/opt/conda' })
    assert.match(conda.stderr, /\/opt\/conda is a conda environment, which .* does not support it/)
  })

  test('a python3 that is a shim is asked, with a time limit, and no advice names its folder', () => {
    const bin = join(world.root, 'shims/bin')
    mkdirSync(bin, { recursive: true })
    const shim = join(bin, 'python3')
    // as a version manager: what it starts is computed, and stands in no line of it
    writeFileSync(shim, `#!/bin/sh\nprogram=\${0##*/}\nexec "${bin}/tool" exec "$program" "$@"\n`, { mode: 0o755 })
    writeFileSync(join(bin, 'tool'), `#!/bin/sh\nshift 2\nexec ${world.python} "$@"\n`, { mode: 0o755 })
    const { status, stdout } = wheelfix(world, ['libs', '--json'], { PATH: `${bin}:${world.env['PATH']}` })
    assert.equal(status, 0, stdout)
    assert.equal(JSON.parse(stdout).python.libc.kind, 'glibc')
    writeFileSync(shim, '#!/bin/sh\nexit 1\n')
    const failed = wheelfix(world, ['libs', '--python', shim])
    assert.equal(failed.status, 2)
    assert.match(failed.stderr, /is a script that did not start a Python within 5 seconds: name the Python itself/)
    const gone = join(bin, 'python9')
    symlinkSync('/nowhere/python9', gone)
    const dead = wheelfix(world, ['libs', '--python', bin.replace(/\/bin$/, '')])
    assert.doesNotMatch(failed.stderr + dead.stderr, /--clear/)
  })
}
