// The same-length edit that makes a copy of the host's loader look into two folders of our choice only, as a Nix glibc
// looks into its own lib folder and its libgcc folder. Pure: bytes in, bytes out.

/** NUL-terminated directories, each with a slash at both ends, one after the other: glibc's `system_dirs` (dl-load.c). */
const RUN = /(?<![!-~])(?:\/(?:[!-~]+\/)+\0){2,8}/g
const CACHE = '/etc/ld.so.cache'

/**
 * The loader with `directories` as its built-in search path and without a cache file.
 * @returns the new bytes, or the reason why they cannot be made (the paths must fit into the built-in ones' room)
 */
export function replaceBuiltinDirectories(loader: Buffer, directories: readonly string[]): Buffer | string {
  const text = loader.toString('latin1')
  const runs = [...text.matchAll(RUN)].filter(([run]) => /(^|\0)\/(usr\/)?lib[^\0]*\/\0/.test(run))
  if (runs.length === 0) return 'the built-in directories of this loader are not to be found'
  if (!text.includes(`\0${CACHE}\0`)) return 'the cache path of this loader is not to be found'

  const result = Buffer.from(text.replaceAll(CACHE, '/nil/ld.so.cache'), 'latin1')
  for (const { 0: run, index } of runs) {
    const left = [...directories]
    const slots = run.split('\0').slice(0, -1)
    const filled = slots.map(slot => {
      const next = left[0]
      if (next === undefined || next.length >= slot.length) return '/nil'.padEnd(slot.length, '/')
      left.shift()
      return next.padEnd(slot.length, '/')
    })
    if (left.length > 0) return `the built-in directories ${slots.join(' ')} leave no room for ${left.join(' ')}`
    result.write(filled.join('\0'), index, 'latin1')
  }
  return result
}
