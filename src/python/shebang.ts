// The Python that installed scripts name in their first line.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { decodeBytes } from '../elf/text.ts'
import { readRegular } from '../io/beneath.ts'
import { entriesIn, fsPath } from '../io/path.ts'

/** The size limit in bytes. A script from an installer has a few lines. */
const LARGEST_SCRIPT = 1 << 14

/** The first existing Python that a script of the folder names; null where none does. */
export function shebangPython(folder: string): string | null {
  for (const { name, kind } of entriesIn(folder)) {
    const python = kind === 'file' ? scriptPython(join(folder, name)) : null
    if (python !== null) return python
  }
  return null
}

/** The existing Python that a script names; null where it names none. */
export function scriptPython(path: string): string | null {
  const bytes = readRegular(path, LARGEST_SCRIPT)
  const python = bytes === null ? null : pythonOf(decodeBytes(bytes))
  return python !== null && existsSync(fsPath(python)) ? python : null
}

/**
 * Reads `#!/x/python3.12`. For a path that is too long for the kernel, installers write `#!/bin/sh` and `'''exec'
 * '/x/python3.12' "$0" "$@"`.
 */
function pythonOf(script: string): string | null {
  const direct = /^#!\s*(\/\S*\/(?:python|pypy)[\d.]*t?)\s*$/m.exec(script.split('\n', 1)[0] ?? '')
  if (direct !== null) return direct[1] ?? null
  const trick = /^#!\/bin\/sh\n'''exec' (?:"([^"]+)"|'([^']+)'|(\/\S+)) /.exec(script)
  return trick?.[1] ?? trick?.[2] ?? trick?.[3] ?? null
}
