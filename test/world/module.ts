// A real extension module that needs the C++ library, made by gcc without Python's headers: it imports where libstdc++ is
// found, and nowhere else.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { runWell } from '../support/run.ts'

/** The module definition of CPython's stable ABI (Include/moduleobject.h), written out. */
export const moduleSource = (name: string): string => `
struct object { long references; void *type; };
struct base { struct object head; void *init; long index; void *copy; };
struct definition { struct base base; const char *name, *doc; long size; void *methods, *slots, *traverse, *clear, *free; };
extern void *PyModule_Create2(struct definition *, int);
static struct definition module = { .base = { { 1, 0 }, 0, 0, 0 }, .name = "${name}", .size = -1 };
__attribute__((visibility("default"))) void *PyInit_${name}(void) { return PyModule_Create2(&module, 1013); }
int three(void) { return 3; }
`

/** Builds the module at this path: its name is that of the file up to the first dot. */
export function buildModule(path: string): void {
  const name = /([^/.]+)\.[^/]*$/.exec(path)?.[1] ?? ''
  mkdirSync(dirname(path), { recursive: true })
  const file = `${path}.c`
  writeFileSync(file, moduleSource(name))
  runWell('gcc', ['-shared', '-fPIC', '-o', path, file, '-Wl,--no-as-needed', '-lstdc++'])
}
