// What an environment imports and holds beside site-packages and bin/ is patched too, or named.
import assert from 'node:assert/strict'
import { appendFileSync, existsSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { test } from 'node:test'
import { MODULE, testVenv, type TestVenv } from '../resolve/venv.ts'
import { run } from '../support/run.ts'
import { treeContent } from '../support/tree.ts'
import { buildModule } from '../world/module.ts'
import { worldSuite } from '../world/suite.ts'
import { wheelfix } from '../world/venv.ts'

worldSuite('what belongs to an environment', ['gcc', 'ld'], world => {
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`, '--no-scan']
  const imports = (venv: TestVenv, code: string): boolean =>
    run(join(venv.root, 'bin/python'), ['-c', code], { env: world.env }).status === 0
  const status = (venv: TestVenv, command: string, ...args: string[]): number =>
    venv.run(command, ...args, ...libs).status
  /** The status of `venv`, which is to leave nothing to do, and of the commands that look. */
  const settle = (venv: TestVenv, ...args: string[]): void => {
    const { status: ended, stdout, stderr } = venv.run('venv', ...args, ...libs)
    assert.equal(ended, 0, stdout + stderr)
    assert.equal(status(venv, 'check'), 0)
    const doctor = venv.run('doctor', '--import', ...libs)
    assert.equal(doctor.status, 0, doctor.stdout)
    const again = venv.run('venv', ...args, ...libs)
    assert.match(again.stdout, /nothing to do/)
  }

  test('a library that RECORD lists outside of site-packages (the data scheme of a wheel)', () => {
    const venv = testVenv(world, 'data')
    venv.install('data', {})
    for (const file of ['lib/data.so', 'share/data/plugins/more.so']) {
      buildModule(join(venv.root, file))
      appendFileSync(join(venv.site, 'data-1.0.dist-info/RECORD'), `../../../${file},,\n`)
    }
    const before = treeContent(venv.root)
    const load =
      'import ctypes, sys; [ctypes.CDLL(sys.prefix + f) for f in ("/lib/data.so", "/share/data/plugins/more.so")]'
    assert.ok(!imports(venv, load))
    assert.equal(status(venv, 'check'), 1)
    settle(venv)
    assert.ok(imports(venv, load))
    assert.equal(venv.run('restore').status, 0)
    assert.deepEqual(treeContent(venv.root), before)
  })

  test('a folder that a .pth adds, below site-packages or beside it', () => {
    const venv = testVenv(world, 'pth')
    for (const folder of [join(venv.site, 'pre.fix/lib'), join(venv.root, 'opt')]) {
      buildModule(join(folder, `${folder.endsWith('opt') ? 'beside' : 'below'}/core${MODULE}`))
    }
    writeFileSync(join(venv.site, 'x.pth'), `# folders\npre.fix/lib\n${venv.root}/opt\n`)
    assert.ok(!imports(venv, 'import beside.core') && !imports(venv, 'import below.core'))
    settle(venv)
    assert.ok(imports(venv, 'import beside.core, below.core'))
    for (const name of ['beside.core', 'below.core', 'below']) assert.equal(status(venv, 'why', name), 0, name)
    // the modules are known by the names that import takes
    const { stdout } = venv.run('doctor', '--import', '--json', ...libs)
    assert.equal((JSON.parse(stdout) as { imported: number }).imported, 2)
  })

  const editables: Record<string, (venv: TestVenv, source: string) => string> = {
    'a .pth that names a source tree': (venv, source) => {
      writeFileSync(join(venv.site, '__editable__.edited-1.0.pth'), `${source}/src\n`)
      return 'edited.core'
    },
    'a finder of setuptools': (venv, source) => {
      const finder = `MAPPING: dict[str, str] = {'edited': '${source}/src/edited'}\n${FINDER}`
      writeFileSync(join(venv.site, '__editable___edited_1_0_finder.py'), finder)
      writeFileSync(
        join(venv.site, '__editable__.edited-1.0.pth'),
        'import __editable___edited_1_0_finder as f; f.install()',
      )
      return 'edited.core'
    },
    'a finder that is not understood (direct_url.json names the project)': (venv, source) => {
      venv.install('edited', {})
      const url = { url: `file://${source}`, dir_info: { editable: true } }
      writeFileSync(join(venv.site, 'edited-1.0.dist-info/direct_url.json'), JSON.stringify(url))
      writeFileSync(join(venv.site, 'loader.pth'), `import sys; sys.path.append('${source}/src')\n`)
      return 'edited.core'
    },
    'a .pth whose code names the source tree': (venv, source) => {
      writeFileSync(join(venv.site, 'x.pth'), `import sys; sys.path.insert(0, "${source}/src")\n`)
      return 'edited.core'
    },
    'a .pth whose code adds the source tree as a site': (venv, source) => {
      writeFileSync(join(venv.site, 'x.pth'), `import site; site.addsitedir('${source}/src')\n`)
      return 'edited.core'
    },
    'a .pth with line ends of another system': (venv, source) => {
      writeFileSync(join(venv.site, 'x.pth'), `# sources\r/nowhere\r${source}/src\r`)
      return 'edited.core'
    },
    'a finder of the library editables (hatch, pdm)': (venv, source) => {
      // as hatchling writes it; the library itself stands below
      mkdirSync(join(venv.site, 'editables'))
      writeFileSync(join(venv.site, 'editables/__init__.py'), '')
      writeFileSync(join(venv.site, 'editables/redirector.py'), REDIRECTOR)
      writeFileSync(
        join(venv.site, '_editable_impl_edited.py'),
        'from editables.redirector import RedirectingFinder as F\nF.install()\n' +
          `F.map_module('edited', '${source}/src/edited/__init__.py')`,
      )
      writeFileSync(join(source, 'src/edited/__init__.py'), '')
      writeFileSync(join(venv.site, '_editable_impl_edited.pth'), 'import _editable_impl_edited')
      return 'edited.core'
    },
    'the tree of links that setuptools makes in strict mode': (venv, source) => {
      const tree = join(source, 'build/__editable__.edited-1.0-cp311-cp311-linux_x86_64')
      mkdirSync(join(tree, 'edited'), { recursive: true })
      symlinkSync(join(source, 'src/edited', `core${MODULE}`), join(tree, 'edited', `core${MODULE}`))
      writeFileSync(join(venv.site, '__editable__.edited-1.0.pth'), `${tree}\n`)
      return 'edited.core'
    },
    'a tree of links that nobody knows': (venv, source) => {
      const tree = `${source}-links`
      mkdirSync(join(tree, 'edited'), { recursive: true })
      symlinkSync(join(source, 'src/edited', `core${MODULE}`), join(tree, 'edited', `core${MODULE}`))
      writeFileSync(join(venv.site, 'links.pth'), `${tree}\n`)
      return 'edited.core'
    },
    'the build folder of meson-python, which is not in the project': (venv, source) => {
      venv.install('edited', {})
      const url = { url: `file://${source}`, dir_info: { editable: true } }
      writeFileSync(join(venv.site, 'edited-1.0.dist-info/direct_url.json'), JSON.stringify(url))
      const build = `${source}-build`
      const built = join(build, 'sub-dir', `core${MODULE}`)
      mkdirSync(join(build, 'meson-info'), { recursive: true })
      mkdirSync(join(build, 'sub-dir'))
      renameSync(join(source, 'src/edited', `core${MODULE}`), built)
      const targets = { [built]: { destination: `{py_platlib}/edited/core${MODULE}`, tag: 'runtime' } }
      writeFileSync(join(build, 'meson-info/intro-install_plan.json'), JSON.stringify({ targets }))
      writeFileSync(join(venv.site, '_edited_editable_loader.py'), mesonLoader(build))
      writeFileSync(join(venv.site, 'edited-editable.pth'), 'import _edited_editable_loader as f; f.init()\n')
      return 'edited.core'
    },
  }
  for (const [how, install] of Object.entries(editables)) {
    test(`${how}: named, and patched with --editable`, () => {
      const name = `editable${Object.keys(editables).indexOf(how)}`
      const venv = testVenv(world, name)
      const source = join(world.root, `${name}-source`)
      mkdirSync(source)
      buildModule(join(source, 'src/edited', `core${MODULE}`))
      // what nobody imports: an environment in the tree, folders that are not packages
      for (const other of ['venv/lib', 'node_modules/x', '.tox/y']) buildModule(join(source, other, `core${MODULE}`))
      writeFileSync(join(source, 'venv/pyvenv.cfg'), 'home = /nowhere\n')
      const module = install(venv, source)
      const outside = () => [source, `${source}-build`].filter(folder => existsSync(folder)).map(treeContent)
      const before = outside()
      assert.ok(!imports(venv, `import ${module}`))
      for (const command of ['venv', 'check', 'doctor']) {
        const { status: ended, stdout } = venv.run(command, ...libs)
        assert.equal(ended, 1, stdout)
        assert.match(stdout, /--editable/)
        assert.doesNotMatch(stdout, /nothing (?:to do|is wrong)|[2-9] objects there/)
      }
      assert.deepEqual(outside(), before)
      settle(venv, '--editable')
      assert.ok(imports(venv, `import ${module}`))
      if (!/not understood|nobody knows/.test(how)) assert.equal(status(venv, 'why', module), 0)
      // it is the tree's, not the venv's: given back when it is asked for
      assert.equal(venv.run('restore').status, 0)
      assert.ok(imports(venv, `import ${module}`))
      assert.equal(venv.run('restore', '--editable').status, 0)
      assert.deepEqual(outside(), before)
    })
  }

  const computed: Record<string, (venv: TestVenv, source: string) => void> = {
    'code that joins a path': (venv, source) => {
      const up = `os.path.join(os.path.dirname(sys.prefix), '${basename(source)}')`
      writeFileSync(join(venv.site, 'x.pth'), `import os, sys; sys.path.append(${up})\n`)
    },
    'code that joins a folder that holds everything': (venv, source) => {
      const path = `os.path.join('${dirname(source)}', '${basename(source)}')`
      writeFileSync(join(venv.site, 'x.pth'), `import os, site; site.addsitedir(${path})\n`)
    },
    'code that takes it from the environment': (venv, source) => {
      const path = `os.environ.get('WHERE_IT_IS', '') or '${dirname(source)}' + '/${basename(source)}'`
      writeFileSync(join(venv.site, 'x.pth'), `import os, sys; sys.path += [${path}]\n`)
    },
    'a module that a .pth imports': (venv, source) => {
      writeFileSync(join(venv.site, 'folders.py'), `import sys\nsys.path.append('${source}')\n`)
      writeFileSync(join(venv.site, 'x.pth'), 'import folders\n')
    },
    'sitecustomize, of which only doctor knows': (venv, source) => {
      writeFileSync(join(venv.site, 'sitecustomize.py'), `import sys\nsys.path.append('${source}')\n`)
    },
  }
  for (const [how, install] of Object.entries(computed)) {
    test(`a folder that only running code tells of is never called well: ${how}`, () => {
      const name = `computed${Object.keys(computed).indexOf(how)}`
      const venv = testVenv(world, name)
      const source = join(world.root, `${name}-source`)
      buildModule(join(source, 'found', `core${MODULE}`))
      install(venv, source)
      assert.ok(!imports(venv, 'import found.core'))
      const before = treeContent(source)
      for (const command of ['check', 'venv']) {
        const { stdout, stderr } = venv.run(command, ...libs)
        assert.doesNotMatch(stdout, /outside/, 'nothing beside the folder is taken for a folder of modules')
        if (!/only doctor/.test(how)) assert.match(stdout + stderr, /code in x\.pth adds computed folders to sys\.path/)
      }
      assert.deepEqual(treeContent(source), before)
      const doctor = venv.run('doctor', ...libs)
      assert.equal(doctor.status, 1)
      assert.ok(doctor.stdout.includes(`wheelfix path --python ${venv.root} ${source}`), doctor.stdout)
      // the remedy works, and then nothing is left to say
      const remedy = wheelfix(world, ['path', '--python', venv.root, source, ...libs])
      assert.equal(remedy.status, 0, remedy.stdout + remedy.stderr)
      assert.ok(imports(venv, 'import found.core'))
      assert.equal(status(venv, 'doctor'), 0)
    })
  }

  test('code lines that installers write add no folder, and nothing is said of them', () => {
    const venv = testVenv(world, 'harmless')
    const lines = {
      'distutils-precedence.pth': `import os; enabled = os.environ.get('X', 'local') == 'local'; enabled and __import__('_distutils_hack').add_shim();`,
      '_virtualenv.pth': 'import _virtualenv',
      'easy-install.pth': 'import sys; sys.__plen = len(sys.path)',
      'google-nspkg.pth': `import sys, os; p = os.path.join(sys._getframe(1).f_locals['sitedir'], 'google'); m = sys.modules.get('google'); m and m.__path__.append(p)`,
    }
    for (const [name, line] of Object.entries(lines)) writeFileSync(join(venv.site, name), `${line}\n`)
    writeFileSync(join(venv.site, '_virtualenv.py'), '')
    for (const command of ['venv', 'check']) {
      const { status: ended, stdout, stderr } = venv.run(command, ...libs)
      assert.equal(ended, 0)
      assert.doesNotMatch(stdout + stderr, /sys\.path|warning/)
    }
  })

  test('a .pth that names the root, or has a NUL, adds nothing', () => {
    const venv = testVenv(world, 'oddly')
    writeFileSync(join(venv.site, 'root.pth'), '/\n')
    writeFileSync(join(venv.site, 'nul.pth'), `${venv.root}\0\n`)
    for (const command of ['venv', 'check', 'doctor', 'restore']) {
      const { status: ended, stdout, stderr } = venv.run(command, ...(command === 'restore' ? [] : libs))
      assert.equal(ended, 0, stdout + stderr)
    }
  })

  test('a link to a file of the system or of another environment is not followed', () => {
    const venv = testVenv(world, 'aside')
    const source = join(world.root, 'aside-source')
    const elsewhere = join(world.root, 'elsewhere')
    const others = join(source, 'other/lib')
    mkdirSync(join(source, 'links/pack'), { recursive: true })
    const strict = join(source, 'build/__editable__.aside-1.0-cp311-cp311-linux_x86_64')
    mkdirSync(strict, { recursive: true })
    for (const folder of [elsewhere, others]) buildModule(join(folder, `core${MODULE}`))
    writeFileSync(join(source, 'other/pyvenv.cfg'), 'home = /nowhere\n')
    symlinkSync(join(elsewhere, `core${MODULE}`), join(source, `links/pack/system${MODULE}`))
    symlinkSync(join(others, `core${MODULE}`), join(source, `links/pack/other${MODULE}`))
    symlinkSync(join(elsewhere, `core${MODULE}`), join(strict, `system${MODULE}`))
    writeFileSync(join(venv.site, 'x.pth'), `${source}/links\n${strict}\n`)
    const before = [source, elsewhere].map(treeContent)
    assert.equal(venv.run('venv', '--editable', ...libs).status, 0)
    assert.deepEqual([source, elsewhere].map(treeContent), before)
  })

  test('folders of which one holds the other are looked at once, in either order', () => {
    for (const order of [0, 1]) {
      const venv = testVenv(world, `nested${order}`)
      const source = join(world.root, `nested${order}-source`)
      buildModule(join(source, 'pack', `core${MODULE}`))
      const lines = [source, join(source, 'pack')]
      if (order === 1) lines.reverse()
      writeFileSync(join(venv.site, 'x.pth'), lines.map(line => `${line}\n`).join(''))
      const { objects } = JSON.parse(venv.run('venv', '--editable', '--json', ...libs).stdout) as { objects: unknown[] }
      assert.equal(objects.length, 1)
      assert.ok(imports(venv, 'import pack.core, core'))
    }
  })

  test('an editable tree without objects, or whose objects need nothing, is not mentioned', () => {
    const venv = testVenv(world, 'pure')
    const source = join(world.root, 'pure-source')
    mkdirSync(join(source, 'pure'), { recursive: true })
    writeFileSync(join(source, 'pure/__init__.py'), '')
    writeFileSync(join(venv.site, '__editable__.pure-1.0.pth'), `${source}\n`)
    const { status: ended, stdout, stderr } = venv.run('venv', ...libs)
    assert.equal(ended, 0)
    assert.doesNotMatch(stdout + stderr, /editable/)
  })
})

