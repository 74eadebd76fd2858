// The meaning of each code. `wheelfix explain` and docs/findings.md use the same text.
import type { WheelfixErrorCode } from '../io/error.ts'
import type { FindingCode } from './findings.ts'

export interface Explanation {
  readonly code: string
  readonly kind: 'finding' | 'error'
  /** The meaning of the code, in one sentence. */
  readonly meaning: string
  /** An example of the message. */
  readonly example: string
  /** What to do. */
  readonly remedy: string
}

type Texts = readonly [meaning: string, example: string, remedy: string]

/** The findings of `wheelfix doctor`, the most serious first. */
const FINDINGS: Readonly<Record<FindingCode, Texts>> = {
  'python-broken': [
    'wheelfix cannot start or read the Python of the environment, so it cannot check anything else.',
    '✗ /home/you/.venv/bin/python leads to /nix/store/…-python3-3.11.7/bin/python3.11, which does not exist',
    'Make the environment again with a Python that exists, then run `wheelfix venv`.',
  ],
  'other-machine': [
    'The Python of the environment is built for another kind of processor. wheelfix can patch the objects, but cannot run that Python.',
    '- the Python of this environment is for another machine, so its loader was not asked',
    'Run `wheelfix doctor` on that machine to check the rest.',
  ],
  'loader-differs': [
    'The real loader finds no file, or a different file from the one that wheelfix expects. This is a bug in wheelfix, unless doctor also reports `loader-fault`.',
    '✗ the loader does not find libz.so.1, but wheelfix does',
    'Please report the line, the output of `wheelfix why` for the file, and the name of the package.',
  ],
  'loader-refuses': [
    'No library is missing, but the real loader refuses to load an object. The reason is thread-local storage, an executable stack, a missing symbol or a relocation.',
    '✗ the loader does not load it: cannot allocate memory in static TLS block',
    "Read the loader's message, which gives the reason. Then try another version of the package, or import this package before the others.",
  ],
  'loader-fault': [
    'The private loader, its cache or bin/python is missing, damaged, or made for another place.',
    '✗ bin/python cannot start: its loader /old/place/.venv/.wheelfix/loader/ld-linux-x86-64.so.2 is not there; this environment was moved, or its Python changed',
    'Run `wheelfix loader`, which makes them again.',
  ],
  'library-missing': [
    'An object needs a library that is not in its search path or in the library set. Or the library is there, but lacks the symbol versions that the object needs.',
    '✗ libGL.so.1 is missing',
    "Run `wheelfix libs build` with the named package, or name the library in the project's own file (see docs/libraries.md). If a wheel's own library lacks a version, upgrade the packages that the finding names.",
  ],
  unpatched: [
    'Objects do not find libraries that wheelfix can provide, and wheelfix has never run here.',
    '✗ 13 objects to patch in numpy, scipy',
    'Run `wheelfix venv`.',
  ],
  'changed-since': [
    'Packages were installed or changed after the last run of wheelfix.',
    '✗ packages were installed or changed since wheelfix ran: numpy',
    'Run `wheelfix venv`. To run it automatically, put it into a shellHook or an .envrc (see docs/recipes.md).',
  ],
  'zeroed-headers': [
    'The loader overwrites the program headers of an object with zeros, so no C++ exception can cross the object. Early versions of wheelfix and some other tools wrote such files.',
    '✗ no C++ exception can cross 2 objects: the loader zeroes the program headers',
    'Run `wheelfix venv`, which repairs the files that wheelfix wrote. For other files, reinstall the package.',
  ],
  'interrupted-run': [
    'A run of wheelfix was interrupted (Ctrl-C, a crash, a power failure). No file is broken: the journal lists what is left to do.',
    '✗ the last run of wheelfix was interrupted',
    'Run `wheelfix venv`, which completes the run, or `wheelfix restore`, which undoes it.',
  ],
  refused: [
    'wheelfix cannot change an object safely, for example because other data follows the program in its file.',
    '✗ bin/tool: 1024 bytes are appended to it (a payload that the program looks for at its end)',
    'Read the reason that is shown. `wheelfix loader` makes an environment work without changing its objects.',
  ],
  unreadable: [
    'A file looks like an ELF object, but wheelfix cannot read it: the file is cut off or damaged, or you have no permission to read it.',
    '! lib/python3.12/site-packages/foo/_foo.so ends before its program headers',
    'Reinstall the package. If you have no permission, run wheelfix as the owner of the environment.',
  ],
  'ld-library-path': [
    'LD_LIBRARY_PATH is set in your shell. Every program that you start gets these libraries, even those that do not need them.',
    '! LD_LIBRARY_PATH is set (/nix/store/…-zlib-1.3.1/lib)',
    'Run `wheelfix venv --libs "$LD_LIBRARY_PATH"` once, then `unset LD_LIBRARY_PATH`.',
  ],
  'dead-store-path': [
    'A search path, a loader or a pinned library is a store path that no longer exists, usually after a garbage collection. If the file named the path before wheelfix changed it, the finding is only a note.',
    '✗ /nix/store/…-zlib-1.3/lib is gone from the store',
    'Run `wheelfix venv --update`, which chooses again from the libraries that exist now.',
  ],
  'gc-roots': [
    'The environment depends on store paths that no garbage collector root protects.',
    '! 3 of 9 store paths that this environment needs would be removed by nix-collect-garbage',
    'Run `wheelfix venv`, which registers roots. A moved or copied environment needs this, too.',
  ],
  'hard-links': [
    'Files of the environment share their bytes with the cache of the installer (uv makes hard links).',
    '- 70 objects share their bytes with a cache of the installer',
    'You need not do anything: wheelfix copies a file before it changes it. Other tools that edit in place do not.',
  ],
  'plan-warning': [
    'The libraries that an object gets depend on more than its search path, for example on which package is imported first.',
    '- pyqt6-qt6 and pyside6-essentials each bring libQt6Core.so.6; a process loads only one copy',
    'Do not import both packages in one process. Otherwise there is nothing to do.',
  ],
  'untrusted-package': [
    'A package in the store has a library that would fit, but nothing shows who put the package there: it has no signature of a trusted key, and no profile or link of yours or of root leads to it. So wheelfix does not use it.',
    '- 2 packages of the store were skipped, because nothing shows who put them there',
    'You need not do anything, unless a library is missing. To use a package that you know, give `--trust` with its path.',
  ],
  'qt-platform': [
    'Qt cannot open a window, because its platform plugin for X11 or Wayland lacks a library. Qt itself only says: could not load the Qt platform plugin "xcb" even though it was found.',
    '! Qt cannot open a window with X11: its platform plugin lacks libxcb-cursor.so.0',
    'Build the named packages: `wheelfix libs build libxcb-cursor`. On a machine without a screen, set QT_QPA_PLATFORM=offscreen.',
  ],
  'dlopen-note': [
    "An object's .note.dlopen section says that the object opens a library by name, and the loader does not find this library.",
    '- it opens libzstd.so.1 by name and does not find it (suggested, for zstd)',
    'If you use that feature, run `wheelfix libs build` with the named package.',
  ],
  'run-time-library': [
    'This package is known to load a library by name at run time. A search path in a file cannot help.',
    '- pyopengl looks for libGL.so.1 or libGL.so with ctypes.util.find_library, which does not search the Nix store',
    'Run `wheelfix loader`: a private loader finds libraries by name. Or set the named variable.',
  ],
  'cuda-stack': [
    "Packages for CUDA are installed, and a part of what they load at run time is missing here: the driver's libcuda, NVIDIA's wheels (nvrtc, cudnn and others), a ptxas that starts, or a variable that tells a package where they are.",
    "- the CUDA runtime is incomplete: triton asks /sbin/ldconfig for libcuda.so.1, and ldconfig does not know the driver's folder",
    'Do what the finding says. docs/gpu.md explains the parts.',
  ],
  'helpful-variable': [
    'An installed package, or the Python itself, looks for files in a place that this machine does not have, and reads a variable that names another place.',
    '- SSL_CERT_FILE would help: this Python has an OpenSSL that looks for certificates in /etc/ssl/cert.pem and /etc/ssl/certs, and finds none',
    '`wheelfix env` shows the variables with their reasons. `eval "$(wheelfix env --export)"` sets them in a shell or an .envrc.',
  ],
  'opens-by-name': [
    'A package opens a library by its name at run time, and nothing finds it. The loader does not look for it before that, so the import may work while a feature of the package fails.',
    '- sounddevice opens libportaudio.so.2 by name, and nothing finds it',
    'If you use that feature, do what the finding says: a private loader finds libraries by name. `wheelfix elf --add-rpath DIR FILE` helps an object that opens the library itself.',
  ],
  'outside-unpatched': [
    'The environment imports objects from outside its folder (an editable install, a .pth file), and they do not find their libraries. wheelfix changes files outside the environment only if you tell it to. Some folders are known only to the running Python: the code of a .pth file or of sitecustomize adds them to sys.path.',
    '✗ 2 objects to patch outside the environment, which imports from there',
    'If you may change these files, run `wheelfix venv --editable`. For a folder that code adds, run `wheelfix path --python VENV FOLDER`.',
  ],
  'foreign-library': [
    'The loader of this Python cannot load the library: it is for another machine, or for another C library (musl or Android, where this Python uses glibc). Some wheels bring one library for each platform. wheelfix leaves it unchanged.',
    '- 2 libraries are for another C library',
    'You need not do anything.',
  ],
  'foreign-program': [
    'A program asks for the loader of another system (an Android or BSD program, a test file). This machine does not have that loader, and wheelfix leaves the program unchanged.',
    '- a program asks for /system/bin/linker64, the loader of another system, which does not exist here',
    'You need not do anything, unless you want to run that program.',
  ],
  'script-interpreter': [
    'The first line of a script names an interpreter that NixOS does not have in that place.',
    '- 2 scripts start /usr/bin/perl, which NixOS does not have',
    'Set `services.envfs.enable = true`, or start the script with `#!/usr/bin/env`.',
  ],
  'import-fails': [
    'An extension module raised an error when it was imported (`wheelfix doctor --import`).',
    '✗ import cv2.cv2: libGL.so.1: cannot open shared object file',
    'Paste the error into `wheelfix why`, which explains it.',
  ],
}

