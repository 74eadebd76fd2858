{
  description = "wheelfix makes PyPI wheels work on NixOS and in any Nix Python";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});

      sets = import ./nix/libraries.nix;
      # with the manylinux set as what it falls back to, and without any (for builds, which name their libraries)
      toolFor =
        pkgs:
        pkgs.callPackage ./nix/package.nix {
          libs = sets.manylinux pkgs;
          flake = self;
        };
      bareFor = pkgs: pkgs.callPackage ./nix/package.nix { };
      functionsFor =
        pkgs:
        import ./nix/functions.nix {
          inherit pkgs sets;
          wheelfix = bareFor pkgs;
        };
      # a folder of links, for --libs: wheelfix writes the packages' own paths
      farmOf =
        pkgs: name: packages:
        pkgs.buildEnv {
          inherit name;
          paths = map lib.getLib packages;
          pathsToLink = [ "/lib" ];
          ignoreCollisions = true;
        };
    in
    {
      packages = eachSystem (pkgs: rec {
        default = wheelfix;
        wheelfix = toolFor pkgs;
        libs = farmOf pkgs "wheelfix-libs" (sets.manylinux pkgs);
        libs-desktop = farmOf pkgs "wheelfix-libs-desktop" (sets.desktop pkgs);
      });

      apps = eachSystem (
        pkgs:
        let
          wheelfix = {
            type = "app";
            program = lib.getExe (toolFor pkgs);
            meta = { inherit ((toolFor pkgs).meta) description; };
          };
        in
        {
          inherit wheelfix;
          default = wheelfix;
        }
      );

      overlays.default = final: prev: {
        wheelfix = toolFor final;
        wheelfixLib = functionsFor final;
      };

      # fixWheel, fixWheels, fixVenv, mkLoader, pythonWithLibs
      lib = eachSystem functionsFor;

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.nodejs
            pkgs.python3
            pkgs.uv
          ];
        };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);

      checks = eachSystem (
        pkgs:
        let
          functions = functionsFor pkgs;
          demo = functions.fixWheels { src = ./fixtures/demo-wheel; };
          python = functions.pythonWithLibs { };
        in
        {
          wheelfix = pkgs.runCommand "wheelfix-starts" { nativeBuildInputs = [ (toolFor pkgs) ]; } ''
            wheelfix --version | tee $out
          '';
          # a wheel that was patched here installs and imports, and a Python with libraries needs no patched wheel
          wheel =
            pkgs.runCommand "wheelfix-wheel-imports" { } ''
              ${(functions.fixVenv { wheels = demo; })}/bin/python -B -c 'import wheelfix_demo' | tee $out
            '';
          python = pkgs.runCommand "wheelfix-python-finds-libraries" { } ''
            ${python}/bin/python3 -B -c 'import ctypes; print(ctypes.CDLL("libstdc++.so.6"))' | tee $out
          '';
        }
      );

      templates = rec {
        default = uv;
        uv = {
          path = ./fixtures/templates/uv;
          description = "A Python project: uv, and wheels from PyPI that work";
        };
      };
    };
}
