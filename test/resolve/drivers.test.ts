import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { readElf } from '../../src/elf/read.ts'
import { bytesSource } from '../../src/elf/source.ts'
import { DRIVER_NAMES, isDriverLibrary, openedDriverLibrary } from '../../src/resolve/drivers.ts'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { planOf } from './memory.ts'

test('what programs ask a driver for belongs to the driver: NVIDIA, Intel, AMD and WSL', () => {
  assert.deepEqual(
    DRIVER_NAMES.filter(name => !isDriverLibrary(name)),
    [],
  )
  for (const part of ['cuda', 'ze_intel_gpu', 'amdocl64', 'dxcore']) {
    assert.ok(
      DRIVER_NAMES.some(name => name.startsWith(`lib${part}.so`)),
      part,
    )
  }
})

test('libraries that packages bring are not driver libraries', () => {
  const brought =
    'libcudart.so.12 libcudnn.so.9 libnvrtc.so.12 libze_loader.so.1 libOpenCL.so.1 libamdhip64.so.6 ' +
    'libhsa-runtime64.so.1 libdrm_amdgpu.so.1 libd3d12shim.so libcuda.so.1.bak'
  for (const name of brought.split(' ')) {
    assert.ok(!isDriverLibrary(name), name)
  }
})

test('an object that opens the driver by name gets its folder, as the last entry', () => {
  const world = {
    objects: {
      'torch/_C.abi3.so': { needed: ['libcudart.so.13'], runpath: '$ORIGIN/../nvidia/lib' },
      'nvidia/lib/libcudart.so.13': { soname: 'libcudart.so.13', runpath: '$ORIGIN' },
      'nvidia/lib/libnccl.so.2': { soname: 'libnccl.so.2' },
      'torch/linked.abi3.so': { needed: ['libcuda.so.1'] },
    },
    opensDriver: {
      'nvidia/lib/libcudart.so.13': 'libcuda.so.1',
      'nvidia/lib/libnccl.so.2': 'libnvidia-ml.so.1',
      'torch/linked.abi3.so': 'libcuda.so.1',
    },
  }
  const { of } = planOf({ ...world, driver: '/run/opengl-driver/lib' })
  const pathOf = (path: string) => of(path).edit?.searchPath?.value ?? null
  assert.equal(pathOf('nvidia/lib/libcudart.so.13'), '$ORIGIN:/run/opengl-driver/lib')
  assert.equal(pathOf('nvidia/lib/libnccl.so.2'), '/run/opengl-driver/lib')
  assert.equal(pathOf('torch/linked.abi3.so'), '/run/opengl-driver/lib')
  assert.equal(pathOf('torch/_C.abi3.so'), null)
  // nothing is planned, and nothing is missing, on a machine without a driver
  const without = planOf(world)
  assert.equal(without.of('nvidia/lib/libcudart.so.13').edit, null)
  assert.deepEqual(without.of('nvidia/lib/libcudart.so.13').missing, [])
})

/** Where the section table is, in the header of a 64-bit file. */
const E_SHOFF = 40
const E_SHNUM = 60
const E_SHSTRNDX = 62
/** The size of a section header, and where its offset is. Its size comes next. */
const SECTION = 64
const SH_OFFSET = 24
const OPENS = `#include <dlfcn.h>
void *opened(void) { return dlopen("NAME", RTLD_NOW); }`

