# The tool: one bundle with its V8 code cache, run by Node. `libs` are the libraries that it uses when a project names none.
#
# It has the form of a nixpkgs package, with one exception. buildNpmPackage and importNpmLock read the address of each
# archive from package-lock.json, but our lock names no registry, so that a mirror works too. npm itself needs no address: it
# asks the registry of its own configuration. So `modules` runs npm, and its hash covers what npm installs.
{
  lib,
  stdenvNoCC,
  cacert,
  esbuild,
  makeWrapper,
  nix-update-script,
  nodejs,
  nodejs-slim,
  versionCheckHook,
  libs ? [ ],
  # the source of the sets for `wheelfix libs build`: this flake itself
  flake ? null,
}:
let
  manifest = lib.importJSON ../package.json;
  bundled = [
    "buffer-crc32"
    "chalk"
    "commander"
    "elfy"
    "endian-reader"
    "pako"
    "pend"
    "smol-toml"
    "yauzl"
    "yazl"
  ];
in
stdenvNoCC.mkDerivation (finalAttrs: {
  pname = "wheelfix";
  inherit (manifest) version;
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../package.json
      (lib.fileset.fileFilter (file: file.hasExt "ts") ../src)
    ];
  };
  __structuredAttrs = true;
  strictDeps = true;
  nativeBuildInputs = [
    esbuild
    makeWrapper
    nodejs-slim
  ];

  buildPhase = ''
    runHook preBuild
    cp -r ${finalAttrs.passthru.modules} node_modules
    flags="--bundle --platform=node --format=cjs --target=node20 --minify-whitespace --minify-syntax --alias:node:tty=./src/tty.ts"
    stage() {
      name=$1 entry=$2
      shift 2
      # as scripts/bundle.mjs does: a stage is one function
      esbuild src/$entry $flags "$@" --define:WHEELFIX_VERSION='"${finalAttrs.version}"' --outfile=dist/$name.txt \
        '--banner:js=(function(require,module,startNext){' '--footer:js=})'
    }
    # two stages leave out what they do not load on demand; where a name is missing here, a stage is only larger
    commands=
    for name in all completions config doctor elf/elf env explain libs/libs libs/libs-build nix python run/run wheel why; do
      commands="$commands --external:*/commands/$name.ts"
    done
    work="--external:*/commands/restore.ts --external:*/commands/shared/failure.ts --external:smol-toml"
    for name in describe environment/run-environment environment/venv-report environment/restore-environment inspect/settled nix/scan-store \
      private-loader/standalone report/run/collect-facts report/run/run-details report/run/run-json; do work="$work --external:*/$name.ts"; done
    set -f
    esbuild src/launch.ts $flags --outfile=dist/wheelfix.cjs
    stage front front.ts $commands $work --supported:dynamic-import=false
    stage environments main.ts $commands --supported:dynamic-import=false
    stage program main.ts
    set +f
    # V8 seeds its hashes at random; with a seed the same program gives the same cache
    node --random-seed=1 --eval 'require("./dist/wheelfix.cjs").writeCache()'
    runHook postBuild
  '';

  installPhase = ''
    runHook preInstall
    install -Dm644 -t $out/lib/wheelfix dist/*
    makeWrapper ${lib.getExe nodejs-slim} $out/bin/wheelfix \
      --add-flags $out/lib/wheelfix/wheelfix.cjs ${
        lib.optionalString (libs != [ ]) "--set-default WHEELFIX_DEFAULT_LIBS ${lib.makeLibraryPath libs}"
      } ${lib.optionalString (flake != null) "--set-default WHEELFIX_FLAKE path:${flake}"}
    # the program itself prints its completions and manual page; the build platform's Node runs it
    tell() { node dist/wheelfix.cjs completions "$1"; }
    mkdir -p $out/share/bash-completion/completions $out/share/zsh/site-functions $out/share/fish/vendor_completions.d $out/share/man/man1
    tell bash > $out/share/bash-completion/completions/wheelfix
    tell zsh > $out/share/zsh/site-functions/_wheelfix
    tell fish > $out/share/fish/vendor_completions.d/wheelfix.fish
    tell man > $out/share/man/man1/wheelfix.1
    runHook postInstall
  '';

  doInstallCheck = true;
  nativeInstallCheckInputs = [ versionCheckHook ];

  passthru = {
    # the modules that src imports and their own imports, in the versions of package-lock.json; npm checks each archive
    # against the hashes there. esbuild reports a missing module
    modules = stdenvNoCC.mkDerivation {
      name = "wheelfix-node-modules";
      src = lib.fileset.toSource {
        root = ../.;
        fileset = lib.fileset.unions [
          ../package.json
          ../package-lock.json
          ../.npmrc
        ];
      };
      __structuredAttrs = true;
      strictDeps = true;
      nativeBuildInputs = [
        cacert
        nodejs
      ];
      # the optional packages are programs of the development tools, one for each platform; empty folders differ between
      # versions of npm
      buildPhase = ''
        runHook preBuild
        HOME=$TMPDIR npm ci --omit=optional --ignore-scripts
        find node_modules -depth -type d -empty -delete
        runHook postBuild
      '';
      installPhase = ''
        runHook preInstall
        mkdir $out
        for name in ${toString bundled}; do mv node_modules/$name $out; done
        runHook postInstall
      '';
      dontFixup = true;
      impureEnvVars = lib.fetchers.proxyImpureEnvVars ++ [
        "NODE_EXTRA_CA_CERTS"
        "npm_config_registry"
      ];
      outputHashMode = "recursive";
      outputHash = "sha256-RjSuW9z08FngLzg1eeD0hhM+XvVZNxY8QdAMVFXDIhg=";
    };
    updateScript = nix-update-script { };
  };

  meta = {
    inherit (manifest) description;
    longDescription = ''
      Extension modules and programs of wheels from PyPI look for libraries where other distributions have them. wheelfix
      gives each file of a virtual environment or of a wheel the store folders with the libraries that it needs, verifies
      the result, and can restore every file byte for byte.
    '';
    license = lib.licenses.mit;
    mainProgram = "wheelfix";
    maintainers = [ ];
    platforms = lib.platforms.linux;
    sourceProvenance = [ lib.sourceTypes.fromSource ];
  }
  // lib.optionalAttrs (manifest ? homepage) { inherit (manifest) homepage; };
})
