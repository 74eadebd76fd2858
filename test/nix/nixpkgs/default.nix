# A nixpkgs of this machine's own files, for tests of the flake without a network: its Python, compiler libraries and zlib
# are those of the test world; other libraries are the host's, as far as it has them; programs are links to the host's.
{
  system,
  lib,
  # the derivations of the world
  world,
  # absolute paths of the host's programs: node, npm, esbuild, uv (or null)
  host,
}:
let
  mkDerivation =
    argument:
    let
      # as nixpkgs' own: attributes, or a function of what they come to
      attrs = if lib.isFunction argument then argument attrs else argument;
      inputs = attrs.nativeBuildInputs or [ ];
      drv = derivation (
        removeAttrs attrs [
          "meta"
          "nativeInstallCheckInputs"
          "passthru"
          "pname"
        ]
        // {
          name = attrs.name or "${attrs.pname}-${attrs.version}";
          inherit system;
          builder = "/bin/bash";
          args = [ ./builder.sh ];
          nativeBuildInputs = map toString inputs;
          PATH = lib.concatStringsSep ":" (
            map (input: "${input}/bin") inputs ++ [ "/usr/local/bin:/usr/bin:/bin" ]
          );
          mainProgram = attrs.meta.mainProgram or "";
        }
      );
    in
    drv // (attrs.passthru or { }) // { meta = attrs.meta or { }; };

  runCommand =
    name: env: buildCommand:
    mkDerivation (env // { inherit name buildCommand; });

  # host programs as a package
  links =
    name: programs:
    runCommand name { meta.mainProgram = name; } ''
      mkdir -p $out/bin
      ${lib.concatMapStrings (
        program:
        lib.optionalString (host.${program} != null) "ln -s ${host.${program}} $out/bin/${program}\n"
      ) programs}
    '';

  # libraries of the host
  copies =
    name: sonames:
    runCommand name { } ''
      mkdir -p $out/lib
      for soname in ${lib.concatStringsSep " " sonames}; do
        for folder in /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu; do
          if [ -e $folder/$soname ] && [ ! -e $out/lib/$soname ]; then cp -L $folder/$soname $out/lib/; fi
        done
      done
    '';
  # libraries of nothing but a name, for whom asks whether they are there
  shared =
    name: sonames:
    runCommand "${name}-0" { } ''
      mkdir -p $out/lib
      for soname in ${sonames}; do
        gcc -shared -nostdlib -x c /dev/null -o $out/lib/$soname -Wl,-soname,$soname
      done
    '';
  # what no test loads
  empty = name: runCommand "${name}-0" { } "mkdir -p $out/lib; touch $out/lib/${name}.so";

  pkgs = {
    inherit
      lib
      mkDerivation
      runCommand
      system
      ;
    callPackage =
      path: args:
      let
        function = import path;
      in
      function (builtins.intersectAttrs (builtins.functionArgs function) pkgs // args);
    stdenv = {
      inherit mkDerivation;
      hostPlatform = { inherit system; };
      cc.cc = world.gcc;
    };
    stdenvNoCC = { inherit mkDerivation; };
    makeWrapper = empty "make-wrapper";
    cacert = empty "cacert";
    versionCheckHook = empty "version-check-hook";
    nix-update-script = _: [ "nix-update" ];
    nixfmt-tree = empty "nixfmt-tree";
    buildEnv =
      { name, paths, ... }:
      runCommand name { } ''
        mkdir -p $out/lib
        for path in ${lib.concatMapStringsSep " " toString paths}; do
          for file in $path/lib/*; do
            if [ -e $file ] && [ ! -e $out/lib/''${file##*/} ]; then ln -s $file $out/lib/; fi
          done
        done
      '';
    mkShell =
      {
        packages ? [ ],
        shellHook ? "",
        ...
      }@attrs:
      mkDerivation (
        removeAttrs attrs [ "packages" ]
        // {
          name = "shell";
          outputs = [ "out" ];
          nativeBuildInputs = packages;
          inherit shellHook;
          buildCommand = "touch $out";
        }
      );
    writeShellScript =
      name: text:
      runCommand name { inherit text; } "printf '#!/bin/bash\\n%s' \"$text\" > $out; chmod +x $out";
    bashInteractive = runCommand "bash" { } "mkdir -p $out/bin; ln -s /bin/bash $out/bin/bash";

    nodejs = links "node" [
      "node"
      "npm"
    ];
    nodejs-slim = links "node" [ "node" ];
    esbuild = links "esbuild" [ "esbuild" ];
    uv = links "uv" [ "uv" ];
    python3 = world.python // {
      interpreter = "${world.python}/bin/python3";
      pkgs.pip = runCommand "pip" { meta.mainProgram = "pip"; } ''
        mkdir -p $out/bin
        printf '#!/bin/bash\nexec /usr/bin/env python3 -m pip "$@"\n' > $out/bin/pip
        chmod +x $out/bin/pip
      '';
    };
    zlib = world.zlib;
    expat = copies "expat-2.5.0" [ "libexpat.so.1" ];
    glib = shared "glib" "libglib-2.0.so.0 libgobject-2.0.so.0 libgthread-2.0.so.0";
    libxcrypt-legacy = copies "libxcrypt-4.4.33" [ "libcrypt.so.1" ];
    libGL = shared "libGL" "libGL.so.1";
    libx11 = shared "libX11" "libX11.so.6";
    libxext = shared "libXext" "libXext.so.6";
    libxrender = shared "libXrender" "libXrender.so.1";
    libice = shared "libICE" "libICE.so.6";
    gst_all_1 = lib.genAttrs [ "gst-plugins-base" "gstreamer" ] empty;
    libsm = shared "libSM" "libSM.so.6";
  }
  // lib.genAttrs [
    "alsa-lib"
    "at-spi2-core"
    "brotli"
    "bzip2"
    "cairo"
    "cups"
    "curl"
    "dbus"
    "fontconfig"
    "freetype"
    "gdk-pixbuf"
    "gtk3"
    "harfbuzz"
    "libGLU"
    "libdrm"
    "libgbm"
    "libglvnd"
    "libkrb5"
    "libpulseaudio"
    "libusb1"
    "libxcb"
    "libxcb-cursor"
    "libxcb-image"
    "libxcb-keysyms"
    "libxcb-render-util"
    "libxcb-util"
    "libxcb-wm"
    "libxcomposite"
    "libxcursor"
    "libxdamage"
    "libxfixes"
    "libxi"
    "libxinerama"
    "libxkbcommon"
    "libxkbfile"
    "libxml2"
    "libxrandr"
    "libxshmfence"
    "libxtst"
    "libxxf86vm"
    "ncurses"
    "nspr"
    "nss"
    "ocl-icd"
    "openssl"
    "pango"
    "pcsclite"
    "sqlite"
    "systemd"
    "unixodbc"
    "util-linux"
    "vulkan-loader"
    "wayland"
    "xz"
    "zstd"
  ] empty;
in
pkgs
