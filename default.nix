# The project without flakes: for users of channels, npins or niv, `import path/to/wheelfix { inherit pkgs; }`. The flake is
# made from this file.
{
  pkgs ? import <nixpkgs> { },
  # where `wheelfix libs build` takes the sets from
  flake ? null,
}:
let
  inherit (pkgs) lib;
  sets = import ./nix/libraries.nix;
  # with the manylinux set as a fallback, and without one (for builds, which name their libraries)
  wheelfix = pkgs.callPackage ./nix/package.nix {
    inherit flake;
    libs = sets.manylinux pkgs;
  };
  bare = pkgs.callPackage ./nix/package.nix { };
  # a folder of links, for --libs: wheelfix writes the packages' own paths
  farmOf =
    name: packages:
    pkgs.buildEnv {
      inherit name;
      paths = map lib.getLib packages;
      pathsToLink = [ "/lib" ];
      ignoreCollisions = true;
    };
in
{
  inherit wheelfix;
  libs = farmOf "wheelfix-libs" (sets.manylinux pkgs);
  libs-desktop = farmOf "wheelfix-libs-desktop" (sets.desktop pkgs);
  # fixWheel, fixWheels, fixVenv, mkLoader, pythonWithLibs, mkPythonShell, sets
  functions = import ./nix/functions.nix {
    inherit pkgs sets;
    wheelfix = bare;
    tool = wheelfix;
  };
  nixosModules.default = import ./nix/module.nix { kind = "nixos"; };
  homeModules.default = import ./nix/module.nix { kind = "home"; };
}
