// The reason for the result of a DT_NEEDED entry, in words.
import type { PlannedNeeded } from '../resolve/needed.ts'
import type { Because } from '../ldso/search.ts'

/**
 * Gives the reason as one phrase: `DT_RPATH of numpy/…/_core.so: $ORIGIN/../../numpy.libs`.
 * @param show turns a path into its displayed form
 */
export function because({ how, resolution, soname }: PlannedNeeded, show: (path: string) => string): string {
  if (how === 'foreign') return 'not resolved: the object is for another machine or C library'
  if (how === 'run-time')
    return 'not found by itself: Python loads it first, from this distribution or one that it requires'
  if (resolution === null) return 'not found'
  const lacking = resolution.lackingVersions
  if (lacking.length > 0) return `found, but it does not define ${lacking.join(', ')}`
  return ruleOf(resolution.because, soname, show)
}

/** The rule of the loader that decided, in words. */
export function ruleOf({ by, owner, entry, fault }: Because, soname: string, show: (path: string) => string): string {
  switch (by) {
    case 'loaded':
      return 'already loaded under this name'
    case 'path':
      return 'opened by its path'
    case 'DT_RPATH':
    case 'DT_RUNPATH':
      return `${by} of ${show(owner ?? '')}: ${entry ?? ''}`
    case 'environment':
      return 'NIX_LD_LIBRARY_PATH'
    case 'cache':
      return 'ld.so.cache'
    case 'built-in':
      return 'built-in directory of the C library'
    case 'not-elf':
    case 'unloadable':
      return `a file named ${soname} ${fault ?? 'cannot be loaded'}: the loader stops there`
    case 'not-found':
      return 'not found'
  }
}

/** Does the loader give up at a file of the wanted name? */
export function givesUp({ by }: Because): boolean {
  return by === 'not-elf' || by === 'unloadable'
}
