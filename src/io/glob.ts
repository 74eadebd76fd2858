// Globs over sonames, as in fnmatch(3): `*`, `?` and `[…]`.

/** Does the whole of `text` match the glob? */
export function matchesGlob(text: string, glob: string): boolean {
  const pattern = glob
    .replaceAll(/[\\^$.|+(){}]/g, String.raw`\$&`)
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
    .replaceAll('[!', '[^')
  try {
    return new RegExp(`^${pattern}$`, 's').test(text)
  } catch {
    // a lone bracket is itself
    return text === glob
  }
}
