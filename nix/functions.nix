# What a flake can do with wheels: patch them once, in derivations that binary caches and remote builders can share.
#
# The arguments mean the same in all functions. `libs` is what a project needs beyond the manylinux set: a list, or
# `ps: with ps; [ cups ]`. `python` is the Python that loads the result; its libc decides which libraries fit. `ignoreMissing`
# holds patterns of libraries that may be missing. An argument is required only when it has no default.
{
  pkgs,
  # the tool without its own libraries, for builds; and the tool as users have it
  wheelfix,
  tool ? wheelfix,
  sets,
}:
let
  inherit (pkgs) lib;

  directories =
    libs:
    lib.makeLibraryPath (sets.manylinux pkgs ++ (if lib.isFunction libs then libs pkgs else libs));

  # The name of a wheel's file, because pip reads everything from it. A store path has its hash before the name.
  nameOf =
    wheel:
    wheel.name or (
      let
        base = baseNameOf (toString wheel);
      in
      if builtins.match "[0-9a-z]{32}-.*" base == null then base else builtins.substring 33 (-1) base
    );

  # Makes every derivation with patched files. Nothing may strip the files or shorten the paths in them. A build outside a
  # sandbox must not touch the store's state, and as root it must not write to a Python in the store.
  make =
    name: env: script:
    pkgs.runCommand (lib.strings.sanitizeDerivationName name)
      (
        {
          nativeBuildInputs = [ wheelfix ];
          dontStrip = true;
          dontPatchELF = true;
        }
        // env
      )
      ''
        export HOME=$TMPDIR NIX_STATE_DIR=$TMPDIR/nix PYTHONDONTWRITEBYTECODE=1
        ${script}
      '';
