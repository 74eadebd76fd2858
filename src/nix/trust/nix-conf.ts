// The keys that this machine trusts: those of nix.conf and its included files, and the key of Nix's own cache. The file is
// read as Nix reads it (libutil, configuration.cc). A user's own nix.conf does not count, because the daemon does not read
// it either.
import { dirname, resolve } from 'node:path'
import { ElfError } from '../../elf/error.ts'
import { decodeBytes } from '../../elf/text.ts'
import { errnoOf } from '../../io/error.ts'
import { withSource } from '../../io/source.ts'
import { DEFAULT_KEY, parseKeys, type PublicKeys } from './signature.ts'

const LARGEST_FILE = 1 << 20
/** The most files that are read. This limit ends a circle of files that include each other. */
const MOST_FILES = 64

/** The keys of the settings, and the default key. */
export function trustedKeys(env: NodeJS.ProcessEnv): PublicKeys {
  const settings = readSettings(`${env['NIX_CONF_DIR'] || '/etc/nix'}/nix.conf`)
  return parseKeys([...new Set([DEFAULT_KEY, ...keysOf(settings)])])
}

/** The keys of settings. A setting replaces earlier ones. A setting with `extra-` adds to the final value. */
function keysOf(settings: readonly NixSetting[]): string[] {
  const named = (...names: readonly string[]) => settings.filter(({ name }) => names.includes(name))
  // the second is an older name of the first (Nix's globals.hh)
  const last = named('trusted-public-keys', 'binary-cache-public-keys').at(-1)
  const extra = named('extra-trusted-public-keys', 'extra-binary-cache-public-keys')
  return [...(last?.values ?? []), ...extra.flatMap(({ values }) => values)]
}

interface NixSetting {
  readonly name: string
  readonly values: readonly string[]
}

function readSettings(path: string): NixSetting[] {
  const settings: NixSetting[] = []
  let files = 0
  const read = (file: string): void => {
    if (++files > MOST_FILES) return
    for (const line of readText(file).split('\n')) {
      const [name = '', second = '', ...rest] = line.replace(/#.*/, '').split(/\s+/).filter(Boolean)
      if (name === 'include' || name === '!include') read(resolve(dirname(file), second))
      else if (second === '=') settings.push({ name, values: rest })
    }
  }
  read(path)
  return settings
}

/** The text of a file; empty when it cannot be read. Fewer keys mean less trust. */
function readText(path: string): string {
  try {
    return withSource(path, source => (source.size > LARGEST_FILE ? '' : decodeBytes(source.read(0, source.size))))
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return ''
    throw error
  }
}
