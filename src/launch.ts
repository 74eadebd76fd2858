// The file that Node starts. It chooses a stage of the program by the first word of the command line and starts it. Each
// stage is a text in a file beside this one, because Node always reads all of the file that it starts (1 MB takes 4 ms).
// Stages run from V8's code cache, which was made at build time. Without this cache V8 compiles function by function, which
// takes a sixth of a run on a small venv. Without a matching cache the text is compiled as usual. Node's own cache
// (module.enableCompileCache, since 22.8) holds only the functions that ran when it was made. Compared with wheelfix's cache
// it costs 3 to 9 ms more processor time on a whole run, and 5 to 7 ms less on --version (measured with Node 22, 24 and 26).
import { closeSync, existsSync, fstatSync, openSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { Script } from 'node:vm'
import { crc32 } from 'node:zlib'
import { filled, withMemory } from './io/memory.ts'

/**
 * The stages, by the names of their files. The bundler makes each of them (scripts/bundle.mjs):
 * - front: the command line, its help, and the answers of earlier runs (front.ts);
 * - environments: the commands that patch and restore environments; it needs half the memory of the whole program;
 * - program: the whole program.
 */
type StageName = 'front' | 'environments' | 'program'
const STAGES: readonly StageName[] = ['front', 'environments', 'program']

interface Stage {
  readonly name: StageName
  /** esbuild escapes every character that is not ASCII. */
  readonly text: string
}

/** Reads a whole file and gives its bytes to `use`. @throws the errors of open(2) and read(2) */
function withBytes<Result>(path: string, use: (bytes: Buffer) => Result): Result {
  const fd = openSync(path, 'r')
  try {
    return withMemory(fstatSync(fd).size, bytes => use(filled(fd, bytes)))
  } finally {
    closeSync(fd)
  }
}

/**
 * The stage, or the whole program where its file is missing. Without the file of the whole program, ends the process with
 * status 2.
 */
function readStage(name: StageName): Stage {
  const path = `${__dirname}/${name}.txt`
  try {
    return { name, text: withBytes(path, bytes => bytes.toString('latin1')) }
  } catch (error) {
    if (existsSync(path)) throw error
  }
  if (name !== 'program') return readStage('program')
  process.stderr.write(`error: this installation is not complete: ${path} is missing. Install wheelfix again\n`)
  process.exit(2)
}

/** The commands whose answer is kept in the environment. */
const OF_ENVIRONMENTS = new Set(['venv', 'check', 'loader'])
/** The commands for which the first stage may be enough. Other commands would only load it and then the whole program. */
const OF_FRONT = new Set(['venv', 'check', 'loader', 'path', 'help', '--help', '-h', '--version', '-V'])
/** The commands of the stage `environments`. Another program's name (patchelf) means other commands. */
const IN_ENVIRONMENTS = new Set(['venv', 'check', 'loader', 'path', 'restore'])

/**
 * The path of a cache. V8 runs any code of the right length that was made with its version number and flags. It does so even
 * if the program, Node's build or the bytes are wrong. So the name of the cache has a checksum of the program and of Node's
 * build, and the last four bytes are a checksum of the code.
 */
function codeCachePath({ text, name }: Stage): string {
  const build = JSON.stringify([process.versions, process.arch, process.config])
  const identity = crc32(build, crc32(text)).toString(16).padStart(8, '0')
  return `${__dirname}/wheelfix-${name}-${identity}.cache`
}

/** A CommonJS module as a function of its free names, as the bundler writes it. */
type Module = (require: NodeJS.Require, module: NodeJS.Module, startNext: () => void) => void

/** The compiled text. Its name in stack traces holds no folder, so the cache is the same wherever it is made. */
function script({ text }: Stage, cachedData?: Buffer): Script {
  return new Script(text, {
    filename: 'wheelfix.cjs',
    ...(cachedData === undefined ? {} : { cachedData }),
  })
}

/** Writes the caches for the Node that runs this. */
export function writeCache(): void {
  const { setFlagsFromString } = process.getBuiltinModule('node:v8')
  for (const stage of STAGES.map(readStage)) {
    // compiles every function, not only the functions that run at once; V8 also compares this flag
    setFlagsFromString('--no-lazy')
    const compiled = script(stage)
    setFlagsFromString('--lazy')
    const data = compiled.createCachedData()
    const sum = Buffer.alloc(4)
    sum.writeUInt32LE(crc32(data))
    writeFileSync(codeCachePath(stage), Buffer.concat([data, sum]))
  }
}

/** The compiled stage, from its code cache where there is a valid one. */
function compile(stage: Stage): Script {
  try {
    return withBytes(codeCachePath(stage), bytes => {
      const data = bytes.subarray(0, -4)
      const isWhole = bytes.length > 4 && bytes.readUInt32LE(data.length) === crc32(data)
      return isWhole ? script(stage, data) : script(stage)
    })
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error
    return script(stage)
  }
}

/** @param next the stage that takes over where this one is not enough */
function startStage(name: StageName, next: StageName = 'program'): void {
  const stage = readStage(name)
  const run: Module = compile(stage).runInThisContext()
  run(require, module, () => startStage(next))
}

/**
 * Is there an environment without an answer of an earlier run? Then the next stage is needed, and the first stage would only
 * find that out. A guess from the command line is enough, because both stages give the same result.
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
  const [program = '', ...args] = process.argv.slice(1)
  const [command = '--help'] = args
  const isOfEnvironments = IN_ENVIRONMENTS.has(command) && basename(program) !== 'patchelf'
  const working = isOfEnvironments ? 'environments' : 'program'
  if (OF_FRONT.has(command) && !isFirstRun(args)) startStage('front', working)
  else startStage(working)
}

if (require.main === module) start()
