// Makes dist/: the program as CommonJS, which Node starts sooner than modules, in as many files as are loaded at different
// times (esbuild’s chunks), so that a run reads what it needs and no more. Runs as `prepare`; where the development
// dependencies are left out it keeps what is there.
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

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

/** commander loads child_process, and so half of Node, for subcommands that are programs of their own: we have none. */
const withoutSubprograms = {
  name: 'without-subprograms',
  setup(build) {
    build.onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      importer.includes('/commander/') ? { path: 'child_process', namespace: 'none' } : undefined,
    )
    build.onLoad({ filter: /.*/, namespace: 'none' }, () => ({ contents: '' }))
  },
}

// esbuild splits modules only, so the chunks become CommonJS one by one
const { outputFiles } = await esbuild.build({
  entryPoints: [{ in: new URL('main.ts', import.meta.url).pathname, out: 'wheelfix' }],
  outdir: dist,
  outExtension: { '.js': '.cjs' },
  chunkNames: 'chunks/[name]-[hash]',
  bundle: true,
  splitting: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  define: { WHEELFIX_VERSION: JSON.stringify(version) },
  plugins: [withoutSubprograms],
  logLevel: 'warning',
  write: false,
})
const chunks = await Promise.all(
  outputFiles.map(async ({ path, text }) => {
    // a chunk is there at once by require, and import() would load the whole machinery of modules for it
    const supported = { 'dynamic-import': false }
    const { code } = await esbuild.transform(text, { platform: 'node', format: 'cjs', target: 'node20', supported })
    return { path, code }
  }),
)
rmSync(`${dist}/chunks`, { recursive: true, force: true })
for (const { path, code } of chunks) {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, path === program ? `#!/usr/bin/env node\n${code}` : code)
}
chmodSync(program, 0o755)
