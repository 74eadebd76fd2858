# The library sets, as plain lists of nixpkgs' packages. A set of one's own: `pkgs: sets.manylinux pkgs ++ [ pkgs.cups ]`.
rec {
  # What the manylinux policies let a wheel expect of a system, but for glibc: that is the interpreter's own.
  # libcrypt.so.1 and libncursesw.so.6 are what old wheels want besides.
  manylinux =
    pkgs: with pkgs; [
      stdenv.cc.cc
      zlib
      expat
      glib
      libGL
      xorg.libX11
      xorg.libXext
      xorg.libXrender
      xorg.libICE
      xorg.libSM
      libxcrypt-legacy
    ];

  # What Qt, GTK, OpenCV, audio and browser wheels reach for besides.
  desktop =
    pkgs:
    manylinux pkgs
    ++ (with pkgs; [
      alsa-lib
      at-spi2-core
      bzip2
      cairo
      cups
      curl
      dbus
      fontconfig
      freetype
      gdk-pixbuf
      gtk3
      libdrm
      libgbm
      libglvnd
      libGLU
      libpulseaudio
      libusb1
      libxkbcommon
      libxml2
      ncurses
      nspr
      nss
      ocl-icd
      openssl
      pango
      sqlite
      systemd
      unixODBC
      util-linux
      vulkan-loader
      wayland
      (xorg.xcbutilcursor or xcb-util-cursor)
      xorg.libXcomposite
      xorg.libXcursor
      xorg.libXdamage
      xorg.libXfixes
      xorg.libXi
      xorg.libXinerama
      xorg.libXrandr
      xorg.libXtst
      xorg.libXxf86vm
      xorg.libxcb
      xorg.libxkbfile
      xorg.libxshmfence
      xorg.xcbutilimage
      xorg.xcbutilkeysyms
      xorg.xcbutilrenderutil
      xorg.xcbutilwm
      xz
      zstd
    ]);
}
