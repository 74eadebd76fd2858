// Files, folders and disks that are not as usual: sparse files, the longest names, mounts of single files, file systems that
// may not be written, errors that libuv has no name for, and what vanishes or changes while wheelfix works.
import assert from 'node:assert/strict'
import {
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { missing, skip, which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { sitePackages, WHEELFIX, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { makeTemplate, venvFiles, whatWorks, withCompiledWorld } from './template.ts'

const DISTURB = join(import.meta.dirname, '../../../test/support/disturb.cjs')
const STEP = process.env['WHEELFIX_SURVIVE'] === 'all' ? 2 : 19
const isRoot = process.getuid?.() === 0

withCompiledWorld('odd files and disks', theSuite)

function theSuite(world: World): void {
  suite('odd files and disks', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const venv = join(world.root, 'venv')
    const site = sitePackages(world, venv)
    const nameOf = (stem: string): string =>
      readdirSync(sitePackages(world, template)).find(name => name.startsWith(stem)) ?? ''
    const [small, large] = [nameOf('small.'), nameOf('large.')]
    const record = join(site, 'trio-1.0.dist-info/RECORD')
    const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
    const argsOf = (command: string, ...options: readonly string[]) => [
      command,
      venv,
      ...options,
      ...(command === 'restore' || command === 'doctor' ? [] : libs),
    ]
    const fix = (command: string, env: NodeJS.ProcessEnv = {}) => wheelfix(world, argsOf(command), env)
    const prepare = (): void => {
      rmSync(venv, { recursive: true, force: true })
      cpSync(template, venv, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
    }
    const well = (command: string): void => {
      const { status, stdout, stderr } = fix(command)
      assert.equal(status, 0, `${command}: ${stdout}${stderr}`)
    }
    const assertNoTrace = ({ status, stdout, stderr }: ReturnType<typeof run>, when: string): void => {
      assert.ok([0, 1, 2].includes(status), `${when}: status ${status} ${stderr}`)
      assert.doesNotMatch(stdout + stderr, /\n\s+at |node:internal/, when)
    }

    test('the holes of a sparse file stay, in place, by a copy, and when it is restored', () => {
      for (const isLinked of [false, true]) {
        prepare()
        const path = join(site, large)
        const sparse = `${path}.sparse`
        runWell('cp', ['--sparse=always', path, sparse])
        runWell('mv', [sparse, path])
        if (isLinked) {
          rmSync(join(world.root, 'link'), { force: true })
          linkSync(path, join(world.root, 'link'))
        }
        const isSparse = () => statSync(path).blocks * 512 < statSync(path).size - (1 << 20)
        const before = readFileSync(path)
        assert.ok(isSparse())
        well('venv')
        assert.ok(isSparse(), 'patched')
        well('restore')
        assert.ok(isSparse(), 'restored')
        assert.ok(readFileSync(path).equals(before))
      }
    })

    test('restore does not say 0 of a program whose undo was removed with the state folder', () => {
      prepare()
      well('venv')
      rmSync(join(venv, '.wheelfix'), { recursive: true })
      const { status, stdout } = fix('restore')
      assert.equal(status, 1, stdout)
      assert.match(stdout, /bin\/tool: .*reinstall\s+the\s+package/s)
      // an installer puts the program and its RECORD back
      for (const name of ['bin/tool', record.slice(venv.length + 1)])
        copyFileSync(join(template, name), join(venv, name))
      well('restore')
      assert.deepEqual(venvFiles(venv), venvFiles(template))
    })

    test('two names of one file in the venv are both patched and given back, RECORD too', () => {
      prepare()
      const row = readFileSync(record, 'utf8')
        .split('\n')
        .find(line => line.startsWith(small))
      linkSync(join(site, small), join(site, 'twin.so'))
      writeFileSync(record, `${readFileSync(record, 'utf8')}${String(row).replace(small, 'twin.so')}\n`)
      const before = venvFiles(venv)
      well('venv')
      const after = venvFiles(venv)
      for (const name of [small, 'twin.so'])
        assert.notEqual(
          after.get(join(site, name).slice(venv.length + 1)),
          before.get(join(site, name).slice(venv.length + 1)),
        )
      well('check')
      well('restore')
      assert.deepEqual(venvFiles(venv), before)
    })

    test('names of 240 to 255 bytes are patched and given back', () => {
      prepare()
      for (let length = 240; length <= 255; length++)
        copyFileSync(join(site, small), join(site, 'x'.repeat(length - 3) + '.so'))
      const before = venvFiles(venv)
      well('venv')
      assert.notDeepEqual(venvFiles(venv), before)
      well('restore')
      assert.deepEqual(venvFiles(venv), before)
    })

    test(
      'an object that a file is mounted on is left alone, with the reason; the others are done',
      { skip: namespace() },
      () => {
        prepare()
        const other = join(world.root, 'mounted.so')
        copyFileSync(join(site, small), other)
        const script = `mount --bind "$0" "$1" && shift && shift && exec "$@"`
        const inside = (args: readonly string[]) =>
          run(
            'unshare',
            ['-m', 'sh', '-c', script, other, join(site, small), '-', process.execPath, WHEELFIX, ...args],
            {
              env: { ...world.env, PATH: process.env['PATH'] },
              cwd: world.root,
            },
          )
        const before = readFileSync(other)
        const { status, stdout, stderr } = inside(argsOf('venv'))
        assert.equal(status, 1, stdout + stderr)
        assert.match(stdout, /mounted on\s+this\s+file/)
        assert.ok(readFileSync(other).equals(before))
        assert.equal(inside(argsOf('restore')).status, 0)
        assert.deepEqual(venvFiles(venv), venvFiles(template))
      },
    )

    test('a read-only file system is named at once', { skip: namespace() }, () => {
      prepare()
      const script = `mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"`
      for (const command of ['venv', 'loader']) {
        const began = Date.now()
        const result = run(
          'unshare',
          ['-m', 'sh', '-c', script, venv, process.execPath, WHEELFIX, ...argsOf(command)],
          {
            env: { ...world.env, PATH: process.env['PATH'] },
            cwd: world.root,
          },
        )
        assert.equal(result.status, 2, result.stdout + result.stderr)
        assert.match(result.stderr, /read-only/)
        assert.ok(Date.now() - began < 30_000)
      }
    })

    /** How many changes a run makes; Node compiles nothing any more. */
    const changesOf = (): number => {
      const log = join(world.root, 'log')
      for (let time = 0; time < 2; time++) {
        prepare()
        rmSync(log, { force: true })
        fix('venv', { NODE_OPTIONS: `--require ${DISTURB}`, DISTURB_AT: '0', DISTURB_LOG: log })
      }
      return Number(readFileSync(log, 'utf8'))
    }

    test('an object that vanishes during the run does not stop the others', t => {
      const changes = changesOf()
      let times = 0
      for (let at = 1; at <= changes; at += STEP, times++) {
        prepare()
        const gone = join(site, small)
        const env = {
          NODE_OPTIONS: `--require ${DISTURB}`,
          DISTURB_AT: String(at),
          DISTURB_BY: 'remove',
          DISTURB_TO: gone,
        }
        const result = fix('venv', env)
        assertNoTrace(result, `change ${at}`)
        assert.notEqual(result.status, 2, `change ${at}: ${result.stdout}${result.stderr}`)
        assert.ok(!existsSync(gone))
        copyFileSync(join(template, gone.slice(venv.length + 1)), gone)
        well('venv')
        assert.deepEqual(whatWorks(world, venv), { modules: true, tool: true }, `change ${at}`)
      }
      t.diagnostic(`vanished before ${times} of ${changes} changes, 0 runs stopped by it`)
    })

    test('a venv that is deleted during the run is not made again', t => {
      const changes = changesOf()
      let times = 0
      for (let at = 1; at <= changes; at += STEP, times++) {
        prepare()
        const env = {
          NODE_OPTIONS: `--require ${DISTURB}`,
          DISTURB_AT: String(at),
          DISTURB_BY: 'remove',
          DISTURB_TO: venv,
        }
        assertNoTrace(fix('venv', env), `change ${at}`)
        assert.ok(!existsSync(venv), `change ${at}: ${existsSync(venv) ? readdirSync(venv).join(' ') : ''}`)
      }
      t.diagnostic(`deleted before ${times} of ${changes} changes, 0 made again`)
    })

    test(
      'errors that libuv has no name for end in a sentence, and the next run completes',
      { skip: missing('strace') },
      t => {
        let times = 0
        for (const call of ['pwrite64', 'fdatasync', 'ftruncate', 'rename']) {
          for (const errno of ['EDQUOT', 'ESTALE', 'EUCLEAN']) {
            for (const when of call === 'pwrite64' ? [1, 4, 9] : [1]) {
              prepare()
              const result = traced(
                ['-e', `trace=${call}`, '-e', `inject=${call}:error=${errno}:when=${when}`],
                argsOf('venv'),
              )
              const where = `${errno} of ${call} ${when}: ${result.stdout}${result.stderr}`
              assertNoTrace(result, where)
              well('venv')
              assert.deepEqual(whatWorks(world, venv), { modules: true, tool: true }, where)
              well('restore')
              assert.deepEqual(venvFiles(venv), venvFiles(template), where)
              times++
            }
          }
        }
        t.diagnostic(`${times} errors, 0 stack traces, 0 lost`)
      },
    )

    test('doctor continues after a file that cannot be read', { skip: missing('strace') }, () => {
      prepare()
      well('venv')
      const object = join(site, small)
      for (const errno of ['EACCES', 'EIO', 'EUCLEAN']) {
        const result = traced(
          ['-P', object, '-e', 'trace=openat', '-e', `inject=openat:error=${errno}`],
          argsOf('doctor'),
        )
        assertNoTrace(result, errno)
        assert.equal(result.status, 1, result.stdout + result.stderr)
        assert.ok(result.stdout.includes(small), result.stdout)
      }
    })

    test(
      'restore does not end with status 0 when another tool changed a file in between',
      { skip: missing('patchelf') },
      () => {
        prepare()
        well('venv')
        runWell('patchelf', ['--set-rpath', '/elsewhere', join(site, small)])
        fix('venv')
        const { status, stdout, stderr } = fix('restore')
        const isOriginal = readFileSync(join(site, small)).equals(
          readFileSync(join(sitePackages(world, template), small)),
        )
        assert.ok(status === 1 || isOriginal, stdout + stderr)
        if (status === 1) assert.match(stdout, /another\s+tool\s+changed/)
      },
    )

    function traced(options: readonly string[], args: readonly string[]) {
      const strace = which('strace') ?? ''
      return run(strace, ['-f', '-qq', '-o', '/dev/null', ...options, process.execPath, WHEELFIX, ...args], {
        env: world.env,
        cwd: world.root,
      })
    }
  })
}

function namespace(): string | false {
  if (!isRoot) return skip('only root may mount in a namespace')
  return missing('unshare', 'mount')
}
