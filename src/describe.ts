// The program as plain data, made from its own definition. Completions, manual pages and docs/commands.md are made
// from it.
import type { AnyCommand } from './commander.ts'
import type { CommandDescription } from './report/manual/reference.ts'
import { standardError, standardOutput } from './report/terminal/output.ts'

/** @param prefix the names of the commands above */
export function describe(command: AnyCommand, prefix = ''): CommandDescription {
  const name = prefix === '' ? command.name() : `${prefix} ${command.name()}`
  const help = command.createHelp()
  return {
    name,
    summary: command.summary(),
    description: command.description(),
    usage: `${name} ${command.usage()}`,
    arguments: command.registeredArguments.map(argument => ({
      name: help.argumentTerm(argument),
      description: argument.description,
    })),
    options: command.options
      .filter(({ hidden }) => !hidden)
      .map(option => ({
        flags: option.flags,
        long: option.long ?? null,
        short: option.short ?? null,
        takesValue: option.required || option.optional,
        choices: option.argChoices ?? [],
        description: option.description,
      })),
    examples: examplesOf(command),
    commands: command.commands.filter(sub => sub.name() !== 'help').map(sub => describe(sub, name)),
  }
}

/** The examples in the text after the help: one comment and one command each. */
function examplesOf(command: AnyCommand): { command: string; purpose: string }[] {
  let text = ''
  command.configureOutput({ writeOut: part => (text += part), writeErr: part => (text += part) })
  command.outputHelp()
  command.configureOutput({
    writeOut: part => standardOutput.write(part),
    writeErr: part => standardError.write(part),
  })
  return [...text.matchAll(/^ {2}# (.*)\n {2}(.*)$/gm)].map(([, purpose = '', command = '']) => ({ command, purpose }))
}
