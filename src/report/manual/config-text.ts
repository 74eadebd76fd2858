// The settings for a person: one line each, with the source.
import type { ChalkInstance } from 'chalk'
import type { Setting } from '../../inspect/settings.ts'
import { count } from '../../io/words.ts'
import { relativeTo } from '../../io/path.ts'

interface SettingStyle {
  readonly chalk: ChalkInstance
  /** Also show settings that nothing sets. */
  readonly verbose: boolean
}

/** The lines of `wheelfix config`. Paths are relative to `root`. `verbose` also shows what nothing sets. */
export function settingLines(
  root: string,
  file: string | null,
  settings: readonly Setting[],
  { chalk, verbose }: SettingStyle,
): string[] {
  const shown = settings.filter(({ source }) => verbose || source !== null)
  const width = Math.max(0, ...shown.map(({ name }) => name.length))
  const lines = shown.map(({ name, value, source }) => {
    const from = source === null ? 'not set' : relativeTo(root, source)
    return `${name.padEnd(width)}  ${valueText(name, value, verbose)}  ${chalk.dim(`(${from})`)}`
  })
  return [
    chalk.bold(root),
    chalk.dim(file === null ? 'no wheelfix.toml or pyproject.toml' : file),
    '',
    ...(lines.length === 0 ? ['nothing is set (-v lists what can be set)'] : lines),
  ]
}

function valueText(name: string, value: Setting['value'], verbose: boolean): string {
  if (value === null) return '-'
  if (typeof value === 'object') {
    if (name === 'pinned libraries' && !verbose) return count(value.length, 'soname')
    return value.length === 0 ? '-' : value.join(verbose ? '\n    ' : ' ')
  }
  return String(value)
}
