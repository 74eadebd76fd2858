// Flags of V8 for commands that do the whole work.

const MAJOR = Number(process.versions.node.split('.')[0])
/** The newest version of Node that is known to know these flags. */
const NEWEST = 26

/**
 * The compiler of V8 that pays in a run, and the number of objects from which it does; null for none. Node 24 and later have a
 * quick one: with it and without the other, a run on 1,307 objects takes 15 % less processor time and 15 MB less. The
 * other pays in Node 20 (5 %). In Node 22 it costs 6 % and 16 MB.
 */
const COMPILER = MAJOR >= 24 ? { flag: 'maglev', from: 300 } : MAJOR < 22 ? { flag: 'opt', from: 600 } : null

let isSparing = false

/**
 * Sets flags of V8 after everything is loaded. V8 rejects code that was cached with other flags, including the code of
 * Node's own modules (10 ms). A thread that starts later loads its modules without the cache (nix/daemon/daemon.ts): 50 ms
 * on another processor. Measurements show that a scan without the flags costs more.
 */
export function setFlags(): void {
  // V8 complains on stderr of a flag that it does not know
  if (MAJOR > NEWEST) return
  const { setFlagsFromString } = process.getBuiltinModule('node:v8')
  // V8 lets its nursery grow to 3 x 16 MB before it looks for garbage. A run makes little garbage, and this garbage is
  // short-lived. On a venv of 2,673 objects this flag keeps 127 MB instead of 167 MB, for 5 % more time
  setFlagsFromString('--semi-space-growth-factor=1')
  // V8 wakes a thread for each of the hundreds of small collections, which one thread does as quickly
  setFlagsFromString('--no-parallel-scavenge')
  // V8 begins to mark in other threads long before a full collection, which most runs do not need. On a small venv this flag
  // saves 7 % of the processor time
  setFlagsFromString('--no-incremental-marking')
  // Node 20 optimises code that a run soon stops using. On a small venv this flag saves a third of the processor time and
  // 8 % of the time; on 1,309 objects, a budget of 300,000 would cost 3 % and 5 MB. Newer versions optimise later, and do not
  // know the flag
  if (process.version.startsWith('v20.')) setFlagsFromString('--interrupt-budget=1800000')
  // V8's optimiser makes one large function of a whole loop and compiles it again when a type changes. On 2,060 objects this
  // flag saves a tenth of the processor time
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=1')
  // A run on few objects ends before optimised code has paid for its compilation. On 243 objects this saves 14 % of the
  // processor time and 6 MB, and with Node 24 a quarter and 8 MB
  setFlagsFromString('--no-opt')
  if (COMPILER?.flag === 'maglev') setFlagsFromString('--no-maglev')
  isSparing = true
}

/** Lets V8 optimise, once a scan has found enough objects. */
export function optimiseFor(objects: number): void {
  if (!isSparing || COMPILER === null || objects < COMPILER.from) return
  process.getBuiltinModule('node:v8').setFlagsFromString(`--${COMPILER.flag}`)
  isSparing = false
}
