// Removes the user from texts that leave the machine: the path of the home folder, and the user's name when it is a separate
// word.
import { escapeRegExp } from '../../io/words.ts'

export interface Person {
  /** Paths of the home folder, with and without resolved links. */
  readonly homes: readonly string[]
  /** The names of the account. */
  readonly names: readonly string[]
}

export interface Anonymiser {
  /** In a text the user becomes `/home/user` and `user`. Bytes that the text holds in base64 are changed too. */
  readonly text: (text: string) => string
  /** Bytes keep their length: every replaced byte becomes `x`. */
  readonly bytes: (bytes: Uint8Array) => Buffer
}

/** Names that reveal nothing: root and its home are the same on every machine. */
const NOBODY = new Set(['', '/', 'root', '/root'])

/** Makes the functions that remove this person from texts and bytes. */
export function anonymiser({ homes, names }: Person): Anonymiser {
  const paths = longestFirst(homes.map(home => home.replace(/\/+$/, '')))
  const words = longestFirst(names)
  const pattern = [
    ...paths.map(path => `${escapeRegExp(path)}(?![^/\\s"':,;)\\]}])`),
    ...words.map(word => `(?<![\\p{L}\\p{N}_])${escapeRegExp(word)}(?![\\p{L}\\p{N}_])`),
  ].join('|')
  if (pattern === '') return { text: text => text, bytes: bytes => Buffer.from(bytes) }
  const found = new RegExp(pattern, 'gu')
  const anonymousBytes = (bytes: Uint8Array): Buffer => {
    const copy = Buffer.from(bytes)
    for (const word of [...paths, ...words]) {
      const wanted = Buffer.from(word)
      for (let at = copy.indexOf(wanted); at >= 0; at = copy.indexOf(wanted, at + wanted.length)) {
        const isWithin = !word.startsWith('/') && isWordByte(copy[at - 1])
        if (isWithin || isWordByte(copy[at + wanted.length])) continue
        copy.fill('x', at, at + wanted.length)
      }
    }
    return copy
  }
  return {
    text: text =>
      text
        .replaceAll(found, match => (match.startsWith('/') ? '/home/user' : 'user'))
        .replaceAll(/"([A-Za-z0-9+/]{16,}={0,2})"/g, (string, base64: string) => {
          const before = Buffer.from(base64, 'base64')
          const after = anonymousBytes(before)
          return after.equals(before) ? string : `"${after.toString('base64')}"`
        }),
    bytes: anonymousBytes,
  }
}

function isWordByte(byte: number | undefined): boolean {
  return byte !== undefined && (byte >= 0x80 || /\w/.test(String.fromCharCode(byte)))
}

function longestFirst(all: readonly string[]): string[] {
  return [...new Set(all)].filter(text => !NOBODY.has(text)).sort((a, b) => b.length - a.length)
}
