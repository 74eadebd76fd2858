// The file that Node starts: it holds the program as text, and runs it from the code that V8 made of it when it was built.
// Compiling function by function is a sixth of a run on a small venv. Without a cache that fits the program is compiled as
// ever. Node's own cache (module.enableCompileCache, since 22.8) holds only the functions that ran when it was made: it costs
// 3 to 9 ms of processor time more on a whole run, and 5 to 7 ms less on --version (Node 22, 24 and 26).
import { readFileSync, writeFileSync } from 'node:fs'
import { Script } from 'node:vm'
import { crc32 } from 'node:zlib'
import program from 'wheelfix:program'

/**
 * V8 runs any code of the right length that was made with its version number and its flags, whatever the program, the build
 * or the damage: the name tells of the first two, and the last four bytes are a checksum.
 */
const CACHE = `${__dirname}/wheelfix-${identity()}.cache`

function identity(): string {
  const build = JSON.stringify([process.versions, process.arch, process.config])
  return crc32(build, crc32(program)).toString(16).padStart(8, '0')
}

/** A CommonJS module as a function of what stands in it for free names. */
type Module = (require: NodeJS.Require, module: NodeJS.Module) => void

/** Its name in stack traces holds no folder: the cache is the same wherever it is made. */
function script(cachedData?: Buffer): Script {
  return new Script(`(function(require,module){${program}\n})`, {
    filename: 'wheelfix.cjs',
    ...(cachedData === undefined ? {} : { cachedData }),
  })
}

/** Writes the cache of the whole program, for the Node that runs this. */
export function writeCache(): void {
  const { setFlagsFromString } = process.getBuiltinModule('node:v8')
  // every function is compiled, not only what runs at once; the flag is part of what V8 compares
  setFlagsFromString('--no-lazy')
  const compiled = script()
  setFlagsFromString('--lazy')
  const data = compiled.createCachedData()
  const sum = Buffer.alloc(4)
  sum.writeUInt32LE(crc32(data))
  writeFileSync(CACHE, Buffer.concat([data, sum]))
}

function readCache(): Buffer | undefined {
  let bytes
  try {
    bytes = readFileSync(CACHE)
  } catch {
    return undefined
  }
  const data = bytes.subarray(0, -4)
  return bytes.length > 4 && bytes.readUInt32LE(data.length) === crc32(data) ? data : undefined
}

/** Runs the program: when Node is started with this file, and when bin/wheelfix.cjs, which npm links to, asks for it. */
export function start(): void {
  const run: Module = script(readCache()).runInThisContext()
  run(require, module)
}

if (require.main === module) start()