in
rec {
  inherit sets;

  /**
    Patches one wheel. The result is a folder with a wheel of the same name, for `pip install --find-links`. `siblings` are the
    wheels that are installed beside it; it may find libraries in them.

    # Type

    ```
    fixWheel :: { wheel :: Path | Derivation, name ? String, python ? Derivation, libs ? [Derivation] | (AttrSet -> [Derivation]),
                  siblings ? [Path], ignoreMissing ? [String] } -> Derivation
    ```
  */
  fixWheel =
    {
      wheel,
      name ? nameOf wheel,
      python ? pkgs.python3,
      libs ? [ ],
      siblings ? [ ],
      ignoreMissing ? [ ],
    }:
    let
      options = name: lib.concatMapStringsSep " " (value: "--${name} ${lib.escapeShellArg "${value}"}");
      beside = options "with" siblings;
      ignored = options "ignore-missing" ignoreMissing;
    in
    make "wheelfix-${name}" { } ''
      mkdir wheel
      ln -s ${wheel} wheel/${lib.escapeShellArg name}
      fix() {
        wheelfix wheel wheel --python ${python.interpreter} \
          --no-scan --libs ${directories libs} ${beside} ${ignored} "$@"
      }
      # if something is missing, print it in words
      fix --output-dir $out --json > report.json || { fix --dry-run; exit 1; }
      # a wheel is compressed, so Nix does not see which store paths it names
      mkdir $out/nix-support
      { grep -o '${builtins.storeDir}/[0-9a-z]\{32\}-[^/"]*' report.json || true; } \
        | sort -u | { grep -vF -e ${wheel} -e $out -e ${python} || true; } > $out/nix-support/wheelfix-references
    '';

  /**
    Patches many wheels, each in its own derivation, so that a change of one wheel builds only that wheel. `src` is a folder of
    wheels, or `wheels` is a list of values for `wheel` of `fixWheel`. `fixWheel` gets the other arguments. The result is a
    folder of all wheels, and `.wheels` is their list.

    # Type

    ```
    fixWheels :: { src ? Path, wheels ? [Path | Derivation], python ?, libs ?, siblings ?, ignoreMissing ? } -> Derivation
    ```
  */
  fixWheels =
    {
      src ? null,
      wheels ? [ ],
      ...
    }@args:
    let
      names = lib.filter (lib.hasSuffix ".whl") (
        lib.optionals (src != null) (lib.attrNames (builtins.readDir src))
      );
      own = map (name: {
        inherit name;
        # only this file, because the others may change
        wheel = builtins.path {
          name = lib.strings.sanitizeDerivationName name;
          path = src + "/${name}";
        };
      }) names;
      each = own ++ map (wheel: { inherit wheel; }) wheels;
      common = removeAttrs args [
        "src"
        "wheels"
      ];
      fixed = map (item: fixWheel (common // item)) each;
    in
    make "wheelfix-wheels" { passthru.wheels = fixed; } ''
      mkdir $out
      for folder in ${lib.concatStringsSep " " (map toString fixed)}; do
        ln -s $folder/*.whl $out/
      done
    '';

  /**
    Makes a virtual environment in the store, with these wheels (a list, or a folder of wheels) installed and patched.

    # Type

    ```
    fixVenv :: { wheels :: [Path | Derivation] | Path | Derivation, name ? String, python ?, libs ?, ignoreMissing ? } -> Derivation
    ```
  */
  fixVenv =
    {
      wheels,
      name ? "venv",
      python ? pkgs.python3,
      libs ? [ ],
      ignoreMissing ? [ ],
    }:
    let
      files =
        if lib.isList wheels then
          make "wheels" { } ''
            mkdir $out
            ${lib.concatMapStrings (wheel: "ln -s ${wheel} $out/${lib.escapeShellArg (nameOf wheel)}\n") wheels}
          ''
        else
          wheels;
    in
    make name { } ''
      ${python.interpreter} -m venv --without-pip $out
      ${lib.getExe python.pkgs.pip} --python $out/bin/python install --quiet --no-index --no-deps --no-compile \
        --disable-pip-version-check ${files}/*.whl
      # pip hashes scripts that name this very path. A build elsewhere has other hashes, and RECORD may leave them out
      sed -i -E 's#^((\.\./)+bin/[^,]*),sha256=[^,]*,[0-9]*#\1,,#' $out/lib/python*/site-packages/*.dist-info/RECORD
      wheelfix venv $out --no-scan --libs ${directories libs} \
        ${lib.concatMapStringsSep " " (glob: "--ignore-missing ${lib.escapeShellArg glob}") ignoreMissing}
      # this state is for later runs, and there are none in a folder of the store
      rm -rf $out/.wheelfix
    '';

  /**
    Makes a Python whose venvs work with unchanged wheels from PyPI, because its loader knows the libraries.

    # Type

    ```
    pythonWithLibs :: { python ? Derivation, libs ? [Derivation] | (AttrSet -> [Derivation]) } -> Derivation
    ```
  */
  pythonWithLibs =
    {
      python ? pkgs.python3,
      libs ? [ ],
    }:
    make "py"
      {
        passthru = {
          inherit (python) pythonVersion sitePackages;
          inherit python;
        };
        meta.mainProgram = "python3";
      }
      ''
        ${python.interpreter} -m venv --without-pip $out
        wheelfix loader $out --no-scan --libs ${directories libs}
        # keep only the interpreter and its loader: the result is a prefix of its own, with the base Python's modules
        base=$(${python.interpreter} -c 'import sys; print(sys.base_prefix)')
        rm -rf $out/pyvenv.cfg $out/include $out/lib $out/lib64 $out/share $out/bin/[aA]ctivate* \
          $out/.wheelfix/*.json $out/.wheelfix/roots $out/.wheelfix/.gitignore
        # the undo note's checksum (behind its owner's name) covers this very path: another build of it would differ
        at=$(LC_ALL=C grep -aobP '\x02\0\0\0wheelfix\0' $out/bin/python3 | cut -d: -f1)
        dd if=/dev/zero of=$out/bin/python3 bs=1 seek=$((at + 16)) count=32 conv=notrunc status=none
        mkdir $out/lib
        ln -s $base/lib/* $out/lib/
        for folder in include share; do
          if [ -e $base/$folder ]; then ln -s $base/$folder $out/$folder; fi
        done
        for program in $base/bin/*; do
          if [ ! -e $out/bin/''${program##*/} ]; then ln -s $program $out/bin/; fi
        done
      '';

  /**
    Makes only the loader of such a Python. Another program that must find the libraries (from a wheel) can name this loader
    as its interpreter.

    # Type

    ```
    mkLoader :: { python ? Derivation, libs ? [Derivation] | (AttrSet -> [Derivation]) } -> Derivation
    ```
  */
  mkLoader =
    args:
    let
      python = pythonWithLibs args;
    in
    make "wheelfix-loader" { passthru = { inherit python; }; } ''
      mkdir $out
      ln -s ${python}/.wheelfix/loader/* $out/
    '';

  /**
    Makes a shell for a project with wheels from PyPI: its Python, uv (which uses this Python and downloads none) and wheelfix,
    which patches the project's `.venv` on entry. `mkShell` gets the other arguments.

    # Type

    ```
    mkPythonShell :: { python ? Derivation, libs ? [Derivation] | (AttrSet -> [Derivation]), packages ? [Derivation],
                       shellHook ? String, ... } -> Derivation
    ```
  */
  mkPythonShell =
    {
      python ? pkgs.python3,
      libs ? [ ],
      packages ? [ ],
      shellHook ? "",
      ...
    }@args:
    pkgs.mkShell (
      removeAttrs args [
        "python"
        "libs"
      ]
      // {
        packages = [
          python
          pkgs.uv
          tool
        ]
        ++ packages;
        WHEELFIX_LIBS = lib.makeLibraryPath (if lib.isFunction libs then libs pkgs else libs);
        UV_PYTHON = python.interpreter;
        UV_PYTHON_DOWNLOADS = "never";
        shellHook = ''
          if [ -d .venv ]; then wheelfix venv --quiet || true; fi
          ${shellHook}
        '';
      }
    );
}
