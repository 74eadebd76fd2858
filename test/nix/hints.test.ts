import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { isDriverLibrary } from '../../src/resolve/drivers.ts'
import { hintOf } from '../../src/resolve/problems/hint.ts'
import {
  attributeFor,
  describeHint,
  hintFor,
  type HintRow,
  HINTS,
  isDriverHint,
  likelyPackage,
  packageNames,
} from '../../src/nix/hints.ts'
import { FAMILIES } from '../../src/nix/hints/versions.ts'
import { findPolicy, POLICIES } from '../../src/nix/policies.ts'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { checkHints } from './hints-check.ts'
import { attributesOf, checkFiles } from './hints-files.ts'
import { openNixpkgs } from './nixpkgs-tree.ts'
import { scratch } from './stores.ts'

test('the data has at least 300 sonames, each once, and only well-formed attributes, outputs and package names', () => {
  const sonames = HINTS.flatMap(row => row.sonames.split(' '))
  assert.ok(sonames.length >= 300)
  assert.equal(new Set(sonames).size, sonames.length)
  for (const soname of sonames) assert.match(soname, /^[\w+.-]+\.so(?:\.\d+)*$/)
  assert.equal(new Set(HINTS.map(row => row.attribute)).size, HINTS.length)
  for (const { attribute, output, packages } of HINTS) {
    assert.match(attribute, /^[a-zA-Z_][\w'-]*(?:\.[a-zA-Z_][\w'-]*)*$/)
    if (output !== undefined) assert.match(output, /^(?:lib|out)$/)
    if (packages !== undefined) for (const name of packages.split(' ')) assert.match(name, /^[\w+.-]+$/)
  }
})

test('a hint names attribute and output', () => {
  assert.deepEqual(hintFor('libstdc++.so.6'), { attribute: 'stdenv.cc.cc', output: 'lib' })
  assert.deepEqual(hintFor('libz.so.1'), { attribute: 'zlib' })
  assert.equal(hintFor('libzz.so.1'), null)
  assert.equal(hintFor('libdb.so'), null)
})

test('a name that is not a package gets the package that was meant', () => {
  assert.equal(likelyPackage('libgl'), 'libGL')
  assert.equal(likelyPackage('libGL.so.1'), 'libGL')
  assert.equal(likelyPackage('glibb'), 'glib')
  assert.equal(likelyPackage('qqqqqqqq'), null)
  // nixpkgs has it elsewhere, under this very name
  assert.equal(likelyPackage('zlib'), null)
})

test('a hint for a renamed attribute gives the old name and the release', () => {
  const told = (soname: string) => describeHint(hintFor(soname) ?? assert.fail())
  assert.equal(told('libX11.so.6'), 'in nixpkgs: libx11 (xorg.libX11 before 26.05)')
  assert.equal(told('libodbc.so.2'), 'in nixpkgs: unixodbc (unixODBC before 26.05)')
  assert.equal(told('libxcb-icccm.so.4'), 'in nixpkgs: libxcb-wm (xorg.xcbutilwm before 26.05)')
  assert.equal(
    told('libcusparseLt.so.0'),
    'in nixpkgs: cudaPackages.libcusparse_lt (cudaPackages.cusparselt before 25.11; unfree)',
  )
  assert.ok(HINTS.every(({ attribute }) => !attribute.startsWith('xorg.')))
})

test('each version of a library that nixpkgs keeps several of is its own package', () => {
  const versions = {
    'libavcodec.so.62': 'ffmpeg_8',
    'libswresample.so.5': 'ffmpeg_7',
    'libavutil.so.56': 'ffmpeg_4',
    'libicui18n.so.77': 'icu77',
    'libprotobuf.so.25.8.0': 'protobuf_25',
    'libprotobuf-lite.so.32.1.0': 'protobuf_32',
    'libprotobuf.so.32': 'protobuf_21',
    'libLLVM.so.20.1': 'llvmPackages_20.libllvm',
    'libclang-cpp.so.18.1': 'llvmPackages_18.libclang',
    'libboost_python311.so.1.87.0': 'boost187',
    'libfmt.so.9': 'fmt_9',
    'libxml2.so.2': 'libxml2_13',
    'libxml2.so.16': 'libxml2',
    'libpython3.14.so.1.0': 'python314',
    'libcudart.so.13': 'cudaPackages_13.cuda_cudart',
    'libcublas.so.12': 'cudaPackages_12.libcublas',
    'libssl.so.1.1': 'openssl_1_1',
  }
  for (const [soname, attribute] of Object.entries(versions)) {
    assert.equal(attributeFor(soname), attribute, soname)
    assert.equal(hintFor(soname)?.other, undefined)
  }
  for (const family of FAMILIES) {
    assert.deepEqual(
      [...family.versions],
      [...new Set(family.versions)].sort((a, b) => a - b),
    )
  }
})

