// `wheelfix elf`: one object at a time, with the options, the output and the exit statuses of patchelf. It can replace
// patchelf, also under that name. It adds --dry-run, --json, --verify and --restore.
import { readFileSync } from 'node:fs'
import { ET_DYN, PF_X, PT_DYNAMIC, PT_GNU_STACK } from '../../elf/constants.ts'
import { ElfError } from '../../elf/error.ts'
import { readElf } from '../../elf/read.ts'
import type { ByteSource } from '../../elf/source.ts'
import { decodeBytes, encodeText } from '../../elf/text.ts'
import type { ElfObject } from '../../elf/types.ts'
import { readUndo } from '../../elf/graft/undo-note.ts'
import { verifyElf } from '../../elf/rules/verify.ts'
import { wantedState } from '../../patchelf/edits.ts'
import { type Rewrite, restoreObject, rewriteObject } from '../../patchelf/rewrite.ts'
import { errnoOf, WheelfixError } from '../../io/error.ts'
import { fsPath } from '../../io/path.ts'
import { withSource } from '../../io/source.ts'
import { storeDirectory } from '../../nix/store.ts'
import { SCHEMA } from '../../report/schema.ts'
import { standardError, standardOutput } from '../../report/terminal/output.ts'
import { ELF_HELP } from './elf-help.ts'
import { type ElfRequest, ElfUsageError, nameOfOsAbi, parseElfArguments } from '../../patchelf/patchelf-options.ts'
import type { ExitStatus } from '../shared/status.ts'

/** The version of patchelf whose options and behaviour these are. Its users parse this line. */
const PATCHELF_VERSION = '0.19.3'

/**
 * Runs `wheelfix elf`. Status 0: all done. Status 1: a file failed, as in patchelf (the files before it are done, the files
 * after it are not).
 * @param name the name by which the program was called; error messages begin with it
 */
export function elfCommand(args: readonly string[], name: string, version: string): ExitStatus {
  let path: string | null = null
  try {
    if (args.length === 0) {
      standardError.write(`syntax: ${name} ${ELF_HELP}`)
      return 1
    }
    const request = parseElfArguments(args, file => {
      path = file
      const text = decodeBytes(readFileSync(fsPath(file)))
      path = null
      return text
    })
    if (request === 'help') standardOutput.write(`syntax: ${name} ${ELF_HELP}`)
    else if (request === 'version') print(`patchelf ${PATCHELF_VERSION} (wheelfix ${version})`)
    else {
      const results = request.files.map(file => {
        path = file
        return runRequest(request, file, message => {
          if (request.debug || process.env['PATCHELF_DEBUG'] !== undefined) standardError.write(`${message}\n`)
        })
      })
      if (request.json)
        print(JSON.stringify({ schema: SCHEMA, command: 'elf', objects: results.map(one => one.document) }))
      return results.some(({ status }) => status !== 0) ? 1 : 0
    }
    return 0
  } catch (error) {
    standardError.write(`${name}: ${messageOf(error, path)}\n`)
    return 1
  }
}

function print(text: string): void {
  standardOutput.write(encodeText(`${text}\n`))
}

/** @throws every unexpected failure: a bug */
function messageOf(error: unknown, path: string | null): string {
  if (error instanceof ElfUsageError || error instanceof WheelfixError) return error.message
  if (error instanceof ElfError) {
    const message = error.code === 'NOT_ELF' ? 'not an ELF executable' : error.message
    return path === null ? message : `${path}: ${message}`
  }
  const errno = errnoOf(error)
  if (errno === undefined || !(error instanceof Error)) throw error
  if (errno === 'ENOENT') return `getting info about '${path ?? ''}': No such file or directory`
  return path === null ? error.message : `${path}: ${error.message}`
}

interface Result {
  readonly status: ExitStatus
  readonly document: object
}

/** With one of these queries patchelf does not print that it patches. With the other two queries it does. */
const QUERIES = ['interpreter', 'rpath', 'soname', 'needed'] as const

function runRequest(request: ElfRequest, file: string, debug: (message: string) => void): Result {
  if (request.mode === 'verify') return verify(file, request.json)
  if (request.mode === 'restore') return restore(request, file)
  const described = request.json ? withSource(file, describeObject) : {}
  const options = {
    output: request.output,
    env: process.env,
    dryRun: request.dryRun,
    // the file must not keep unused store paths from Nix's garbage collector
    wipes: (text: string) => text.includes(`${storeDirectory(process.env)}/`),
    ...(request.pageSize === null ? {} : { pageSize: request.pageSize }),
  }
  if (!QUERIES.some(query => request.print.has(query))) debug(`patching ELF file '${file}'`)
  const rewrite = rewriteObject(
    file,
    (object, state) => {
      if (!request.json) printAsked(request, object, debug)
      const { rpath, removeNeeded, replaceNeeded, addNeeded, noDefaultLib, addDebugTag } = request
      const editsNeeded = removeNeeded.length > 0 || replaceNeeded.size > 0 || addNeeded.length > 0
      if (editsNeeded || rpath !== null || noDefaultLib || addDebugTag) mustBeDynamic(object)
      return wantedState(hasEmptyDynamic(object) ? { ...request, rpath: null } : request, object, state)
    },
    options,
  )
  for (const line of fieldLines(rewrite)) {
    if (request.dryRun && !request.json) print(`${file}: ${line}`)
    else debug(`${file}: ${line}`)
  }
  const changes = Object.fromEntries(
    rewrite.changed.map(field => [field, { from: plain(rewrite.before[field]), to: plain(rewrite.after[field]) }]),
  )
  return { status: 0, document: { path: file, ...described, changes } }
}

