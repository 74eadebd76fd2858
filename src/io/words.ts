// Numbers and lists in a sentence. Every message with a count uses these functions, so that no message says "1
// objects".

/** `1 object`, `2 objects`; `1 library`, `2 libraries`. */
export function count(number: number, noun: string): string {
  return `${number} ${number === 1 ? noun : pluralOf(noun)}`
}

function pluralOf(noun: string): string {
  return noun.endsWith('y') ? `${noun.slice(0, -1)}ies` : `${noun}s`
}

/** The form of a verb that agrees with a number: `is` or `are`, `needs` or `need`. */
export function agree(number: number, singular: string, plural: string): string {
  return number === 1 ? singular : plural
}

/** `a`, `a and b`, `a, b and c`. Items beyond `most` are only counted: `a, b and 7 more`. */
export function listed(items: readonly string[], most = items.length): string {
  const shown = items.length <= most ? items : items.slice(0, most)
  const parts = shown.length < items.length ? [...shown, `${items.length - shown.length} more`] : shown
  return parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1) ?? ''}`
}

/**
 * The names that a mistyped name may mean, the nearest first. Two names are near if their edit distance is small, or
 * if one is inside the other.
 */
export function nearest(name: string, names: Iterable<string>, most = 3): string[] {
  const limit = Math.max(2, Math.floor(name.length / 3))
  const found = [...new Set(names)].flatMap(candidate => {
    const isPart = name.length > 2 && (candidate.includes(name) || name.includes(candidate))
    const distance = isPart ? 0 : editDistance(name, candidate)
    return distance <= limit ? [{ candidate, distance }] : []
  })
  return found
    .sort((a, b) => a.distance - b.distance || a.candidate.length - b.candidate.length)
    .slice(0, most)
    .map(({ candidate }) => candidate)
}

/** Insertions, deletions and substitutions (Levenshtein), row by row. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** A text as a part of a regular expression that matches only this text. */
export function escapeRegExp(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&')
}

/** Replaces the escapes of three octal digits that the kernel and getfattr print: `\040`. */
export function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}

/** Quotes a text as one word of a POSIX shell. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
