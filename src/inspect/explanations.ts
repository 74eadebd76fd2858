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
    'The Python of the environment cannot be started or read, so nothing else can be looked at.',
    '✗ /home/you/.venv/bin/python leads to /nix/store/…-python3-3.11.7/bin/python3.11, which does not exist',
    'Make the environment again with a Python that is there, then run `wheelfix venv`.',
  ],
  'other-machine': [
    'The Python of the environment is built for another kind of processor. wheelfix can patch the objects, but cannot ask that Python.',
    '- this Python is for aarch64: the real loader was not asked',
    'Nothing. Run `wheelfix doctor` on that machine for the rest.',
  ],
  'loader-differs': [
    'The real loader finds another file than wheelfix says, or none. This is a bug of wheelfix.',
    '✗ numpy/_core/_multiarray_umath.so: wheelfix finds libz.so.1, the loader does not',
    'Please report the line, the output of `wheelfix why` for the file, and the name of the package.',
  ],
  'loader-refuses': [
    'Every library is found, and yet the real loader refuses to load an object: for its thread-local storage, an executable stack, a missing version or a relocation.',
    '✗ the loader refuses it: cannot allocate memory in static TLS block',
    'The message of the loader says what it is. Another version of the package, or importing it first, may help.',
  ],
  'loader-fault': [
    'The private loader, its cache or bin/python is gone, damaged, or made for another place.',
    '✗ the environment was moved: its private loader still looks in /old/place',
    'Run `wheelfix loader`: it makes them again.',
  ],
  'library-missing': [
    'A library that an object needs is nowhere in its search path or the library set, or is there without the symbol versions that it wants.',
    '✗ libGL.so.1 is missing',
    'Run `wheelfix libs build` with the package that is named, or name the library in the project’s own file (see docs/libraries.md).',
  ],
  unpatched: [
    'Objects do not find libraries that wheelfix can give them, and it has never run here.',
    '✗ 13 objects to patch, of numpy and scipy',
    'Run `wheelfix venv`.',
  ],
  'changed-since': [
    'Packages were installed or changed after the last run of wheelfix.',
    '✗ packages were installed or changed since wheelfix ran: numpy',
    'Run `wheelfix venv`. To have that done for you, put it into a shellHook or an .envrc (see docs/recipes.md).',
  ],
  'zeroed-headers': [
    'The loader overwrites the program headers of an object with zeros, so that no C++ exception can cross it. Early versions of wheelfix, and some other tools, laid files out so.',
    '✗ no C++ exception can cross 2 objects: the loader zeroes the program headers',
    'Run `wheelfix venv`, which lays its own files out again. For others, reinstall the package.',
  ],
  'half-finished': [
    'A run of wheelfix was stopped before it was done (Ctrl-C, a crash, a power failure). No file is broken: the journal knows what is to be finished.',
    '✗ the last run of wheelfix was interrupted',
    'Run `wheelfix venv`, which completes it, or `wheelfix restore`, which takes it back.',
  ],
  refused: [
    'An object needs a change that cannot be made safely, for example because other data follows the program in its file.',
    '✗ bin/tool: 1,024 bytes are appended to it (a payload that the program looks for at its end)',
    'The reason says what is in the way. `wheelfix loader` serves an environment without changing its objects.',
  ],
  unreadable: [
    'A file looks like an ELF object, but cannot be read: it is cut off, damaged, or you have no permission.',
    '! lib/python3.12/site-packages/foo/_foo.so ends before its program headers',
    'Reinstall the package. If the permission is missing, run as the owner of the environment.',
  ],
  'ld-library-path': [
    'LD_LIBRARY_PATH is set in your shell. Every program that you start gets these libraries, also those that do not want them.',
    '! LD_LIBRARY_PATH is set (/nix/store/…-zlib-1.3.1/lib)',
    'Run `wheelfix venv --libs "$LD_LIBRARY_PATH"` once, then `unset LD_LIBRARY_PATH`.',
  ],
  'dead-store-path': [
    'A search path, a loader or a pinned library is a store path that no longer exists, usually after a garbage collection.',
    '✗ /nix/store/…-zlib-1.3/lib is gone from the store',
    'Run `wheelfix venv --update`, which chooses among what is there now.',
  ],
  'gc-roots': [
    'The environment depends on store paths that no garbage collector root protects.',
    '! 3 of 9 store paths that this environment needs would be removed by nix-collect-garbage',
    'Run `wheelfix venv`, which registers them. (A moved or copied environment needs this, too.)',
  ],
  'hard-links': [
    'Files of the environment share their bytes with the cache of the installer (uv makes hard links).',
    '- 70 objects share their bytes with a cache of the installer',
    'Nothing: wheelfix gives a file its own bytes before it changes them. Other tools that edit in place do not.',
  ],
  'plan-warning': [
    'What an object gets depends on more than its own search path, for example on which package is imported first.',
    '- pyqt6-qt6 and pyside6-essentials each bring libQt6Core.so.6; a process loads only one copy',
    'Do not import both packages in one process. Else there is nothing to do.',
  ],
  'qt-platform': [
    'Qt cannot open a window, because its platform plugin for X11 or Wayland lacks a library. Qt itself says only: could not load the Qt platform plugin "xcb" even though it was found.',
    '! Qt cannot open a window with X11: its platform plugin lacks libxcb-cursor.so.0',
    'Build the packages that are named: `wheelfix libs build libxcb-cursor`. On a machine without a screen set QT_QPA_PLATFORM=offscreen.',
  ],
  'dlopen-note': [
    'An object says of itself (in a .note.dlopen section) that it opens a library by name, and that library is not found.',
    '- it opens libzstd.so.1 by name and does not find it (suggested, for zstd)',
    'Add the package that is named if you use that feature.',
  ],
  'run-time-library': [
    'A package is known to load a library by name when it runs. No search path in a file helps there.',
    '- sounddevice looks for libportaudio.so.2 with ctypes.util.find_library',
    'Run `wheelfix loader`: a private loader makes libraries found by their name. Or set the variable that is named.',
  ],
  'find-library': [
    'Python code asks ctypes.util.find_library or /sbin/ldconfig for a library. Both know nothing of the Nix store.',
    '- 2 files look for libraries with ctypes.util.find_library or ldconfig',
    'If the package fails, run `wheelfix loader`, by which find_library works.',
  ],
  'outside-unpatched': [
    'Something that the environment imports from outside of its folder (an editable install, a .pth file) does not find its libraries. wheelfix does not change files outside unless it is told to.',
    '! 2 objects outside of the environment do not find their libraries: /home/you/src/foo',
    'Run `wheelfix venv --editable`, if these files are yours to change.',
  ],
  'foreign-program': [
    'A program asks for the loader of another system, which is not on this machine, and wheelfix leaves it unchanged (an Android or BSD program, a test file).',
    '- a program asks for /system/bin/linker64, the loader of another system, which does not exist here',
    'Nothing, unless you want to run that program.',
  ],
  'script-interpreter': [
    'A script begins with an interpreter that NixOS does not have in that place.',
    '- 2 scripts start /usr/bin/perl, which NixOS does not have',
    'Set `services.envfs.enable = true`, or begin the script with `#!/usr/bin/env`.',
  ],
  'import-fails': [
    'An extension module raised an error when it was imported (`wheelfix doctor --import`).',
    '✗ import cv2.cv2: libGL.so.1: cannot open shared object file',
    'Read the error: `wheelfix why` takes it as it is.',
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
    'There is no virtual environment where one was named or looked for.',
    'error: /home/you/project is not a virtual environment (no pyvenv.cfg)',
    'Name one (`wheelfix venv DIR`), activate one, or make one (`python3 -m venv .venv`).',
  ],
  VENV_INVALID: [
    'The environment is damaged: its pyvenv.cfg or a folder cannot be read, or leads elsewhere.',
    'error: .venv/pyvenv.cfg has no line "home = …"',
    'Make the environment again.',
  ],
  PYTHON_NOT_FOUND: [
    'The Python of the environment, or the one that was named, is not there.',
    'error: .venv/bin/python leads to /nix/store/…-python3-3.11.7/bin/python3.11, which does not exist',
    'Make the environment again, or name another Python.',
  ],
  PYTHON_UNSUPPORTED: [
    'The Python is one that wheelfix cannot serve, for example a static one.',
    'error: /opt/python/bin/python3 is linked statically: it loads no extension modules',
    'Use a Python of nixpkgs, or one of uv (see docs/private-loader.md).',
  ],
  LOADER_NOT_FOUND: [
    'The program that starts the Python (its dynamic loader) is not on this machine.',
    'error: python3.12 asks for /lib64/ld-linux-x86-64.so.2, which does not exist here',
    'Run `wheelfix python DIR` for a Python of another system.',
  ],
  LIBC_UNSUPPORTED: [
    'The C library is too old for what was asked, or is neither glibc nor musl.',
    'error: a private loader needs glibc 2.33 or later; this Python has glibc 2.31',
    'Use a Python of a newer nixpkgs, or `wheelfix venv` without a private loader.',
  ],
  PATH_REFUSED: [
    'A folder that was given to `wheelfix path` is one that must not be patched: a system folder, the store, a home folder.',
    'error: /usr is a folder of the system: name a folder of your own',
    'Name the folder that you mean more closely.',
  ],
  LIBS_NOT_FOUND: [
    'A library folder that was named does not exist.',
    'error: the library directory /nowhere does not exist',
    'Correct --libs, WHEELFIX_LIBS or the configuration file that is named.',
  ],
  LIBS_EMPTY: [
    'A library folder that was named holds no shared library.',
    'error: the library directory /nix/store/…-zlib-1.3.1-dev holds no shared library',
    'Name the folder with the lib*.so* files, usually the lib of the package’s `lib` or `out` output.',
  ],
  LIBS_NOT_IN_STORE: [
    'A library folder that was named is not in the Nix store, and nothing in it leads there.',
    'error: /usr/lib holds nothing of the Nix store',
    'Name a folder of the store: wheelfix writes only store paths into files.',
  ],
  CONFIG_INVALID: [
    'wheelfix.toml or [tool.wheelfix] of pyproject.toml has a mistake.',
    'error: /home/you/project/wheelfix.toml: "lib" is not a setting of wheelfix',
    'Correct the file. `wheelfix config` shows what is in force.',
  ],
  WHEEL_INVALID: [
    'A file is not a wheel that can be patched safely: damaged, encrypted, too large, or with names that leave its folder.',
    'error: foo-1.0-py3-none-any.whl: the entry ../evil.so leaves the wheel',
    'Get the wheel again from where it came.',
  ],
  BUSY: [
    'Another run of wheelfix works on the same environment and did not end in time.',
    'error: another wheelfix (process 1234) is working on .venv',
    'Wait until it has ended, then run again.',
  ],
  INTERRUPTED: [
    'A signal (Ctrl-C, for one) ended the run while it wrote. The files in work were finished first.',
    'error: interrupted by SIGINT: 120 of 226 objects patched, each of them whole; the next run completes it',
    'Run the command again.',
  ],
  IO: [
    'The system refused to read or write: a full disk, a missing permission, a program that is not there.',
    'error: .venv/lib/python3.12/site-packages/foo.so: the disk is full',
    'Do what the sentence says and run again. Nothing is left half written.',
  ],
  BUG: [
    'wheelfix met an error that it does not expect: the mistake is its own. The exit status is 70.',
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
