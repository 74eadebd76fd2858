// Where a library was named, in the user's words.
import type { LibrarySource } from '../nix/libset.ts'

export const SOURCE_WORDS: Readonly<Record<LibrarySource, string>> = {
  flag: '--libs',
  build: 'libs build',
  config: 'configuration',
  env: 'WHEELFIX_LIBS',
  closure: "the interpreter's own",
  ldflags: 'NIX_LDFLAGS',
  'nix-ld': 'nix-ld',
  default: 'WHEELFIX_DEFAULT_LIBS',
  scan: 'found in the store',
  trust: '--trust',
}