test('another version is called another version, and is not offered', () => {
  const others = {
    'libavcodec.so.59': ['ffmpeg_6', 'libavcodec.so.60'],
    'libicuuc.so.99': ['icu78', 'libicuuc.so.78'],
    'libLLVM-15.so': ['llvmPackages_18.libllvm', 'libLLVM.so.18.1'],
    'libboost_filesystem.so.1.74.0': ['boost178', 'libboost_system.so.1.78.0'],
    'libpython3.9.so.1.0': ['python311', 'libpython3.11.so.1.0'],
    'libtiff.so.5': ['libtiff', 'libtiff.so.6'],
  }
  for (const [soname, [attribute, other]] of Object.entries(others)) {
    const hint = hintFor(soname)
    assert.equal(hint?.attribute, attribute)
    assert.equal(hint?.other, other)
    assert.equal(attributeFor(soname), null)
    assert.match(
      describeHint(hint ?? assert.fail()),
      /^no package of nixpkgs 26\.05 is known to have this version; in nixpkgs, /,
    )
  }
})

test('a library that a release dropped is called dropped, and is not offered', () => {
  const hint = hintFor('libOSMesa.so.8')
  assert.equal(describeHint(hint ?? assert.fail()), 'in nixpkgs before 25.11: mesa.osmesa')
  assert.equal(attributeFor('libOSMesa.so.8'), null)
})

test('a library of a driver names the option that brings it', () => {
  const libc = { kind: 'glibc', version: '2.40' } as const
  const told = (soname: string) => hintOf(soname, null, [], libc as Parameters<typeof hintOf>[3])
  assert.match(told('libcuda.so.1') ?? '', /on NixOS set hardware\.graphics\.enable = true; elsewhere/)
  assert.match(
    told('libze_intel_gpu.so.1') ?? '',
    /hardware\.graphics\.extraPackages = \[ pkgs\.intel-compute-runtime \]/,
  )
})

test('the libraries of the driver are hinted at as such, and the pattern that keeps them out of the store agrees', () => {
  for (const row of HINTS) {
    for (const soname of row.sonames.split(' ')) {
      assert.equal(isDriverHint(soname), row.source === 'driver')
      assert.equal(isDriverLibrary(soname), row.source === 'driver', soname)
    }
  }
})

test('store paths are looked for by the names of the data, then by names made from the soname', () => {
  assert.deepEqual(packageNames('libX11.so.6').slice(0, 1), ['libx11'])
  assert.deepEqual(packageNames('libGL.so.1').slice(0, 1), ['libglvnd'])
  assert.deepEqual(packageNames('libfoo-2.0.so.0'), ['libfoo-2.0', 'foo-2.0', 'libfoo', 'foo'])
})

test('every library that a policy allows is glibc’s or musl’s own, or has a hint', () => {
  const libc = /^lib(?:c|m|dl|rt|util|nsl|pthread|resolv|anl|mvec)\.so(?:\.\d+)?$/
  const sonames = new Set(POLICIES.flatMap(policy => policy.libraries))
  const without = [...sonames].filter(soname => !libc.test(soname) && hintFor(soname) === null)
  assert.deepEqual(without, [])
  assert.ok(sonames.has('libstdc++.so.6') && sonames.has('libexpat.so.1'))
})

test('policies are found by name, old name and whole tag', () => {
  assert.equal(findPolicy('manylinux2014')?.name, 'manylinux_2_17')
  assert.equal(findPolicy('manylinux1_x86_64')?.name, 'manylinux_2_5')
  assert.equal(findPolicy('manylinux_2_28_aarch64')?.newest['aarch64']?.['GLIBC'], '2.28')
  assert.equal(findPolicy('musllinux_1_2')?.libc, 'musl')
  assert.equal(findPolicy('manylinux_2_28_sparc'), null)
  assert.equal(new Set(POLICIES.flatMap(({ name, aliases }) => [name, ...aliases])).size, POLICIES.length + 3)
})

