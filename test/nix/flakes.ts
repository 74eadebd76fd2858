// The project as a flake, with a nixpkgs of this machine's own files (see nixpkgs/default.nix) and a real Nix.
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { skip, which } from '../support/requires.ts'
import { run, type RunResult, runWell } from '../support/run.ts'
import { type NixWorld, nixWorldFor } from '../world/nix.ts'
import { lacksWheels } from '../world/venv.ts'
import { scratch } from './stores.ts'

export const ROOT = join(import.meta.dirname, '../../..')
/** For root with Debian's Nix: no build users, no sandbox, nothing asked of a cache. */
export const OPTIONS = (
  '--option substitute false --option build-users-group  --option sandbox false ' +
  '--extra-experimental-features nix-command --extra-experimental-features flakes'
).split(' ')

export interface Flakes {
  readonly world: NixWorld
  /** A nixpkgs of this machine. */
  readonly stub: string
  /** The project as a flake of its own: only what Git knows of it, as Nix takes it. */
  readonly project: string
  nix(args: readonly string[], cwd?: string, more?: NodeJS.ProcessEnv): RunResult
  /** Puts a program `nix` into a folder that does the same for a project elsewhere, for who calls it by its name. */
  installNix(folder: string): void
}

/**
 * The project and a nixpkgs for it.
 * @param uv the program that is its uv
 * @returns null where there can be none: the test is then skipped
 */
export function flakes(t: TestContext, uv = which('uv')): Flakes | null {
  const world = nixWorldFor(t)
  if (world === null) return null
  const folder = scratch(t)
  const stub = join(folder, 'nixpkgs')
  cpSync(join(ROOT, 'test/nix/nixpkgs'), stub, { recursive: true })
  writeFileSync(join(stub, 'world.nix'), world.expression.replaceAll('builtins.currentSystem', '"x86_64-linux"'))
  const esbuild = join(ROOT, `node_modules/@esbuild/linux-${process.arch}/bin/esbuild`)
  const host = { node: process.execPath, npm: which('npm'), esbuild, uv: uv ?? null }
  writeFileSync(join(stub, 'host.json'), JSON.stringify(host))
  writeFileSync(
    join(stub, 'flake.nix'),
    `{
      outputs = _: let lib = import ./lib.nix; in {
        inherit lib;
        legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: import ./default.nix {
          inherit system lib;
          world = import ./world.nix;
          host = lib.importJSON ./host.json;
        });
      };
    }`,
  )
  const project = join(folder, 'project')
  mkdirSync(project)
  const files = runWell('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: ROOT })
  for (const name of files.split('\0')) {
    if (/^(?:src|nix|fixtures)\/|^[^/]+$/.test(name) && existsSync(join(ROOT, name)))
      cpSync(join(ROOT, name), join(project, name))
  }
  const env = { ...process.env, HOME: folder, NIX_REMOTE: '' }
  return {
    world,
    stub,
    project,
    nix(args, cwd = project, more = {}) {
      const inputs = ['--no-write-lock-file', '--override-input', 'nixpkgs', `path:${stub}`]
      const own = cwd === project ? [] : ['--override-input', 'wheelfix', `path:${project}`]
      // `nix flake init` takes no inputs, and `nix develop -c` takes all that follows
      const at = args.includes('init') ? args.length : args[0] === 'flake' ? 2 : 1
      const overrides = args.includes('init') ? [] : [...inputs, ...own]
      return run('nix', [...OPTIONS, ...args.slice(0, at), ...overrides, ...args.slice(at)], {
        cwd,
        env: { ...env, ...more },
      })
    },
    installNix(folder) {
      const overrides = ['nixpkgs', `path:${stub}`, '--override-input', 'wheelfix', `path:${project}`]
      const script = `#!/bin/bash
        # the overrides stand right behind the command: \`develop -c\` takes all that follows
        words=() found=
        for word; do
          words+=("$word")
          case "$found$word" in develop | build | eval | print-dev-env)
            found=yes words+=(--no-write-lock-file --override-input ${overrides.join(' ')}) ;;
          esac
        done
        exec ${which('nix') ?? ''} ${OPTIONS.map(word => `'${word}'`).join(' ')} "\${words[@]}"`
      writeFileSync(join(folder, 'nix'), script.replaceAll(/^ {8}/gm, ''), { mode: 0o755 })
    },
  }
}

/** The output of a run that has to end well. */
export function succeeds({ status, stdout, stderr }: RunResult): string {
  assert.equal(status, 0, stderr)
  return stdout
}

/** As `flakes`, in a world in which wheels can be installed. */
export function flakesWithWheels(t: TestContext): Flakes | null {
  const all = flakes(t)
  if (all === null) return null
  const reason = lacksWheels(all.world)
  if (reason === false) return all
  t.skip(skip(reason))
  return null
}
