// The help of `wheelfix elf`, in the form of patchelf's.

export const ELF_HELP = `[OPTION]... FILE...
  as patchelf:
    --print-interpreter       --set-interpreter PATH
    --print-soname            --set-soname SONAME
    --print-rpath             --set-rpath PATHS
    --add-rpath PATHS         --remove-rpath
    --shrink-rpath            --allowed-rpath-prefixes PREFIXES
    --force-rpath             write DT_RPATH; without it
                              DT_RUNPATH is written
    --print-needed            --add-needed LIBRARY
    --remove-needed LIBRARY   --replace-needed OLD NEW
    --no-default-lib          --add-debug-tag
    --print-execstack         --set-execstack
    --clear-execstack
    --print-os-abi            --set-os-abi ABI
    --page-size BYTES         the page size to lay the file
                              out for
    --output PATH             write there; FILE itself stays
                              as it is
    --debug                   say what is done
    --version, --help
  beyond patchelf:
    --dry-run                 say what would be changed, write
                              nothing
    --json                    print the parsed objects, and
                              what is changed, as one JSON
                              document
    --verify                  name every rule of the loaders
                              that the file breaks
    --restore                 restore the file as it was before
                              wheelfix

  A value @FILE is read from that file.
  Exit status: 0 all done, 1 something failed.

Examples:
  # what does it look for, and where?
  wheelfix elf --print-needed --print-rpath libfoo.so
  # see what a change would do
  wheelfix elf --dry-run --add-rpath '$ORIGIN/lib' libfoo.so
  # undo it
  wheelfix elf --restore libfoo.so
`