/** Why a command could do nothing (status 2). */
/** `BUG` is not a code of a WheelfixError: main.ts reports any other error with it. */
const ERRORS: Readonly<Record<WheelfixErrorCode | 'BUG', Texts>> = {
  USAGE: [
    'The command line is wrong.',
    "error: unknown option '--lib' (Did you mean --libs?)",
    'See the examples of `wheelfix COMMAND --help`.',
  ],
  VENV_NOT_FOUND: [
    'The named folder is not a virtual environment, or wheelfix found none.',
    'error: /home/you/project is not a virtual environment (no pyvenv.cfg)',
    'Name an environment (`wheelfix venv DIR`), activate one, or make one (`python3 -m venv .venv`).',
  ],
  VENV_INVALID: [
    'The environment is damaged: its pyvenv.cfg or a folder cannot be read, or leads elsewhere.',
    'error: .venv/pyvenv.cfg has no line "home = …"',
    'Make the environment again (`python3 -m venv` or `uv venv`), and install the packages again.',
  ],
  PYTHON_NOT_FOUND: [
    'The Python of the environment, or the Python that you named, does not exist.',
    'error: .venv/bin/python leads to /nix/store/…-python3-3.11.7/bin/python3.11, which does not exist',
    'Make the environment again with a Python that exists, or name another Python with `--python`.',
  ],
  PYTHON_UNSUPPORTED: [
    'wheelfix does not support this Python, for example because it is linked statically.',
    'error: /opt/python/bin/python3 is linked statically, so it cannot load extension modules at all',
    'Use a Python from nixpkgs or from uv (see docs/private-loader.md).',
  ],
  LOADER_NOT_FOUND: [
    'The program that starts the Python (its dynamic loader) does not exist on this machine.',
    'error: /opt/python/bin/python3 cannot start: its loader /lib64/ld-linux-x86-64.so.2 does not exist here',
    'For a Python from another system, run `wheelfix python DIR`.',
  ],
  LIBC_UNSUPPORTED: [
    'The C library is too old for this command, or is neither glibc nor musl.',
    'error: glibc 2.31 ignores the cache of a private loader; a private loader needs glibc 2.33 or later',
    'Use a Python from a newer nixpkgs, or `wheelfix venv` without a private loader.',
  ],
  PATH_REFUSED: [
    'wheelfix refuses to patch this folder: it is a system folder, the store or a home folder, or it is outside the environment.',
    'error: /usr belongs to the system (/usr), whose package manager changes its files: name a folder of your own',
    'Name a folder of your own, such as a project. Replace a link that leads out of the environment with a folder.',
  ],
  LIBS_NOT_FOUND: [
    'A named library folder does not exist.',
    'error: the library folder /nowhere does not exist',
    'Correct --libs, WHEELFIX_LIBS or the named configuration file.',
  ],
  LIBS_EMPTY: [
    'A named library folder contains no shared library.',
    'error: the library folder /nix/store/…-zlib-1.3.1-dev contains no shared library',
    "Name the folder with the lib*.so* files, usually the `lib` folder of the package's `lib` or `out` output.",
  ],
  LIBS_NOT_IN_STORE: [
    'A named library folder is not in the Nix store, and nothing in it links to the store.',
    'error: the library folder /usr/lib contains nothing from the Nix store',
    'Name a folder in the store: wheelfix writes only store paths into files.',
  ],
  CONFIG_INVALID: [
    'wheelfix.toml or [tool.wheelfix] in pyproject.toml has a mistake.',
    'error: /home/you/project/wheelfix.toml: "lib" is not a setting of wheelfix',
    'Correct the file. `wheelfix config` shows the settings in use.',
  ],
  WHEEL_INVALID: [
    'wheelfix cannot patch this file safely: it is damaged, encrypted or too large, has names that leave its folder, or is not a wheel.',
    'error: foo-1.0-py3-none-any.whl: not a valid wheel: the entry "../evil.so" leaves the folder that the wheel is unpacked in',
    'Download or build the wheel again.',
  ],
  BUSY: [
    'Another run of wheelfix is working on the same environment and did not end in time.',
    'error: process 1234 is working on /home/you/project/.venv: run wheelfix again when it has ended; if there is no other run, remove /home/you/project/.venv/.wheelfix/lock',
    'Wait until the other run has ended, then run the command again.',
  ],
  INTERRUPTED: [
    'A signal (such as Ctrl-C) interrupted the run while it wrote. wheelfix first finished the files that it was writing. The signal then ends the process: after Ctrl-C, a shell shows status 130.',
    'error: interrupted by SIGINT: 120 of 226 objects patched, each of them whole; the next run completes the work',
    'Run the command again.',
  ],
  IO: [
    'The system refused to read or write: the disk is full, a permission is missing, or a program does not exist.',
    'error: .venv/lib/python3.12/site-packages/foo.so: the disk is full: free some space and run wheelfix again',
    'Do what the message says and run the command again. No file is half written.',
  ],
  BUG: [
    'wheelfix met an unexpected error: this is a bug in wheelfix. The exit status is 70.',
    "error: this is a bug in wheelfix (TypeError: Cannot read properties of undefined (reading 'path'))",
    'Report it with the file that `wheelfix doctor --bundle wheelfix-bug.zip` writes. `--verbose` shows where it happened.',
  ],
}

export const EXPLANATIONS: readonly Explanation[] = [
  ...Object.entries(FINDINGS).map(([code, texts]) => explanation(code, 'finding', texts)),
  ...Object.entries(ERRORS).map(([code, texts]) => explanation(code, 'error', texts)),
]

function explanation(code: string, kind: Explanation['kind'], [meaning, example, remedy]: Texts): Explanation {
  return { code, kind, meaning, example, remedy }
}
