// Flags of V8 for commands that do the whole work.

let isSparing = false

/**
 * Sets flags of V8 after everything is loaded. V8 rejects code that was cached with other flags, including the code of
 * Node's own modules (10 ms). A thread that starts later loads its modules without the cache (nix/daemon/daemon.ts): 50 ms
 * on another processor. Measurements show that a scan without the flags costs more.
 */
export function setFlags(): void {
  const { setFlagsFromString } = process.getBuiltinModule('node:v8')
  // V8 lets its nursery grow to 3 x 16 MB before it looks for garbage. A run makes little garbage, and this garbage is
  // short-lived. On a venv of 2,673 objects this flag keeps 127 MB instead of 167 MB, for 5 % more time
  setFlagsFromString('--semi-space-growth-factor=1')
  // V8 wakes a thread for each of the hundreds of small collections, which one thread does as quickly
  setFlagsFromString('--no-parallel-scavenge')
  // Node 20 optimises code that a run soon stops using. On a small venv this flag saves a third of the processor time and
  // 8 % of the time; on 1,309 objects, a budget of 300,000 would cost 3 % and 5 MB. Newer versions optimise later, and do not
  // know the flag
  if (process.version.startsWith('v20.')) setFlagsFromString('--interrupt-budget=1800000')
  // V8's optimiser makes one large function of a whole loop and compiles it again when a type changes. On 2,060 objects this
  // flag saves a tenth of the processor time. Later versions of Node may not know it
  if (Number(process.versions.node.split('.')[0]) <= 26) setFlagsFromString('--max-inlined-bytecode-size-cumulative=1')
  // a run on few objects ends before optimised code has paid for its compilation. On 313 objects this flag saves 14 % of the
  // processor time and 6 MB
  setFlagsFromString('--no-opt')
  isSparing = true
}

/** From this number of objects on, optimised code pays. */
const MANY = 600

/** Lets V8 optimise again, once a scan has found many objects. */
export function optimiseFor(objects: number): void {
  if (!isSparing || objects < MANY) return
  process.getBuiltinModule('node:v8').setFlagsFromString('--opt')
  isSparing = false
}
