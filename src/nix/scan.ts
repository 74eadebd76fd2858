export interface ScanCandidate {
  readonly path: string
  readonly directory: string
}
export function scanStore(
  _s: readonly string[],
  _c: { store: string; env: NodeJS.ProcessEnv },
): Map<string, ScanCandidate[]> {
  return new Map()
}
