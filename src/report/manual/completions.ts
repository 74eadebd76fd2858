// Completions for shells: commands, their options, and the values of options that have a fixed set.
import { type CommandDescription, flatten, type OptionDescription } from './reference.ts'

/** Returns `venv` for `wheelfix venv`, `libs build` for `wheelfix libs build`, and an empty text for the program itself. */
function pathOf({ name }: CommandDescription): string {
  return name.split(' ').slice(1).join(' ')
}

function wordsOf({ options, commands }: CommandDescription): string[] {
  const names = commands.map(({ name }) => name.split(' ').at(-1) ?? '')
  return [...names, ...options.flatMap(({ short, long }) => [short, long].filter(flag => flag !== null)), '--help']
}

/** The completion script for bash. */
export function bashCompletions(program: CommandDescription): string {
  const commands = flatten(program)
  const choices = new Map<string, readonly string[]>()
  for (const { options } of commands) {
    for (const option of options) if (option.choices.length > 0) choices.set(option.long ?? '', option.choices)
  }
  return `# bash completion for wheelfix; made by: wheelfix completions bash
_wheelfix() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command='' word
  case $previous in
${[...choices].map(([flag, values]) => `    ${flag}) COMPREPLY=($(compgen -W '${values.join(' ')}' -- "$current")); return ;;`).join('\n')}
  esac
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$command $word" in
${commands
  .filter(command => pathOf(command) !== '')
  .map(command => {
    const words = pathOf(command).split(' ')
    return `      '${words.slice(0, -1).join(' ')} ${words.at(-1) ?? ''}') command='${pathOf(command)}' ;;`
  })
  .join('\n')}
    esac
  done
  case $command in
${commands.map(command => `    '${pathOf(command)}') word='${wordsOf(command).join(' ')}' ;;`).join('\n')}
  esac
  COMPREPLY=($(compgen -W "$word" -- "$current"))
}
complete -o default -F _wheelfix wheelfix
`
}

/** The completion script for zsh. */
export function zshCompletions(program: CommandDescription): string {
  const [, ...commands] = flatten(program)
  const top = program.commands.map(({ name, summary }) => `    ${zshWord(`${name.split(' ')[1] ?? ''}:${summary}`)}`)
  const cases = commands
    .filter(command => !pathOf(command).includes(' '))
    .map(command => {
      const specs = command.options.map(option => `      ${zshOption(option)}`)
      const subs = command.commands.map(({ name }) => name.split(' ').at(-1) ?? '')
      const rest =
        subs.length === 0
          ? `'*:file:_files'`
          : `'1: :_alternative "commands:command:(${subs.join(' ')})" "files:file:_files"' '*:file:_files'`
      return `    ${pathOf(command)}) _arguments \\\n${[...specs, `      ${rest}`].join(' \\\n')} ;;`
    })
  return `#compdef wheelfix
# zsh completion for wheelfix; made by: wheelfix completions zsh
local -a commands
commands=(
${top.join('\n')}
)
_arguments -C '1:command:->command' '*::argument:->argument' && return
case $state in
  command) _describe command commands ;;
  argument) case $words[1] in
${cases.join('\n')}
  esac ;;
esac
`
}

function zshOption({ short, long, takesValue, choices, description }: OptionDescription): string {
  const text = description.replaceAll(/[[\]:]/g, character => `\\${character}`)
  const value = takesValue ? (choices.length > 0 ? `:value:(${choices.join(' ')})` : ':value:_files') : ''
  const flags = [short, long].filter(flag => flag !== null)
  return flags.map(flag => zshWord(`*${flag}[${text}]${value}`)).join(' ')
}

function zshWord(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

/** The completion script for fish. */
export function fishCompletions(program: CommandDescription): string {
  const lines = ['# fish completion for wheelfix; made by: wheelfix completions fish']
  for (const { name, summary } of program.commands) {
    lines.push(`complete -c wheelfix -n __fish_use_subcommand -a ${name.split(' ')[1] ?? ''} -d ${fishWord(summary)}`)
  }
  for (const command of flatten(program)) {
    const seen = pathOf(command)
      .split(' ')
      .map(word => `__fish_seen_subcommand_from ${word}`)
      .join('; and ')
    const condition = pathOf(command) === '' ? '__fish_use_subcommand' : seen
    if (pathOf(command) !== '') {
      for (const { name, summary } of command.commands) {
        lines.push(
          `complete -c wheelfix -n ${fishWord(condition)} -a ${name.split(' ').at(-1) ?? ''} -d ${fishWord(summary)}`,
        )
      }
    }
    for (const { short, long, takesValue, choices, description } of command.options) {
      const flags = [short === null ? '' : `-s ${short.slice(1)}`, long === null ? '' : `-l ${long.slice(2)}`].filter(
        Boolean,
      )
      const value = takesValue ? (choices.length > 0 ? ` -x -a ${fishWord(choices.join(' '))}` : ' -r') : ''
      lines.push(
        `complete -c wheelfix -n ${fishWord(condition)} ${flags.join(' ')}${value} -d ${fishWord(description)}`,
      )
    }
  }
  return `${lines.join('\n')}\n`
}

/** Quotes a word for fish, which knows two escapes within single quotes. */
function fishWord(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