test(
  'npm run hints finds what a nixpkgs does not have, in another output, or by another name',
  {
    skip: missing('nix-instantiate'),
  },
  async t => {
    const folder = scratch(t)
    writeFileSync(
      join(folder, 'default.nix'),
      `{ system, overlays, config }:
    let
      package = name: outputs: derivation { inherit name system outputs; builder = "/bin/sh"; };
      pkgs = {
        zlib = package "zlib-1.3.1" [ "out" "dev" ];
        lz4 = package "lz4-1.10.0" [ "dev" "lib" "out" ];
        xorg.libX11 = package "libX11-1.8.12" [ "out" ];
        renamed = package "quite-other-1.0" [ "out" ];
        gone = throw "gone has been removed";
        # what no tryEval catches
        broken = abort "no";
      };
    in
    pkgs // (if config.allowAliases then { old = pkgs.zlib; } else { })`,
    )
    const row = (attribute: string, sonames: string, more: Partial<HintRow> = {}): HintRow => {
      return { attribute, sonames, source: 'recipe', ...more }
    }
    const rows = [
      row('zlib', 'libz.so.1'),
      row('lz4', 'liblz4.so.1', { output: 'lib' }),
      row('xorg.libX11', 'libX11.so.6 libX11.so.7'),
      row('xorg.none', 'libnone.so.1'),
      row('renamed', 'librenamed.so.1'),
      row('zlib', 'libz.so.1', { output: 'lib' }),
      row('gone', 'libgone.so.1'),
      row('broken', 'libbroken.so.1'),
      row('gone', 'libgone.so.0', { gone: '24.11' }),
      row('old', 'libold.so.1', { packages: 'zlib' }),
      row('hardware.graphics.enable', 'libcuda.so.1', { source: 'driver' }),
    ]
    const hashOf = (attribute: string, output: string): string => {
      const set = `import ${folder} { system = builtins.currentSystem; overlays = [ ]; config.allowAliases = true; }`
      const expression = `(${set}).${attribute}.${output}.outPath`
      return basename(JSON.parse(runWell('nix-instantiate', ['--eval', '--json', '-E', expression])) as string).slice(
        0,
        32,
      )
    }
    const lz4 = hashOf('lz4', 'lib')
    const server = createServer((request, response) => {
      const names = request.url === `/${lz4}.ls` ? ['liblz4.so.2'] : ['libX11.so.6', 'libz.so.1']
      const entries = Object.fromEntries(names.map(name => [name, { type: 'regular' }]))
      const root = { type: 'directory', entries: { lib: { type: 'directory', entries } } }
      response.end(JSON.stringify({ version: 1, root }))
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    t.after(() => server.close())
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const findings = await checkHints(rows, folder, `http://127.0.0.1:${port}`)
    assert.deepEqual(
      findings.map(({ attribute, severity, message }) => `${severity} ${attribute} ${message}`),
      [
        'error lz4 does not hold liblz4.so.1',
        'note xorg.libX11 does not hold libX11.so.7',
        'error xorg.none is not in this nixpkgs',
        'error renamed is called quite-other in the store, where nobody looks for librenamed.so.1',
        'error renamed does not hold librenamed.so.1',
        'error zlib has no output lib (out dev)',
        'error gone was removed from this nixpkgs',
        'error broken was removed from this nixpkgs',
        'note gone was removed from this nixpkgs',
        'note old is an alias',
        'error old does not hold libold.so.1',
      ],
    )
  },
)

/** A small nixpkgs whose files have the shapes of the real ones. */
const NIXPKGS_FILES: Readonly<Record<string, string>> = {
  'lib/.version': '26.05\n',
  'pkgs/by-name/li/libx11/package.nix': '',
  'pkgs/by-name/sd/SDL2_image/package.nix': '',
  'pkgs/top-level/all-packages.nix': `{ ... }:
{
  inherit (callPackages ../development/libraries/icu { })
    icu77
    icu78 # the latest
    ;
  inherit
    ({
      # a semicolon; and a bracket :) of a comment
      protobuf_21 = callPackage ../development/libraries/protobuf/21.nix { note = "a)"; };
    })
    protobuf_21
    ;
  inherit (import ./cuda-packages.nix { }) cudaPackages_13_2;
  inherit gst_all_2;
  cudaPackages_13 = cudaPackages_13_2;
  gst_all_1 = callPackage ../development/libraries/gstreamer { };
  llvmPackages_22 = llvmPackagesSet."22";
  qt5 = callPackage ../development/libraries/qt-5/5.15 { };
  qt6 = callPackage ../development/libraries/qt-6 { };
  zlib = callPackage ../development/libraries/zlib {
    inner = 1;
  };
}
`,
  'pkgs/top-level/aliases.nix': `mapAliases {
  libsoup_2_4 = throw "'libsoup_2_4' has been removed"; # Added 2026-06-07
  oldgone =
    throw "'oldgone' has been removed; it was unmaintained"; # Added 2026-01-01
  unixODBC = warnAlias "'unixODBC' has been renamed to 'unixodbc'" unixodbc; # Added 2026-02-12
  xorg =
    warnAlias "'xorg' has been renamed";
}
`,
  'pkgs/development/cuda-modules/packages/libcublas.nix': '',
  'pkgs/development/libraries/gstreamer/default.nix': '{\n    gst-plugins-base = callPackage ./base { };\n}\n',
  'pkgs/development/libraries/qt-5/5.15/default.nix': '{\n      qtbase = callPackage ../modules/qtbase.nix { };\n}\n',
  'pkgs/development/compilers/llvm/common/default.nix': '{\n      libllvm = callPackage ./llvm { };\n}\n',
}

test("nixpkgs' files confirm an attribute, or say that it was renamed, removed or never there", t => {
  const folder = scratch(t)
  const states = (...attributes: string[]) =>
    Object.fromEntries(checkFiles(attributes, openNixpkgs(folder)).map(({ attribute, state }) => [attribute, state]))
  assert.throws(() => openNixpkgs(folder), /has no folder pkgs and is not a Git directory/)
  mkdirSync(join(folder, 'pkgs'))
  assert.deepEqual(states('zlib', 'qt5.qtbase'), { zlib: 'unknown', 'qt5.qtbase': 'unknown' })
  for (const [path, text] of Object.entries(NIXPKGS_FILES)) {
    mkdirSync(join(folder, path, '..'), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  const expected = {
    libx11: 'confirmed',
    SDL2_image: 'confirmed',
    icu78: 'confirmed',
    zlib: 'confirmed',
    protobuf_21: 'confirmed',
    gst_all_2: 'confirmed',
    'stdenv.cc.cc': 'confirmed',
    'cudaPackages_13.libcublas': 'confirmed',
    'gst_all_1.gst-plugins-base': 'confirmed',
    'qt5.qtbase': 'confirmed',
    'llvmPackages_22.libllvm': 'confirmed',
    unixODBC: 'renamed',
    'xorg.libX11': 'renamed',
    libsoup_2_4: 'removed',
    oldgone: 'removed',
    // words of paths, comments and arguments are not packages
    development: 'absent',
    callPackages: 'absent',
    latest: 'absent',
    inner: 'absent',
    libx12: 'absent',
    'cudaPackages_13.libnone': 'absent',
    'cudaPackages_12.libcublas': 'absent',
    'gst_all_1.base': 'absent',
    'qt6.qtbase': 'unknown',
  }
  const attributes = Object.keys(expected)
  assert.deepEqual(states(...attributes), expected)
  assert.ok(attributesOf(HINTS).includes('icu77') && !attributesOf(HINTS).includes('mesa.osmesa'))

  // the same of a Git directory, without files
  const git = (...args: string[]) => runWell('git', args, { cwd: folder, env: { ...process.env, HOME: folder } })
  git('init', '-q', '.')
  git('add', '.')
  git('-c', 'user.name=n', '-c', 'user.email=e', 'commit', '-qm', 'nixpkgs')
  const bare = join(scratch(t), 'nixpkgs.git')
  git('clone', '-q', '--bare', folder, bare)
  const tree = openNixpkgs(bare)
  assert.match(tree.name, /^nixpkgs 26\.05, commit [0-9a-f]{40}$/)
  assert.equal(tree.folder, null)
  const told = checkFiles(attributes, tree).map(({ attribute, state }) => [attribute, state])
  assert.deepEqual(Object.fromEntries(told), expected)
})

test('docs/hints.md lists every attribute of the data once: as confirmed, or as not confirmed', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/hints.md'), 'utf8')
  const lists = page.slice(page.indexOf('\n## '), page.indexOf('\n## Left out'))
  const listed = [...lists.matchAll(/`([^`\s]+)`/g)].map(match => match[1] ?? '')
  const attributes = attributesOf(HINTS)
  for (const attribute of attributes) {
    assert.equal(listed.filter(name => name === attribute).length, 1, `${attribute} in docs/hints.md`)
  }
  const [, confirmed, all] = /(\d+) of (\d+) attributes confirmed/.exec(page) ?? []
  const unconfirmed = /\n## Not confirmed\n[^]*?(?=\n## )/.exec(page)?.[0] ?? ''
  const left = attributes.filter(attribute => unconfirmed.includes(`\`${attribute}\``)).length
  assert.deepEqual([Number(confirmed), Number(all)], [attributes.length - left, attributes.length])
})
