export interface Hint {
  readonly attribute: string
  readonly note?: string
}
export function hintFor(_soname: string): Hint | null {
  return null
}
