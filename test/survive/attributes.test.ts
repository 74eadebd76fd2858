// A file that is replaced keeps its access control list and its extended attributes.
import assert from 'node:assert/strict'
import { chmodSync, cpSync, existsSync, linkSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { filesWithAttributes } from '../../src/io/write/attributes.ts'
import { missing, skip } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { sitePackages, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { makeTemplate, withCompiledWorld } from './template.ts'

/** user::rw-, user:1234:r--, group::r--, mask::rw-, other::r-- (linux/posix_acl_xattr.h). */
const ACL = '02000000 01000600ffffffff 02000400d2040000 04000400ffffffff 10000600ffffffff 20000400ffffffff'.replaceAll(
  ' ',
  '',
)

const isRoot = process.getuid?.() === 0

withCompiledWorld('attributes', theSuite)

function theSuite(world: World): void {
  suite('a replaced file keeps its other attributes', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const venv = join(world.root, 'venv')
    const site = sitePackages(world, venv)
    const small = readdirSync(sitePackages(world, template)).find(name => name.startsWith('small.')) ?? ''
    const [object, record] = [join(site, small), join(site, 'trio-1.0.dist-info/RECORD')]
    const python = (code: string, ...args: readonly string[]) =>
      runWell(world.host.python.executable, ['-c', code, ...args]).trim()
    const get = (path: string, name: string): string =>
      python('import os, sys; print(os.getxattr(sys.argv[1], sys.argv[2]).hex())', path, name)
    const set = (path: string, name: string, hex: string): void => {
      python('import os, sys; os.setxattr(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]))', path, name, hex)
    }
    const prepare = (): void => {
      rmSync(venv, { recursive: true, force: true })
      rmSync(join(world.root, 'link'), { force: true })
      cpSync(template, venv, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
      // one with a second link is replaced
      linkSync(object, join(world.root, 'link'))
      for (const path of [object, record]) chmodSync(path, 0o644)
    }
    const well = (command: string): void => {
      const libs = command === 'restore' ? [] : ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
      const { status, stdout, stderr } = wheelfix(world, [command, venv, ...libs], { PATH: process.env['PATH'] })
      assert.equal(status, 0, stdout + stderr)
    }
    const hasLists = (): string | false => {
      prepare()
      const code = 'import os, sys; os.setxattr(sys.argv[1], "system.posix_acl_access", bytes.fromhex(sys.argv[2]))'
      return (
        run(world.host.python.executable, ['-c', code, object, ACL]).status !== 0 && skip('needs access control lists')
      )
    }

    test('access control lists: the mask does not become what the group may do', { skip: hasLists() }, () => {
      prepare()
      const name = 'system.posix_acl_access'
      for (const path of [object, record]) set(path, name, ACL)
      const { ino } = statSync(object)
      const lists = [get(object, name), get(record, name)]
      assert.deepEqual(filesWithAttributes([object, record, join(venv, 'pyvenv.cfg')]), new Set([object, record]))
      for (const command of ['venv', 'restore']) {
        well(command)
        assert.deepEqual([get(object, name), get(record, name)], lists, command)
      }
      assert.notEqual(statSync(object).ino, ino)
    })

    test('extended attributes', { skip: missing('getfattr') }, () => {
      prepare()
      for (const path of [object, record]) set(path, 'user.origin', '666f6f')
      assert.deepEqual(filesWithAttributes([object, record, join(venv, 'pyvenv.cfg')]), new Set([object, record]))
      for (const command of ['venv', 'restore']) {
        well(command)
        for (const path of [object, record]) assert.equal(get(path, 'user.origin'), '666f6f', command)
      }
    })

    const labelled = isRoot && !existsSync('/sys/fs/selinux/enforce')
    const noLabels = labelled ? missing('getfattr') : skip('only root may set labels, where SELinux is off')
    test('a label of SELinux that the folder does not give to a new file', { skip: noLabels }, () => {
      prepare()
      const label = Buffer.from('system_u:object_r:textrel_shlib_t:s0\0').toString('hex')
      for (const path of [object, record]) set(path, 'security.selinux', label)
      for (const command of ['venv', 'restore']) {
        well(command)
        for (const path of [object, record]) assert.equal(get(path, 'security.selinux'), label, command)
      }
    })

    test('names of every kind are found, and many at once', { skip: hasLists() }, () => {
      prepare()
      const paths = [
        'a b',
        'ü',
        '-x',
        'new\nline',
        'back\\slash',
        ...Array.from({ length: 3000 }, (_, index) => `many${index}`),
      ].map(name => join(site, name))
      for (const path of paths) cpSync(join(venv, 'pyvenv.cfg'), path)
      for (const path of paths.slice(0, 6)) set(path, 'system.posix_acl_access', ACL)
      const began = Date.now()
      assert.deepEqual(filesWithAttributes(paths), new Set(paths.slice(0, 6)))
      assert.ok(Date.now() - began < 5000)
    })
  })
}