suite('which library of the driver an object opens by name', { skip: missing('gcc', 'strip') }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-opens-'))
  after(() => rmSync(folder, { recursive: true }))
  let count = 0
  /** What is found in a library that is made of this C source, after these programs were run over it. */
  const openedBy = (
    source: string,
    flags: readonly string[] = [],
    programs: readonly string[][] = [],
  ): string | null => {
    const base = join(folder, `lib${count++}`)
    writeFileSync(`${base}.c`, source)
    runWell('gcc', ['-shared', '-fPIC', '-O2', ...flags, '-o', `${base}.so`, `${base}.c`])
    for (const [program = '', ...args] of programs) runWell(program, [...args, `${base}.so`])
    const bytes = bytesSource(readFileSync(`${base}.so`))
    return openedDriverLibrary(bytes, readElf(bytes))
  }
  const opens = (name: string) => OPENS.replace('NAME', name)

  test('is a name among its constants, where it calls dlopen', () => {
    const others = ['libGLX_nvidia.so.0', 'libEGL_nvidia.so.0', 'libGLESv1_CM_nvidia.so.1', 'libGLESv2_nvidia.so.2']
    for (const name of [...DRIVER_NAMES, ...others]) {
      assert.equal(openedBy(opens(name)), name)
    }
  })

  test('is none where the name is another one, only part of a sentence, or not opened', () => {
    for (const name of ['libcudart.so.13', 'libfoo.so.1', 'cannot open libcuda.so.1', 'libcuda.so.1 is too old']) {
      assert.equal(openedBy(opens(name)), null, name)
    }
    assert.equal(openedBy('const char *name(void) { return "libcuda.so.1"; }'), null)
    assert.equal(openedBy('int mydlopen(void) { return 0; } const char *name(void) { return "libcuda.so.1"; }'), null)
  })

  test('is found in each layout of the file', () => {
    const source = opens('libcuda.so.1')
    // constants and code in one segment, as older linkers lay them out
    assert.equal(openedBy(source, ['-Wl,-z,noseparate-code']), 'libcuda.so.1')
    assert.equal(openedBy(source, [], [['strip', '--strip-all']]), 'libcuda.so.1')
    assert.equal(
      openedBy(source, [], [['objcopy', '--rename-section', '.rodata.str1.1=.rodata.other']]),
      'libcuda.so.1',
    )
    const bytes = readFileSync(join(folder, `lib${count - 1}.so`))
    bytes.fill(0, E_SHOFF, E_SHOFF + 8)
    assert.equal(openedDriverLibrary(bytesSource(bytes), readElf(bytesSource(bytes))), 'libcuda.so.1')
  })

  test('is looked for in the segments where the section table makes no sense, and in no more bytes than the file has', () => {
    openedBy(opens('libcuda.so.1'))
    const good = readFileSync(join(folder, `lib${count - 1}.so`))
    const names = Number(good.readBigUInt64LE(E_SHOFF)) + good.readUInt16LE(E_SHSTRNDX) * SECTION
    const far = Buffer.from(good)
    far.writeBigUInt64LE(BigInt(good.length * 2), names + SH_OFFSET)
    assert.equal(openedDriverLibrary(bytesSource(far), readElf(bytesSource(far))), 'libcuda.so.1')
    openedBy(opens('libfoo.so.1'))
    const plain = readFileSync(join(folder, `lib${count - 1}.so`))
    let read = 0
    const table = Number(plain.readBigUInt64LE(E_SHOFF))
    const rodata = Array.from({ length: plain.readUInt16LE(E_SHNUM) }, (_, index) => table + index * SECTION).find(
      at => plain.readUInt32LE(at + 4) === 1 && plain.readBigUInt64LE(at + 8) === 0x32n,
    )
    assert.ok(rodata !== undefined, 'a section of strings')
    const header = Buffer.from(plain.subarray(rodata, rodata + SECTION))
    header.writeBigUInt64LE(0n, SH_OFFSET)
    header.writeBigUInt64LE(BigInt(plain.length), SH_OFFSET + 8)
    const many = Buffer.concat([
      plain.subarray(0, table),
      plain.subarray(table),
      ...Array.from({ length: 300 }, () => header),
    ])
    many.writeUInt16LE(plain.readUInt16LE(E_SHNUM) + 300, E_SHNUM)
    const source = bytesSource(many)
    const object = readElf(source)
    const counting = {
      ...source,
      size: many.length,
      read: (at: number, length: number) => ((read += length), source.read(at, length)),
    }
    assert.equal(openedDriverLibrary(counting, object), null)
    assert.ok(read < 4 * many.length, String(read))
  })

  test('is found where a read of the file ends within the name', () => {
    for (const before of [(1 << 20) - 6, (1 << 20) - 13, (1 << 20) - 1, 3 << 20]) {
      const source = `${opens('libcuda.so.1')}
const char filler[${before}] __attribute__((used)) = "filler";`
      assert.equal(openedBy(source), 'libcuda.so.1', String(before))
    }
  })
})
