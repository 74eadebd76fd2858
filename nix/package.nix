# The tool: one bundle with V8's code cache of it, run by Node. `libs` are what it falls back to where a project names no
# libraries of its own.
{
  lib,
  stdenvNoCC,
  cacert,
  esbuild,
  makeWrapper,
  nodejs,
  nodejs-slim,
  libs ? [ ],
  # where `wheelfix libs build` takes the sets from: this very flake
  flake ? null,
}:
let
  manifest = lib.importJSON ../package.json;

  # The run-time dependencies of package-lock.json, which names no registry: npm asks the one that it is configured for,
  # and checks what it gets against the hashes of the lock file.
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
    nativeBuildInputs = [
      cacert
      nodejs
    ];
    # .package-lock.json and empty folders differ from one npm to the next; the rest does not
    buildPhase = ''
      runHook preBuild
      HOME=$TMPDIR npm ci --omit=dev --ignore-scripts
      rm node_modules/.package-lock.json
      find node_modules -depth -type d -empty -delete
      runHook postBuild
    '';
    installPhase = ''
      runHook preInstall
      mv node_modules $out
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
in
stdenvNoCC.mkDerivation {
  pname = "wheelfix";
  inherit (manifest) version;
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../package.json
      (lib.fileset.fileFilter (file: file.hasExt "ts") ../src)
    ];
  };
  nativeBuildInputs = [
    esbuild
    makeWrapper
    nodejs-slim
  ];

  buildPhase = ''
    runHook preBuild
    cp -r ${modules} node_modules
    flags="--bundle --platform=node --format=cjs --target=node20 --minify-whitespace --minify-syntax"
    esbuild src/main.ts $flags --define:WHEELFIX_VERSION='"${manifest.version}"' --outfile=program.txt
    esbuild src/launch.ts $flags --alias:wheelfix:program=./program.txt --loader:.txt=text --outfile=dist/wheelfix.cjs
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
    runHook postInstall
  '';

  passthru = { inherit modules; };

  meta = {
    inherit (manifest) description;
    license = lib.licenses.mit;
    mainProgram = "wheelfix";
    platforms = lib.platforms.linux;
  };
}
