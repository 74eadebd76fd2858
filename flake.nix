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

      # everything that depends on a nixpkgs; default.nix is also for users without flakes
      projectFor =
        pkgs:
        import ./. {
          inherit pkgs;
          flake = self;
        };
      functionsFor = pkgs: (projectFor pkgs).functions;
    in
    {
      packages = eachSystem (
        pkgs:
        let
          project = projectFor pkgs;
        in
        {
          default = project.wheelfix;
          inherit (project) wheelfix libs libs-desktop;
        }
      );

      apps = eachSystem (
        pkgs:
        let
          wheelfix = {
            type = "app";
            program = lib.getExe (projectFor pkgs).wheelfix;
            meta = { inherit ((projectFor pkgs).wheelfix.meta) description; };
          };
        in
        {
          inherit wheelfix;
          default = wheelfix;
        }
      );

      overlays.default = final: prev: {
        inherit (projectFor final) wheelfix;
        wheelfixLib = functionsFor final;
      };

      # programs.wheelfix
      nixosModules.default = import ./nix/module.nix {
        kind = "nixos";
        flake = self;
      };
      homeModules.default = import ./nix/module.nix {
        kind = "home";
        flake = self;
      };

      # fixWheel, fixWheels, fixVenv, mkLoader, pythonWithLibs, mkPythonShell
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
          wheelfix =
            pkgs.runCommand "wheelfix-starts" { nativeBuildInputs = [ (projectFor pkgs).wheelfix ]; }
              ''
                wheelfix --version | tee $out
              '';
          # a wheel that was patched here installs and imports, and a Python with libraries needs no patched wheel
          wheel = pkgs.runCommand "wheelfix-wheel-imports" { } ''
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
