// Makes dist/wheelfix.cjs and the stages of the program that it starts (launch.ts), each as one CommonJS text with V8's code
// cache. Node starts one text about 20 ms sooner than the separate modules. This script runs as `prepare`. Without the
// development dependencies it keeps the existing files.
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs'

const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  const sudo = process.getuid?.() !== 0 && process.execPath.startsWith('/usr/') ? 'sudo ' : ''
  console.error(
    `error: wheelfix needs Node 20.19 or later, and this is Node ${process.versions.node}. Get one with: nix-shell -p nodejs, or (and then open a new shell): ${sudo}npm install -g node@22 && ${sudo}npm install -g npm@11`,
  )
  process.exit(1)
}

const dist = new URL('../dist', import.meta.url).pathname
const program = `${dist}/wheelfix.cjs`
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

let esbuild
try {
  esbuild = await import('esbuild')
} catch (error) {
  if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
  console.error(
    `wheelfix: esbuild is not installed, ${existsSync(program) ? 'dist/ is left as it is' : 'dist/ is not built'}`,
  )
  process.exit(0)
}

/**
 * commander loads child_process, and with it half of Node, for subcommands that are separate programs. wheelfix has no such
 * subcommands.
 */
const withoutSubprograms = {
  name: 'without-subprograms',
  setup(build) {
    build.onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      importer.includes('/commander/') ? { path: 'child_process', namespace: 'none' } : undefined,
    )
    build.onLoad({ filter: /.*/, namespace: 'none' }, () => ({ contents: '' }))
  },
}

const source = name => new URL(`../src/${name}`, import.meta.url).pathname

const options = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  // half the size takes half the time to compile; names are kept for stack traces
  minifyWhitespace: true,
  minifySyntax: true,
  alias: { 'node:tty': source('tty.ts') },
  logLevel: 'warning',
}

/**
 * Leaves modules out of a stage. A request for one of them is an error.
 * @param isLeftOut gets the path of a module that is loaded on demand, as the importing file names it
 */
const without = isLeftOut => ({
  name: 'without',
  setup(build) {
    build.onResolve({ filter: /./ }, ({ kind, path }) =>
      kind === 'dynamic-import' && isLeftOut(path) ? { path, namespace: 'left-out' } : undefined,
    )
    build.onLoad({ filter: /./, namespace: 'left-out' }, ({ path }) => ({
      contents: `throw new Error(${JSON.stringify(`${path} is not in this stage`)})`,
    }))
  },
})

async function writeStage(name, entry, isLeftOut) {
  await esbuild.build({
    ...options,
    entryPoints: [source(entry)],
    outfile: `${dist}/${name}.txt`,
    // V8 would keep a copy of a text that was put together at run time
    banner: { js: '(function(require,module,startNext){' },
    footer: { js: '})' },
    define: { WHEELFIX_VERSION: JSON.stringify(version) },
    plugins: [withoutSubprograms, without(isLeftOut)],
  })
}

/** The commands of the stage `environments`, as cli.ts and run-command-line.ts name them. */
const OF_ENVIRONMENTS = ['./commands/venv.ts', './commands/restore.ts', './commands/shared/failure.ts']

rmSync(dist, { recursive: true, force: true })
await esbuild.build({
  ...options,
  entryPoints: [source('launch.ts')],
  outfile: program,
  banner: { js: '#!/usr/bin/env node' },
})
await writeStage('front', 'front.ts', path => path !== './commands/venv.ts')
await writeStage('environments', 'main.ts', path => path.startsWith('./commands/') && !OF_ENVIRONMENTS.includes(path))
await writeStage('program', 'main.ts', () => false)
chmodSync(program, 0o755)
// V8 seeds its hashes at random. With a fixed seed the same program gives the same cache. A cache is valid for the flags
// that it was made with, so this one is made without flags of the environment.
const { NODE_OPTIONS: _, ...env } = process.env
execFileSync(process.execPath, ['--random-seed=1', '--eval', 'require(process.argv[1]).writeCache()', program], { env })

// the library, module by module, with types
if (process.argv.includes('--library')) {
  const tsc = new URL('../node_modules/typescript/bin/tsc', import.meta.url).pathname
  const project = new URL('../tsconfig.lib.json', import.meta.url).pathname
  execFileSync(process.execPath, [tsc, '-p', project], { stdio: 'inherit' })
}
