# The library sets, as plain lists of nixpkgs' packages. A project can make its own set:
# `pkgs: sets.manylinux pkgs ++ [ pkgs.cups ]`.
let
  # nixpkgs before 26.05 has X11's libraries in their own set, by their upstream names
  x11 = pkgs: map (name: pkgs.${pkgs.lib.toLower name} or pkgs.xorg.${name});
in
rec {
  # What a wheel may expect from a system by the manylinux policies, without glibc, which the interpreter brings.
  # libcrypt.so.1 is for manylinux1. manylinux1's libncursesw.so.5 is left out: a project that needs it adds ncurses5.
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

  # More libraries, which Qt, GTK, OpenCV, audio and browser wheels open. PyQt5, PyQt6 and PySide6 with their WebEngine
  # need no more than this, except for their SQL and speech plugins.
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
