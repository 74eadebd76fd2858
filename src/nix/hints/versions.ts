// Libraries of which nixpkgs keeps several versions side by side, each as its own package. The soname shows the version, and
// the version gives the attribute. The lists are those of nixpkgs 26.05 (pkgs/top-level/all-packages.nix).

/** A library with a package for each version. */
export interface VersionFamily {
  /** Matches the sonames of every version. The first group that matched is the version. */
  readonly pattern: RegExp
  /** The versions that nixpkgs has. */
  readonly versions: readonly number[]
  attribute(version: number): string
  soname(version: number): string
  readonly output?: string
  readonly packages: string
}

const LLVM = [18, 19, 20, 21, 22]

export const FAMILIES: readonly VersionFamily[] = [
  {
    pattern: /^libicu(?:uc|i18n|data|io|tu|test)\.so\.(\d+)$/,
    versions: [60, 63, 64, 66, 67, 70, 71, 72, 73, 74, 75, 76, 77, 78],
    attribute: version => `icu${version}`,
    soname: version => `libicuuc.so.${version}`,
    packages: 'icu4c',
  },
  {
    pattern: /^libboost_\w+\.so\.1\.(\d+)\.\d+$/,
    versions: [78, 79, 80, 81, 82, 83, 86, 87, 88, 89, 90, 91],
    attribute: version => `boost1${version}`,
    soname: version => `libboost_system.so.1.${version}.0`,
    packages: 'boost',
  },
  {
    pattern: /^libfmt\.so\.(\d+)$/,
    versions: [9, 10, 11, 12],
    attribute: version => `fmt_${version}`,
    soname: version => `libfmt.so.${version}`,
    packages: 'fmt',
  },
  {
    // since 22 the soname has all parts of the version (libprotobuf.so.25.8.0); libprotobuf.so.32 belongs to 3.21
    pattern: /^libproto(?:buf|buf-lite|c)\.so\.(\d+)\.\d+\.\d+$/,
    versions: [25, 27, 29, 30, 31, 32, 33, 34, 35],
    attribute: version => `protobuf_${version}`,
    soname: version => `libprotobuf.so.${version}`,
    packages: 'protobuf',
  },
  {
    // libLLVM-17.so up to 17, libLLVM.so.18.1 from 18 on
    pattern: /^lib(?:LLVM-(\d+)\.so(?:\.1)?|(?:LLVM|LTO|Remarks)\.so\.(\d+)(?:\.\d+)?)$/,
    versions: LLVM,
    attribute: version => `llvmPackages_${version}.libllvm`,
    soname: version => `libLLVM.so.${version}.1`,
    output: 'lib',
    packages: 'llvm',
  },
  {
    // LLVM 13 to 18 all have libclang.so.13, so the plain rows hold it
    pattern: /^libclang(?:-cpp\.so\.(\d+)(?:\.\d+)?|\.so\.(\d+)\.\d+)$/,
    versions: LLVM,
    attribute: version => `llvmPackages_${version}.libclang`,
    soname: version => `libclang-cpp.so.${version}.1`,
    output: 'lib',
    packages: 'clang',
  },
  {
    pattern: /^libpython3\.(\d+)\.so\.1\.0$/,
    versions: [11, 12, 13, 14, 15],
    attribute: version => `python3${version}`,
    soname: version => `libpython3.${version}.so.1.0`,
    packages: 'python3',
  },
]
