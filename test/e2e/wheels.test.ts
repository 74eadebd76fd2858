// Twelve real packages from PyPI in the world: they fail, one run of wheelfix makes them work, and `restore` undoes it.
import assert from 'node:assert/strict'
import { after, suite, test } from 'node:test'
import { interpreterOf } from '../support/elf.ts'
import { skip } from '../support/requires.ts'
import { treeContent, treeState } from '../support/tree.ts'
import { disagreements, parseReport } from '../world/report.ts'
import { makeVenv, pipInstall, wheelfix, withWheels } from '../world/venv.ts'
import { nixWorld } from '../world/nix.ts'
import { buildWorld, type World } from '../world/world.ts'
import { TESTED_PACKAGES, usePackage } from './packages.ts'

theWholeWay('a world without Nix', withWheels(buildWorld()))
theWholeWay('a world in a real Nix store', withWheels(nixWorld()))

function theWholeWay(title: string, world: World | string): void {
  if (typeof world === 'string') {
    test(title, { skip: skip(world) })
    return
  }
  suite(title, () => {
    after(() => world.dispose())
    const venv = makeVenv(world, 'venv')
    pipInstall(
      world,
      venv,
      TESTED_PACKAGES.map(({ name }) => name),
    )
    const asInstalled = treeContent(venv)
    const dryRun = (): string => wheelfix(world, ['venv', venv, '--dry-run', '--json']).stdout

    test('before: what needs a missing library fails with the words of the loader', () => {
      for (const tested of TESTED_PACKAGES.filter(({ failsBefore }) => failsBefore)) {
        const { works, said } = usePackage(venv, tested, world.env)
        assert.ok(
          !works && /: cannot open shared object file: No such file or directory/.test(said),
          `${tested.name}: ${said}`,
        )
      }
    })

    test('check says that changes are pending, and writes nothing', () => {
      const state = treeState(venv)
      assert.equal(wheelfix(world, ['check', venv]).status, 1)
      assert.deepEqual(treeState(venv), state)
    })

    let planned = ''
    test('a dry run exits as the real run will and writes nothing', () => {
      const state = treeState(venv)
      const { status, stdout } = wheelfix(world, ['venv', venv, '--dry-run', '--json'])
      planned = stdout
      assert.equal(status, 0)
      assert.deepEqual(treeState(venv), state)
    })

    test('the plan does not hold before the run', () => {
      assert.notDeepEqual(disagreements(parseReport(planned), `${venv}/bin/python`, world.env), [])
    })

    test('one run makes everything work', async t => {
      const { status, stdout, stderr } = wheelfix(world, ['venv', venv])
      assert.equal(status, 0, stdout + stderr)
      for (const tested of TESTED_PACKAGES) {
        await t.test(tested.name, () => {
          const { works, said } = usePackage(venv, tested, world.env)
          assert.ok(works, said)
        })
      }
    })

    test('executables ask for the loader of the Python', () => {
      assert.equal(interpreterOf(`${venv}/bin/ruff`), interpreterOf(world.python))
    })

    test('the real loader finds exactly what the plan said that it would', () => {
      assert.deepEqual(disagreements(parseReport(planned), `${venv}/bin/python`, world.env), [])
    })

    test('the real loader finds exactly what the report of the patched venv says', () => {
      assert.deepEqual(disagreements(parseReport(dryRun()), `${venv}/bin/python`, world.env), [])
    })

    test('a second run changes no byte, no time and no inode, and says so', () => {
      const state = treeState(venv)
      const { status, stdout } = wheelfix(world, ['venv', venv])
      assert.equal(status, 0)
      assert.match(stdout, /nothing to do|already fine/i)
      assert.deepEqual(treeState(venv), state)
    })

    test('check succeeds', () => {
      const { status, stdout, stderr } = wheelfix(world, ['check', venv])
      assert.equal(status, 0, stdout + stderr)
    })

    test('restore gives back every byte', () => {
      const { status, stdout, stderr } = wheelfix(world, ['restore', venv])
      assert.equal(status, 0, stdout + stderr)
      assert.deepEqual(treeContent(venv), asInstalled)
    })
  })
}
