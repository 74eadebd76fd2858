// The settings of an environment and the source of each. A run without options would use the same settings.
import { type Config, readConfig } from '../config/config.ts'
import type { Environment } from '../python/environment.ts'
import { readPins } from '../state/pins.ts'
import { readProgramInterpreter } from '../state/program-loader.ts'

export interface Setting {
  readonly name: string
  readonly value: string | boolean | readonly string[] | null
  /** The file or the variable; null when nothing sets it. */
  readonly source: string | null
}

/** The variables that a run reads, in the order in which they count. */
const SHOWN_VARIABLES = [
  'WHEELFIX_LIBS',
  'NIX_LDFLAGS',
  'NIX_LD',
  'NIX_LD_LIBRARY_PATH',
  'WHEELFIX_DEFAULT_LIBS',
  'WHEELFIX_FLAKE',
  'VIRTUAL_ENV',
  'UV_PROJECT_ENVIRONMENT',
  'LD_LIBRARY_PATH',
] as const

/**
 * The configuration file (null when there is none) and all settings.
 * @throws WheelfixError `CONFIG_INVALID`
 */
export function shownSettings(venv: Environment, env: NodeJS.ProcessEnv): { file: string | null; settings: Setting[] } {
  const config = readConfig(venv.root)
  const { path } = config
  const fromFile = (name: string, value: Setting['value'], isSet: boolean): Setting => {
    return { name, value, source: isSet ? path : null }
  }
  const kept = readProgramInterpreter(venv)
  const programs = kept === 'python' ? null : kept
  const pins = [...readPins(venv)].map(([soname, pin]) => `${soname} ${pin.path}`)
  return {
    file: path,
    settings: [
      fromFile('libs', config.libs, config.libs.length > 0),
      fromFile('ignore-missing', config.ignoreMissing, config.ignoreMissing.length > 0),
      fromFile('ignore', config.ignore, config.ignore.length > 0),
      fromFile('strategy', config.strategy, config.strategy !== null),
      interpreterSetting(config, programs),
      fromFile('no-scan', config.noScan, config.noScan),
      fromFile('strict', config.strict, config.strict),
      ...SHOWN_VARIABLES.map((name): Setting => {
        const value = env[name] ?? ''
        return { name, value: value === '' ? null : value, source: value === '' ? null : 'the shell' }
      }),
      { name: 'pinned libraries', value: pins, source: pins.length === 0 ? null : 'the last run' },
    ],
  }
}

function interpreterSetting({ path, interpreter }: Config, kept: string | null): Setting {
  if (interpreter !== null) return { name: 'interpreter', value: interpreter, source: path }
  return { name: 'interpreter', value: kept, source: kept === null ? null : 'an earlier run' }
}
