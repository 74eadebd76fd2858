// The file that Node starts: it holds the program as text, and runs it from the code that V8 made of it when it was built.
// Compiling function by function is a sixth of a run on a small venv. The cache stands beside this file, named after the V8
// and the machine that made it, and V8 itself rejects one that is cut or was made with other flags; without one the program
// is compiled as ever.
import { readFileSync, writeFileSync } from 'node:fs'
import { Script } from 'node:vm'
import program from 'wheelfix:program'

const CACHE = `${__dirname}/wheelfix-${process.versions.v8}-${process.arch}.cache`

/** A CommonJS module as a function of what stands in it for free names. */
type Module = (require: NodeJS.Require, module: NodeJS.Module) => void

/** Its name in stack traces holds no folder: the cache is the same wherever it is made. */
function script(cachedData?: Buffer): Script {
  return new Script(`(function(require,module){${program}\n})`, {
    filename: 'wheelfix.cjs',
    ...(cachedData === undefined ? {} : { cachedData }),
  })
}

/** Writes the cache of the whole program, for the V8 that runs this. */
export async function writeCache(): Promise<void> {
  const { setFlagsFromString } = await import('node:v8')
  // every function is compiled, not only what runs at once; the flag is part of what V8 compares
  setFlagsFromString('--no-lazy')
  const compiled = script()
  setFlagsFromString('--lazy')
  writeFileSync(CACHE, compiled.createCachedData())
}

function readCache(): Buffer | undefined {
  try {
    return readFileSync(CACHE)
  } catch {
    return undefined
  }
}

if (require.main === module) {
  const run: Module = script(readCache()).runInThisContext()
  run(require, module)
}
