export interface RootsReport {
  readonly rooted: readonly string[]
}
export function addRoots(_v: string, _p: readonly string[], _e: NodeJS.ProcessEnv): RootsReport {
  return { rooted: [] }
}
