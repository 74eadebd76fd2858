// Numbers and lists in a sentence. Every message that counts something uses these, so that nothing reads "1 objects".

/** `1 object`, `2 objects`; `1 library`, `2 libraries`. */
export function count(number: number, noun: string): string {
  return `${number} ${number === 1 ? noun : pluralOf(noun)}`
}

function pluralOf(noun: string): string {
  return noun.endsWith('y') ? `${noun.slice(0, -1)}ies` : `${noun}s`
}

/** `is` or `are`, `needs` or `need`: the form of a verb that goes with a number. */
export function agree(number: number, singular: string, plural: string): string {
  return number === 1 ? singular : plural
}

/** `a`, `a and b`, `a, b and c`. With `most`, what is beyond it is counted: `a, b and 7 more`. */
export function listed(items: readonly string[], most = items.length): string {
  const shown = items.length <= most ? items : items.slice(0, most)
  const parts = shown.length < items.length ? [...shown, `${items.length - shown.length} more`] : shown
  return parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1) ?? ''}`
}
