// Who loads the objects of an environment: its Python, a program that the user names, or a bare program with a glibc of the
// Nix store when nothing else is known.
import { basename, dirname } from 'node:path'
import { EM_386, EM_AARCH64, EM_RISCV, EM_X86_64 } from '../elf/constants.ts'
import { readElf, withoutTables } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { WheelfixError } from '../io/error.ts'
import { withSource } from '../io/source.ts'
import { isFhsLoader } from '../ldso/libc.ts'
import { namedStorePaths, storeTrust } from '../nix/trust/trust.ts'
import { plainInterpreter, type PythonName } from '../private-loader/python-names.ts'
import { chooseLoader } from '../private-loader/store-loader.ts'
import { type Environment, hasPython } from '../python/environment.ts'
import { findInterpreter, findLoadingProgram, type Interpreter } from '../python/interpreter.ts'
import { driverDirectory } from '../resolve/drivers.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import type { VenvOptions } from './run-options.ts'
import { type Scan, scanVenv } from './scan.ts'

/** The objects, and who loads them. */
interface Loaded {
  readonly interpreter: Interpreter
  readonly scan: () => Scan
}

/** @throws WheelfixError when the program does not exist, or when the store has no glibc for it */
export function whoLoads(
  environment: Environment,
  names: readonly PythonName[],
  store: string,
  ignore: readonly string[],
  options: VenvOptions,
): Loaded {
  // the private loader finds the driver's libraries in its cache
  const driver = options.strategy !== 'loader' && driverDirectory() !== null
  const scanFor = (suffixes: readonly string[]): Scan => scanVenv(environment, suffixes, store, ignore, driver)
  if (hasPython(environment)) {
    const hasLoader = names.some(({ kind }) => kind === 'copy')
    const interpreter = hasLoader ? plainInterpreter(environment, names) : findInterpreter(environment)
    return { interpreter, scan: () => scanFor(interpreter.extensionSuffixes) }
  }
  if (environment.program !== null) {
    const interpreter = findLoadingProgram(environment.program)
    return { interpreter, scan: () => scanFor(interpreter.extensionSuffixes) }
  }
  const scan = scanFor(['.node', '.so'])
  return { interpreter: bareProgram(environment, scan.objects, store, options), scan: () => scan }
}

/** A program that needs only the libc of the store. That libc must serve all objects, or at least all programs. */
function bareProgram(
  { root }: Environment,
  objects: readonly ScannedObject[],
  store: string,
  options: VenvOptions,
): Interpreter {
  const programs = objects.filter(({ original }) => isFhsLoader(original.ptInterp ?? ''))
  const name = commonest(programs.map(({ original }) => basename(original.ptInterp ?? ''))) ?? nameFor(objects)
  const question = {
    ...options,
    program: root,
    name,
    current: programs.find(({ undo }) => undo !== null)?.current.ptInterp ?? null,
    libc: null,
    store,
    trust: storeTrust({ env: options.env, interpreter: [], named: namedStorePaths(options.trust, options.env) }),
  }
  const usersOf = (some: readonly ScannedObject[]) => some.map(({ original }) => original)
  const loader = chooseFor([usersOf(objects), usersOf(programs)], users => chooseLoader({ ...question, users }))
  const libc = withoutTables(withSource(`${dirname(loader)}/libc.so.6`, readElf))
  const object: ElfObject = {
    ...libc,
    ptInterp: loader,
    soname: null,
    needed: ['libc.so.6'],
    rpath: null,
    runpath: null,
    flags1: 0n,
    filters: [],
    auxiliaries: [],
    versionNeeds: [],
    versionDefinitions: [],
    isMappable: true,
    baseVersion: null,
  }
  const program = `${dirname(loader)}/no-program`
  return {
    executable: '',
    program,
    chain: [],
    version: '',
    interp: loader,
    object,
    extensionSuffixes: ['.node', '.so'],
  }
}

/** The first choice that succeeds. @throws the error of the last one */
function chooseFor(all: readonly (readonly ElfObject[])[], choose: (users: readonly ElfObject[]) => string): string {
  let last: unknown = null
  for (const users of all) {
    try {
      return choose(users)
    } catch (error) {
      if (!(error instanceof WheelfixError)) throw error
      last = error
    }
  }
  throw last
}

function commonest(names: readonly string[]): string | null {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0] ?? null
}

/**
 * The file name of glibc's loader for the machine of most objects (sysdeps, shlib-versions and the ABI names of the ports).
 */
function nameFor(objects: readonly ScannedObject[]): string {
  const key = commonest(objects.map(({ original: { header } }) => `${header.machine}/${header.class}`))
  return LOADERS.get(key ?? '') ?? (process.arch === 'arm64' ? 'ld-linux-aarch64.so.1' : 'ld-linux-x86-64.so.2')
}

const LOADERS: ReadonlyMap<string, string> = new Map([
  [`${EM_X86_64}/64`, 'ld-linux-x86-64.so.2'],
  [`${EM_386}/32`, 'ld-linux.so.2'],
  [`${EM_AARCH64}/64`, 'ld-linux-aarch64.so.1'],
  [`${EM_RISCV}/64`, 'ld-linux-riscv64-lp64d.so.1'],
])
