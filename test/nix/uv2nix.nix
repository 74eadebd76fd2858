# As far as an overlay sees it, a package set of pyproject.nix: each wheel a derivation of its own, whose hook does what
# nixpkgs' autoPatchelfHook does. It gives each object the folders that hold what it needs, and fails where one is not found.
{
  # name -> folder with what the wheel puts into site-packages
  wheels,
  python,
  pkgs,
  # the program that sets search paths, and what runs it
  tool,
}:
let
  make =
    attrs:
    derivation (
      attrs
      // {
        system = builtins.currentSystem;
        builder = "/bin/bash";
        args = [ ./uv2nix-builder.sh ];
        PATH = "/usr/local/bin:/usr/bin:/bin";
      }
    )
    // {
      overrideAttrs = change: make (attrs // change attrs);
    };

  base =
    _:
    {
      inherit python pkgs;
    }
    // builtins.mapAttrs (
      name: src:
      make {
        inherit name src tool;
        inherit (python) sitePackages;
      }
    ) wheels;

  scope =
    overlay:
    let
      final = base final // overlay final (base final);
    in
    final // { overrideScope = scope; };
in
scope (_: _: { })
