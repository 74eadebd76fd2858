// A machine with nix-ld: a stand-in of it at the path where an ordinary distribution has its loader, for the processes of
// a mount namespace alone. It finds libraries as nix-ld does: it starts the loader that NIX_LD names, with
// NIX_LD_LIBRARY_PATH behind LD_LIBRARY_PATH. (nix-ld maps that loader into the process; this one executes it.)
import { mkdirSync, readdirSync, realpathSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { missing, skip, which } from '../support/requires.ts'
import { run, type RunResult, runWell } from '../support/run.ts'
import { WHEELFIX } from './venv.ts'

/** Where nix-ld stands on x86-64 (nix-ld, package.nix: ldpath). */
export const SHIM = '/lib64/ld-linux-x86-64.so.2'

export interface NixLdMachine {
  /** Runs a program there; with NIX_LD_LOG in its environment nix-ld says so. */
  run(program: string, args: readonly string[], env: NodeJS.ProcessEnv): RunResult
  /** Runs wheelfix there, whose own Node does without nix-ld. */
  wheelfix(args: readonly string[], env: NodeJS.ProcessEnv): RunResult
}

/** Builds nix-ld below `folder`. @returns the machine with it, or why there can be none here */
export function nixLdMachine(folder: string): NixLdMachine | string {
  const lacking = missing('gcc', 'unshare', 'mount')
  if (lacking !== false) return lacking
  if (process.arch !== 'x64') return skip('needs x86-64')
  const loader = realpathSync(SHIM)
  const place = realpathSync('/lib64')
  // what else is there would be hidden
  if (readdirSync(place).some(name => name !== 'ld-linux-x86-64.so.2')) return skip('needs a /lib64 of a loader alone')
  const own = join(folder, 'nix-ld')
  mkdirSync(own)
  writeFileSync(join(own, 'nix-ld.c'), SOURCE)
  const freestanding = ['-O2', '-fPIC', '-nostdlib', '-static-pie', '-fno-stack-protector', '-fno-builtin']
  runWell('gcc', [...freestanding, '-o', join(own, 'ld-linux-x86-64.so.2'), join(own, 'nix-ld.c')])
  const namespace = process.getuid?.() === 0 ? '-m' : '-rm'
  const script = `${which('mount') ?? ''} --bind "$0" "$1" && shift && exec "$@"`
  const inside = (program: string, args: readonly string[], env: NodeJS.ProcessEnv) =>
    run(which('unshare') ?? '', [namespace, '/bin/sh', '-c', script, own, place, program, ...args], { env })
  const { status, stderr } = inside(loader, ['--version'], {})
  // a permission, no tool: not every container gives it, in CI neither
  if (status !== 0) return `needs a mount namespace: ${stderr.trim()}`
  return { run: inside, wheelfix: (args, env) => inside(loader, [process.execPath, WHEELFIX, ...args], env) }
}

const SOURCE = `
typedef unsigned long word;
static long call(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}
static word length(const char *text) { word n = 0; while (text[n]) n++; return n; }
static void say(const char *text) { call(1, 2, (long)text, length(text)); }
static char *value(char **env, const char *name) {
  for (; *env; env++) {
    word n = length(name), i = 0;
    while (i < n && (*env)[i] == name[i]) i++;
    if (i == n && (*env)[n] == '=') return *env + n + 1;
  }
  return 0;
}
__attribute__((noreturn, used)) static void start(word *stack) {
  word argc = stack[0];
  char **argv = (char **)(stack + 1), **env = argv + argc + 1, **end = env;
  while (*end) end++;
  char *program = 0;
  for (word *aux = (word *)(end + 1); aux[0]; aux += 2) if (aux[0] == 31) program = (char *)aux[1];
  char *loader = value(env, "NIX_LD");
  if (!loader || !*loader) loader = "/run/current-system/sw/share/nix-ld/lib/ld.so";
  char *path = value(env, "NIX_LD_LIBRARY_PATH"), *before = value(env, "LD_LIBRARY_PATH");
  if (!path) path = "/run/current-system/sw/share/nix-ld/lib";
  char joined[65536], *at = joined;
  if (before && *before) { for (char *c = before; *c; c++) *at++ = *c; *at++ = ':'; }
  for (char *c = path; *c; c++) *at++ = *c;
  *at = 0;
  if (value(env, "NIX_LD_LOG")) say("nix-ld: started\\n");
  char *started[argc + 6];
  started[0] = loader; started[1] = "--argv0"; started[2] = argv[0];
  started[3] = "--library-path"; started[4] = joined; started[5] = program;
  for (word i = 1; i <= argc; i++) started[5 + i] = argv[i];
  call(59, (long)loader, (long)started, (long)env);
  say("nix-ld: no loader at "); say(loader); say("\\n");
  call(231, 127, 0, 0);
  __builtin_unreachable();
}
__asm__(".globl _start\\n_start: mov %rsp, %rdi\\n and $-16, %rsp\\n call start\\n");
`
