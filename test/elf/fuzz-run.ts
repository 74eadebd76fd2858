// `npm run fuzz`: the long run of the fuzzer.
import { which } from '../support/requires.ts'
import { fuzz, fuzzLoader } from './fuzz.ts'

const [seed = Date.now() % 1_000_000, parses = 2_000_000, edits = 200_000, opened = 2000] = process.argv
  .slice(2)
  .map(Number)
console.log(`seed ${seed}: ${parses} parses, ${edits} edits`)
const started = performance.now()
const total = { parses: 0, parsed: 0, edits: 0, edited: 0 }
// in slices, so that there is something to see
for (let slice = 0; slice < 20; slice++) {
  const counts = fuzz(seed + slice, Math.ceil(parses / 20), Math.ceil(edits / 20))
  total.parses += counts.parses
  total.parsed += counts.parsed
  total.edits += counts.edits
  total.edited += counts.edited
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  const memory = (process.memoryUsage().rss / 1e6).toFixed(0)
  console.log(
    `${total.parses} parses (${total.parsed} read), ${total.edits} edits (${total.edited} made), ${seconds} s, ${memory} MB`,
  )
}
/** Linkers and layouts whose mutated libraries are opened with the real loader. */
const LAYOUTS: readonly (readonly string[])[] = [
  [],
  ['-Wl,-z,noseparate-code', '-Wl,--hash-style=both'],
  ['-Wl,-z,norelro', '-Wl,--hash-style=sysv'],
  ['-fuse-ld=gold'],
  ['-fuse-ld=lld'],
]
for (const [index, flags] of LAYOUTS.entries()) {
  const linker = flags.find(flag => flag.startsWith('-fuse-ld='))?.slice(9)
  if (which('gcc') === undefined || (linker !== undefined && which(`ld.${linker}`) === undefined)) continue
  const counts = fuzzLoader(seed + index, Math.ceil(opened / LAYOUTS.length), flags)
  console.log(`gcc ${flags.join(' ')}: ${counts.edited} edits, ${counts.loaded} of them load before and after`)
}