/** What setuptools writes below MAPPING, as short as it works. */
const FINDER = `
import sys
from importlib.machinery import PathFinder
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in MAPPING: return PathFinder.find_spec(name, [MAPPING[name].rpartition('/')[0]])
def install(): sys.meta_path.append(Finder)
`

/** What the library "editables" brings, as short as it works. */
const REDIRECTOR = `
import importlib.util, sys
class RedirectingFinder:
    modules = {}
    @classmethod
    def map_module(cls, name, path): cls.modules[name] = path
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in cls.modules: return importlib.util.spec_from_file_location(name, cls.modules[name])
    @classmethod
    def install(cls): sys.meta_path.append(cls)
`

/** What meson-python writes, as short as it works. */
const mesonLoader = (build: string): string => `
import glob, importlib.util, sys
class MesonpyMetaFinder:
    def __init__(self, name, tops, build, command, verbose): self.build = build
    def find_spec(self, name, path=None, target=None):
        if name == 'edited': return importlib.util.spec_from_loader(name, None, is_package=True)
        if name != 'edited.core': return None
        return importlib.util.spec_from_file_location(name, glob.glob(self.build + '/*/core.*')[0])
def init():
    finder = MesonpyMetaFinder(
        'edited',
        {'edited'},
        '${build}',
        ['/usr/bin/ninja'],
        False,
    )
    sys.meta_path.insert(0, finder)
`
