// Dynamic string tokens (ld.so(8)): $ORIGIN, $LIB, $PLATFORM, with or without braces. A name without braces must not be
// followed by a letter, digit or underscore (glibc elf/dl-load.c, is_dst).

export interface TokenValues {
  /** The folder of the object, absolute. */
  readonly origin: string
  /** `lib`, `lib64` or `lib/x86_64-linux-gnu`: built into the libc. */
  readonly lib: string
  /** AT_PLATFORM: `x86_64`, `haswell` …; empty where the kernel gives none. An entry that uses it is then dropped. */
  readonly platform: string
}

const TOKEN = /\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))/g

/** The string with its tokens replaced; null when it uses $PLATFORM and there is none. */
export function expandTokens(text: string, values: TokenValues): string | null {
  if (!text.includes('$')) return text
  let lost = false
  const expanded = text.replaceAll(TOKEN, (_, braced: string | undefined, bare: string | undefined) => {
    const name = braced ?? bare
    if (name === 'ORIGIN') return values.origin
    if (name === 'LIB') return values.lib
    lost ||= values.platform === ''
    return values.platform
  })
  return lost ? null : expanded
}
