// Globs over sonames and paths, as in fnmatch(3): `*`, `?` and `[…]`.

/** Does the whole of `text` match the glob? */
export function matchesGlob(text: string, glob: string): boolean {
  return matcher(glob, '^', '$')?.test(text) ?? text === glob
}

/**
 * Does the glob match a relative path, or whole components at its end? `a/*.so` matches `lib/a/b.so`. A star also
 * matches slashes.
 */
export function matchesPath(path: string, glob: string): boolean {
  const wanted = glob.replace(/\/+$/, '')
  return matcher(wanted, '(?:^|/)', '$')?.test(path) ?? (path === wanted || path.endsWith(`/${wanted}`))
}

/** null for a glob with a lone bracket, which stands for itself. */
function matcher(glob: string, before: string, after: string): RegExp | null {
  const pattern = glob
    .replaceAll(/[\\^$.|+(){}]/g, String.raw`\$&`)
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
    .replaceAll('[!', '[^')
  try {
    return new RegExp(`${before}${pattern}${after}`, 's')
  } catch {
    return null
  }
}
