// Colour for the two streams. chalk itself ignores NO_COLOR (https://no-color.org), so this file sets the level.
import { Chalk, type ChalkInstance, supportsColor, supportsColorStderr } from 'chalk'
import { type Output, standardError, standardOutput } from './terminal/output.ts'

export type ColourMode = 'auto' | 'always' | 'never'

interface Colours {
  readonly stdout: ChalkInstance
  readonly stderr: ChalkInstance
}

type Detected = false | { readonly level: 0 | 1 | 2 | 3 }

/** `auto`: the terminal, FORCE_COLOR and NO_COLOR decide. NO_COLOR wins. */
export function colours(mode: ColourMode, env: NodeJS.ProcessEnv): Colours {
  const level = (detected: Detected, output: Output): 0 | 1 | 2 | 3 => {
    if (mode === 'never') return 0
    const found = detected === false ? 0 : detected.level
    if (mode === 'always') return found === 0 ? 1 : found
    if ((env['NO_COLOR'] ?? '') !== '') return 0
    // chalk reads a --color without a value on the command line as “always”
    const wanted = env['FORCE_COLOR'] !== undefined || (output.isTTY && env['TERM'] !== 'dumb')
    return wanted ? found : 0
  }
  return {
    stdout: new Chalk({ level: level(supportsColor, standardOutput) }),
    stderr: new Chalk({ level: level(supportsColorStderr, standardError) }),
  }
}
