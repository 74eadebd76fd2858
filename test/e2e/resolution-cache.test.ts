// The resolution cache of patchelf 0.19: a loader with nixpkgs' patch believes it before the search path, so an edit of the
// search path or of the needed libraries must not leave it behind. The real patchelf makes the caches.
import assert from 'node:assert/strict'
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { hasResolutionCache } from '../../src/elf/graft/resolution-cache.ts'
import { readElf } from '../../src/elf/read.ts'
import { verifyElf } from '../../src/elf/rules/verify.ts'
import { withSource } from '../../src/io/source.ts'
import { editElf } from '../support/elf.ts'
import { restoreObject } from '../../src/patchelf/rewrite.ts'
import { objectBytes, objectNames } from '../elf/objects.ts'
import { testVenv } from '../resolve/venv.ts'
import { missing, skip, which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { installTools } from '../world/tools.ts'
import { wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

suite('a resolution cache of patchelf', () => {
  const world = withWheels(buildWorld())
  const lacking = missing('gcc')
  if (typeof world === 'string' || lacking !== false) {
    test('needs a world, a compiler and patchelf 0.19', { skip: typeof world === 'string' ? skip(world) : lacking })
    return
  }
  after(() => world.dispose())
  installTools(world, ['patchelf'])
  const folder = mkdtempSync(join(world.root, 'cache-'))
  const at = (name: string): string => join(folder, name)
  const patchelf = (...args: string[]) => runWell(join(world.root, 'tools/bin/patchelf'), args)
  const compile = (output: string, text: string, ...flags: string[]): string => {
    writeFileSync(at('source.c'), text)
    runWell('gcc', ['-o', output, at('source.c'), ...flags])
    return output
  }
  const shared = ['-shared', '-fPIC']
  writeFileSync(
    at('cxx.cc'),
    '#include <string>\nextern "C" int below(); extern "C" int above() { return (int)std::string(below(), 65).size(); }',
  )
  compile(at('libbelow.so'), 'int below(void) { return 3; }', ...shared, '-Wl,-soname,libbelow.so')
  const links = [at('libbelow.so'), '-Wl,--no-as-needed', '-lm', `-Wl,-rpath,${folder}`]
  const LIBRARY = 'int below(void); int above(void) { return below(); }'
  const PROGRAM = 'int below(void); int main(void) { return below(); }'
  const makes = {
    library: () => compile(at('object'), LIBRARY, ...shared, ...links),
    program: () => compile(at('object'), PROGRAM, ...links),
    'program at a fixed address': () => compile(at('object'), PROGRAM, '-no-pie', ...links),
  }
  const cached = (path: string): boolean => withSource(path, source => hasResolutionCache(source, readElf(source)))
  const names = (path: string): boolean => readFileSync(path).includes(`=${at('libbelow.so')}`)
  const works = (path: string): void => {
    const open = ['-c', 'import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).above())', path]
    const started = makesLibrary(path) ? run(world.host.python.executable, open) : run(path, [])
    assert.equal(started.status, 3, started.stderr)
  }
  const makesLibrary = (path: string): boolean => withSource(path, source => readElf(source).ptInterp === null)
  const elf = (...args: string[]): void => {
    const { status, stderr } = wheelfix(world, ['elf', ...args])
    assert.equal(status, 0, stderr)
  }
  const sound = (path: string): void => assert.deepEqual(withSource(path, verifyElf), [])

  const STALE: readonly (readonly string[])[] = [
    ['--set-rpath', `/x:${folder}`],
    ['--add-rpath', '/x'],
    ['--force-rpath', '--set-rpath', folder],
    ['--add-needed', 'libdl.so.2'],
    ['--remove-needed', 'libm.so.6'],
    ['--replace-needed', 'libbelow.so', at('libbelow.so')],
    ['--remove-rpath', '--replace-needed', 'libbelow.so', at('libbelow.so')],
  ]
  for (const [kind, make] of Object.entries(makes)) {
    test(`an edit of what it is about drops it, and the way back is exact (${kind})`, () => {
      for (const edit of STALE) {
        const path = make()
        patchelf('--build-resolution-cache', path)
        assert.ok(cached(path) && names(path), 'patchelf makes one')
        const before = readFileSync(path)
        elf(...edit, path)
        assert.ok(!cached(path) && !names(path), edit.join(' '))
        sound(path)
        works(path)
        // patchelf finds none either, and can make one again
        patchelf('--set-rpath', folder, path)
        assert.ok(!cached(path), edit.join(' '))
        writeFileSync(path, before)
        elf(...edit, path)
        elf('--restore', path)
        assert.ok(before.equals(readFileSync(path)), edit.join(' '))
      }
    })

    test(`any other edit leaves it alone (${kind})`, () => {
      const path = make()
      patchelf('--build-resolution-cache', path)
      elf('--set-soname', 'libother.so', '--add-debug-tag', path)
      if (!makesLibrary(path)) elf('--set-interpreter', `/lib64/../lib64/ld-linux-x86-64.so.2`, path)
      elf('--set-rpath', folder, path)
      assert.ok(cached(path))
      works(path)
    })
  }

  test('in a program with a payload it is dropped in place', () => {
    const path = makes.program()
    patchelf('--build-resolution-cache', path)
    appendFileSync(path, 'PAYLOAD'.repeat(50))
    const before = readFileSync(path)
    elf('--replace-needed', 'libbelow.so', 'below.so', path)
    assert.equal(readFileSync(path).length, before.length)
    assert.ok(!cached(path) && !names(path))
    elf('--replace-needed', 'below.so', 'libbelow.so', path)
    works(path)
  })

  test('strip tools take a library without it', () => {
    for (const tool of ['llvm-strip', 'eu-strip'].filter(tool => which(tool) !== undefined)) {
      const path = makes.library()
      patchelf('--build-resolution-cache', path)
      elf('--set-rpath', `/x:${folder}`, path)
      runWell(tool, [path])
      works(path)
      assert.ok(!cached(path))
    }
  })

  test('a linker’s segment of several notes keeps the others', () => {
    const note = `__asm__(".section .note.nixos.ldcache,\\"a\\",@note\\n.balign 4\\n.long 6, 8, 0x63a86cb6\\n.asciz \\"NixOS\\"\\n"
      ".balign 4\\n.ascii \\"STALE!!!\\"\\n.previous\\n");`
    const path = compile(at('object'), `${note}\n${LIBRARY}`, ...shared, ...links, '-Wl,--build-id=sha1')
    const before = readFileSync(path)
    assert.ok(cached(path))
    const ids = () => runWell('readelf', ['-nW', path]).match(/Build ID: .*/)?.[0]
    const id = ids()
    elf('--set-rpath', `/x:${folder}`, path)
    assert.ok(!cached(path) && !readFileSync(path).includes('STALE'))
    assert.equal(ids(), id)
    works(path)
    elf('--restore', path)
    assert.ok(before.equals(readFileSync(path)))
  })

  test('dropped and put back on every machine', t => {
    const real = (path: string, ...args: string[]) => run(join(world.root, 'tools/bin/patchelf'), [...args, path])
    const none: string[] = []
    const names = objectNames.filter(name => !name.endsWith('.yaml'))
    for (const name of names) {
      const path = at('foreign')
      writeFileSync(path, objectBytes(name))
      mkdirSync(at('libs'), { recursive: true })
      const { needed } = withSource(path, readElf)
      for (const soname of needed) cpSync(at('libbelow.so'), join(at('libs'), soname))
      const fails = [['--set-rpath', at('libs')], ['--build-resolution-cache']].some(
        args => real(path, ...args).status !== 0,
      )
      // patchelf itself leaves some files that no loader can read
      if (fails || withSource(path, verifyElf).some(({ rule }) => rule === 'readable') || !cached(path)) {
        none.push(name)
        continue
      }
      const before = readFileSync(path)
      editElf(path, { searchPath: { tag: 'DT_RUNPATH', value: '/another' } })
      assert.ok(!cached(path) && !readFileSync(path).includes(`=${at('libs')}/`), name)
      restoreObject(path)
      assert.ok(before.equals(readFileSync(path)), name)
    }
    t.diagnostic(`patchelf makes none for ${none.join(', ')}`)
    assert.ok(names.length - none.length >= 20)
  })

  test('venv drops it where it changes the search path, and restore brings it back', () => {
    const venv = testVenv(world, 'cached')
    mkdirSync(join(venv.site, 'pack'))
    venv.install('pack', { 'pack/data.txt': 'x' })
    const module = join(venv.site, 'pack/module.abi3.so')
    runWell('g++', ['-shared', '-fPIC', '-o', module, '-xc++', at('cxx.cc'), '-xnone', ...links])
    const other = compile(join(venv.site, 'pack/other.abi3.so'), LIBRARY, ...shared, ...links)
    for (const path of [module, other]) patchelf('--build-resolution-cache', path)
    const before = [module, other].map(path => readFileSync(path))
    const libs = [world.libs.gcc, world.libs.zlib].join(':')
    assert.equal(venv.run('venv', '--no-scan', '--libs', libs).status, 0)
    assert.ok(!cached(module) && !names(module), 'it gets the folder of libstdc++')
    assert.ok(cached(other), 'nothing changes for it')
    assert.equal(venv.run('check', '--no-scan', '--libs', libs).status, 0)
    assert.equal(venv.run('restore').status, 0)
    for (const [index, path] of [module, other].entries()) assert.ok(before[index]?.equals(readFileSync(path)))
    rmSync(venv.root, { recursive: true })
  })
})
