# The library sets, as plain lists of nixpkgs' packages. A set of one's own: `pkgs: sets.manylinux pkgs ++ [ pkgs.cups ]`.
let
  # nixpkgs before 26.05 has X11's libraries in a set of their own, by their upstream names
  x11 = pkgs: map (name: pkgs.${pkgs.lib.toLower name} or pkgs.xorg.${name});
in
rec {
  # What the manylinux policies let a wheel expect of a system, but for glibc: that is the interpreter's own.
  # libcrypt.so.1 is manylinux1's; its libncursesw.so.5 is left to who wants it (ncurses5).
  manylinux =
    pkgs:
    (with pkgs; [
      stdenv.cc.cc
      zlib
      expat
      glib
      libGL
      libxcrypt-legacy
    ])
    ++ x11 pkgs [
      "libX11"
      "libXext"
      "libXrender"
      "libICE"
      "libSM"
    ];

  # What Qt, GTK, OpenCV, audio and browser wheels reach for besides. PyQt5, PyQt6 and PySide6 with their WebEngine need
  # no more than this, apart from their SQL and speech plugins.
  desktop =
    pkgs:
    manylinux pkgs
    ++ (with pkgs; [
      alsa-lib
      at-spi2-core
      brotli
      bzip2
      cairo
      cups
      curl
      dbus
      fontconfig
      freetype
      gdk-pixbuf
      gst_all_1.gst-plugins-base
      gst_all_1.gstreamer
      gtk3
      harfbuzz
      libdrm
      libgbm
      libglvnd
      libGLU
      libkrb5
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
      pcsclite
      sqlite
      systemd
      util-linux
      vulkan-loader
      wayland
      xz
      zstd
      (pkgs.unixodbc or pkgs.unixODBC)
      (pkgs.libxcb-cursor or pkgs.xcb-util-cursor)
      (pkgs.libxcb-image or pkgs.xorg.xcbutilimage)
      (pkgs.libxcb-keysyms or pkgs.xorg.xcbutilkeysyms)
      (pkgs.libxcb-render-util or pkgs.xorg.xcbutilrenderutil)
      (pkgs.libxcb-util or pkgs.xorg.xcbutil)
      (pkgs.libxcb-wm or pkgs.xorg.xcbutilwm)
    ])
    ++ x11 pkgs [
      "libXcomposite"
      "libXcursor"
      "libXdamage"
      "libXfixes"
      "libXi"
      "libXinerama"
      "libXrandr"
      "libXtst"
      "libXxf86vm"
      "libxcb"
      "libxkbfile"
      "libxshmfence"
    ];
}
