// The file that Node starts. It holds the first stage of the program as text. The whole program is in a file beside it,
// because Node always reads all of the file that it starts (1 MB takes 4 ms). Both run from V8's code cache, which was made
// at build time. Without this cache V8 compiles function by function, which takes a sixth of a run on a small venv. Without a
// matching cache the text is compiled as usual. Node's own cache (module.enableCompileCache, since 22.8) holds only the
// functions that ran when it was made. Compared with wheelfix's cache it costs 3 to 9 ms more processor time on a whole run,
// and 5 to 7 ms less on --version (measured with Node 22, 24 and 26).
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { Script } from 'node:vm'
import { crc32 } from 'node:zlib'
import front from 'wheelfix:front'

interface Stage {
  readonly text: string
  readonly name: string
}

const FRONT: Stage = { text: front, name: 'wheelfix-front' }

/** The whole program. esbuild escapes every character that is not ASCII. Without its file, ends the process with status 2. */
function whole(): Stage {
  const path = `${__dirname}/program.txt`
  if (!existsSync(path)) {
    process.stderr.write(`error: this installation is not complete: ${path} is missing. Install wheelfix again\n`)
    process.exit(2)
  }
  return { text: readFileSync(path, 'latin1'), name: 'wheelfix' }
}

/** The commands whose answer is kept in the environment. */
const OF_ENVIRONMENTS = new Set(['venv', 'check', 'loader'])
/** The commands for which the first stage may be enough. Other commands would only load it and then the whole program. */
const OF_FRONT = new Set(['venv', 'check', 'loader', 'path', 'help', '--help', '-h', '--version', '-V'])

/**
 * The path of a cache. V8 runs any code of the right length that was made with its version number and flags. It does so even
 * if the program, Node's build or the bytes are wrong. So the name of the cache has a checksum of the program and of Node's
 * build, and the last four bytes are a checksum of the code.
 */
function cachePath({ text, name }: Stage): string {
  const build = JSON.stringify([process.versions, process.arch, process.config])
  const identity = crc32(build, crc32(text)).toString(16).padStart(8, '0')
  return `${__dirname}/${name}-${identity}.cache`
}

/** A CommonJS module as a function of its free names. */
type Module = (require: NodeJS.Require, module: NodeJS.Module, startWhole: () => void) => void

/** The compiled text. Its name in stack traces holds no folder, so the cache is the same wherever it is made. */
function script({ text }: Stage, cachedData?: Buffer): Script {
  return new Script(`(function(require,module,startWhole){${text}\n})`, {
    filename: 'wheelfix.cjs',
    ...(cachedData === undefined ? {} : { cachedData }),
  })
}

/** Writes the caches for the Node that runs this. */
export function writeCache(): void {
  const { setFlagsFromString } = process.getBuiltinModule('node:v8')
  for (const stage of [FRONT, whole()]) {
    // compiles every function, not only the functions that run at once; V8 also compares this flag
    setFlagsFromString('--no-lazy')
    const compiled = script(stage)
    setFlagsFromString('--lazy')
    const data = compiled.createCachedData()
    const sum = Buffer.alloc(4)
    sum.writeUInt32LE(crc32(data))
    writeFileSync(cachePath(stage), Buffer.concat([data, sum]))
  }
}

function readCache(stage: Stage): Buffer | undefined {
  let bytes
  try {
    bytes = readFileSync(cachePath(stage))
  } catch {
    return undefined
  }
  const data = bytes.subarray(0, -4)
  return bytes.length > 4 && bytes.readUInt32LE(data.length) === crc32(data) ? data : undefined
}

function startStage(stage: Stage): void {
  const run: Module = script(stage, readCache(stage)).runInThisContext()
  run(require, module, () => startStage(whole()))
}

/**
 * Is there an environment without an answer of an earlier run? Then the whole program is needed, and the first stage would
 * only find that out. A guess from the command line is enough, because both stages give the same result.
 */
function isFirstRun([command = '', ...args]: readonly string[]): boolean {
  if (!OF_ENVIRONMENTS.has(command) || args.some(arg => arg === '--help' || arg === '-h')) return false
  const [first] = args
  const named = first === undefined || first.startsWith('-') ? process.env['VIRTUAL_ENV'] : first
  const folder = named === undefined || named === '' ? '.venv' : named
  return existsSync(`${folder}/pyvenv.cfg`) && !existsSync(`${folder}/.wheelfix/state.json`)
}

/** Runs the program. Node starts this file, or bin/wheelfix.cjs calls it. npm links to the second. */
export function start(): void {
  const args = process.argv.slice(2)
  startStage(OF_FRONT.has(args[0] ?? '--help') && !isFirstRun(args) ? FRONT : whole())
}

if (require.main === module) start()
