// Node's crypto, loaded at its first use: that takes 1.4 ms of processor time, and a run with nothing to do uses none of it.
import type * as Crypto from 'node:crypto'

export function crypto(): typeof Crypto {
  return process.getBuiltinModule('node:crypto')
}
