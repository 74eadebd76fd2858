// Node's crypto, loaded at its first use. Loading takes 1.4 ms of processor time, and a run with nothing to do does not need
// it.
import type * as Crypto from 'node:crypto'

/** node:crypto. It is loaded at the first call, because it takes longer to load than a run with nothing to do. */
export function crypto(): typeof Crypto {
  return process.getBuiltinModule('node:crypto')
}
