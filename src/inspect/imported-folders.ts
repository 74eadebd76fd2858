// Folders from which the environment imports and that only its Python knows: the code of a .pth file or of sitecustomize
// adds them to sys.path. wheelfix does not look into them (python/belonging.ts), so doctor asks whether the objects there load.
import type { Examination } from '../environment/examine.ts'
import { entriesIn, exists, isInside, isLibraryName, realPathOrNull } from '../io/path.ts'
import { count, shellWord } from '../io/words.ts'
import { mayHoldModules, walks } from '../python/belonging.ts'
import type { Finding } from './findings.ts'
import { type Asked, askPython, importFolders } from './real-loader/ask-python.ts'
import { isAboutSearch } from './real-loader/refusals.ts'

/** A larger tree is not a folder of modules. */
const MOST_OBJECTS = 2000

/** The folders whose objects do not find their libraries. `env` is for the Python that is asked. */
export function importedFolders(examination: Examination, env: NodeJS.ProcessEnv): Finding[] {
  const { venv, scan, interpreter, store } = examination
  if (venv.python === null || (scan.belonging.code.length === 0 && !hasCustomization(venv.sitePackages))) return []
  const walked = [...venv.walk, ...scan.belonging.folders].flatMap(folder => realPathOrNull(folder) ?? [])
  const outside = scan.belonging.outside.flatMap(({ folder }) => realPathOrNull(folder) ?? [])
  const isLookedAt = (real: string): boolean =>
    isInside(real, store) ||
    walked.some(folder => isInside(real, folder)) ||
    outside.some(folder => folder === real || walks(folder, real))
  const folders = new Set(importFolders(interpreter.executable, env).flatMap(folder => realPathOrNull(folder) ?? []))
  return [...folders]
    .filter(folder => !isLookedAt(folder))
    .flatMap((folder): Finding[] => {
      const asked = objectsIn(folder, interpreter.extensionSuffixes)
      const verdicts = asked.length === 0 ? new Map() : askPython(interpreter.executable, asked, env)
      // a Python that does not start is a finding of its own
      if (typeof verdicts === 'string') return []
      const failing = asked.filter(({ path }) => isAboutSearch(verdicts.get(path)?.error ?? ''))
      if (failing.length === 0) return []
      return [
        {
          code: 'outside-unpatched',
          severity: 'error',
          message: `${count(failing.length, 'object')} in ${folder} cannot load: code adds that folder to sys.path, and wheelfix does not look at it`,
          remedy: `wheelfix path --python ${shellWord(venv.root)} ${shellWord(folder)}`,
          paths: failing.map(({ path }) => path),
        },
      ]
    })
}

/** Python runs these modules at its start (CPython, Lib/site.py). */
function hasCustomization(sitePackages: readonly string[]): boolean {
  const names = ['sitecustomize', 'usercustomize']
  return sitePackages.some(site => names.some(name => exists(`${site}/${name}.py`) || exists(`${site}/${name}`)))
}

/** The shared objects in a folder of modules, as a scan of a source tree finds them. */
function objectsIn(folder: string, suffixes: readonly string[]): Asked[] {
  const found: Asked[] = []
  const visit = (directory: string): void => {
    const entries = entriesIn(directory)
    // a source tree may hold other environments
    if (entries.some(({ name }) => name === 'pyvenv.cfg')) return
    for (const { name, kind } of entries) {
      if (found.length === MOST_OBJECTS) return
      const path = `${directory}/${name}`
      if (kind === 'directory' && mayHoldModules(name)) visit(path)
      else if (kind === 'file' && isLibraryName(name)) {
        found.push({ path, isModule: suffixes.some(suffix => name.endsWith(suffix)) })
      }
    }
  }
  visit(folder)
  return found
}