/**
 * Prints what the --print options ask for, from the object before any edit.
 * @throws ElfError when patchelf fails too
 */
function printAsked({ print: asked }: ElfRequest, object: ElfObject, debug: (message: string) => void): void {
  if (asked.has('interpreter')) {
    if (object.ptInterp === null) throw noSection('.interp')
    print(object.ptInterp)
  }
  if (asked.has('osabi')) print(nameOfOsAbi(object.header.osabi))
  if (asked.has('soname')) {
    // for patchelf only a library or a PIE has a soname, so it does not examine other files further
    if (object.header.type === ET_DYN) mustBeDynamic(object)
    if (object.soname !== null && object.soname !== '') print(object.soname)
    else debug('no DT_SONAME found')
  }
  if (asked.has('rpath')) {
    mustBeDynamic(object)
    if (!hasEmptyDynamic(object)) print(object.runpath ?? object.rpath ?? '')
  }
  if (asked.has('execstack')) print(`execstack: ${executableStackOf(object)}`)
  if (asked.has('needed')) {
    mustBeDynamic(object)
    for (const name of object.needed) print(name)
  }
}

/**
 * Is this a file of debugging information? The dynamic segment of such a file is empty, so there is nothing to print or to
 * change.
 */
function hasEmptyDynamic({ dynamic, programHeaders }: ElfObject): boolean {
  return dynamic === null && programHeaders.some(({ type }) => type === PT_DYNAMIC)
}

/** @throws ElfError for a statically linked file */
function mustBeDynamic(object: ElfObject): void {
  if (object.dynamic === null && !hasEmptyDynamic(object)) throw noSection('.dynamic')
}

function noSection(name: string): ElfError {
  return new ElfError('UNSUPPORTED', `cannot find section '${name}'. The input file is most likely statically linked`)
}

/** The flag of PT_GNU_STACK: `X`, `-`, or `?` when there is none. */
function executableStackOf({ programHeaders }: ElfObject): string {
  const stack = programHeaders.find(({ type }) => type === PT_GNU_STACK)
  return stack === undefined ? '?' : (stack.flags & PF_X) === 0 ? '-' : 'X'
}

/** One line for each changed field. */
function fieldLines({ changed, before, after }: Rewrite): string[] {
  return changed.map(field => `${field}: ${shown(before[field])} -> ${shown(after[field])}`)
}

function shown(value: string | bigint | number | boolean | null | readonly string[]): string {
  if (typeof value === 'object') return value === null ? 'none' : value.join(' ')
  return typeof value === 'string' || typeof value === 'boolean' ? String(value) : `0x${value.toString(16)}`
}

/** Shows addresses and other numbers of the machine's width as hexadecimal texts, because JSON's numbers end at 2^53. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]))
}

/** The object as data: header, program headers and everything that the dynamic table names. */
function describeObject(source: ByteSource): object {
  const object = readElf(source)
  return Object.assign({}, plain(object), { size: source.size, grafted: isGrafted(source) })
}

function isGrafted(source: ByteSource): boolean {
  try {
    return readUndo(source) !== null
  } catch (error) {
    // a newer wheelfix changed the file
    if (error instanceof ElfError && error.code === 'REFUSED') return true
    throw error
  }
}

function verify(file: string, json: boolean): Result {
  const violations = withSource(file, verifyElf)
  if (!json) {
    for (const { rule, message, offset } of violations) {
      print(`${file}: ${rule}: ${message}${offset === undefined ? '' : ` (offset ${offset})`}`)
    }
  }
  return { status: violations.length === 0 ? 0 : 1, document: { path: file, violations: plain(violations) } }
}

function restore({ dryRun, json }: ElfRequest, file: string): Result {
  const restored = restoreObject(file, { dryRun, env: process.env })
  if (!restored) {
    const message = 'has no undo record of wheelfix, or something else has changed it since'
    if (!json) standardError.write(`${file}: ${message}\n`)
  }
  return { status: restored ? 0 : 1, document: { path: file, restored } }
}
