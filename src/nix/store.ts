export function storeDirectory(env: NodeJS.ProcessEnv): string {
  return env['NIX_STORE_DIR'] ?? '/nix/store'
}
export function storePathOf(path: string, store: string): string | null {
  if (!path.startsWith(store + '/')) return null
  return path
    .split('/')
    .slice(0, store.split('/').length + 1)
    .join('/')
}
