// One row of the data: a package of nixpkgs and the sonames that it holds.

/** One row of the data. Lists are separated by spaces. */
export interface HintRow {
  /** The attribute in nixpkgs 26.05; for libraries of the graphics driver the NixOS option that installs them. */
  readonly attribute: string
  /** The attribute in older releases of nixpkgs, when it differs. */
  readonly former?: string
  /** The release that changed the name, when it is not 26.05. */
  readonly since?: string
  /** The first release without the package. */
  readonly gone?: string
  /** The output that holds the libraries, when it is not the one that `lib.getLib` takes. */
  readonly output?: string
  /** The names of its store paths, when they differ from the attribute's last word. */
  readonly packages?: string
  readonly sonames: string
  /**
   * `manylinux`: nixpkgs' pythonManylinuxPackages; `nix-ld`: the default libraries of NixOS's module; `recipe`: the package's
   * own recipe; `driver`: the list of files that NVIDIA's container toolkit takes from the host, and Intel's packages.
   */
  readonly source: 'manylinux' | 'nix-ld' | 'recipe' | 'driver'
  readonly note?: string
}
