// One row of the data: a package of nixpkgs and the sonames that it holds.

/** A row of the data; the lists are separated by spaces. */
export interface HintRow {
  /** What a user of nixpkgs 26.05 writes; for libraries of the graphics driver the NixOS option that installs it. */
  readonly attribute: string
  /** What a user of an older nixpkgs writes, where it is another name. */
  readonly former?: string
  /** The release that changed the name, where it is not 26.05. */
  readonly since?: string
  /** The first release that has no such package any more. */
  readonly gone?: string
  /** The output that holds the libraries, where it is not the one that `lib.getLib` takes. */
  readonly output?: string
  /** What its store paths are called, where that differs from the attribute's last word. */
  readonly packages?: string
  readonly sonames: string
  /**
   * `manylinux`: nixpkgs' pythonManylinuxPackages; `nix-ld`: the default libraries of NixOS's module; `recipe`: the package's
   * own recipe; `driver`: the list of files that NVIDIA's container toolkit takes from the host, and Intel's packages.
   */
  readonly source: 'manylinux' | 'nix-ld' | 'recipe' | 'driver'
  readonly note?: string
}
