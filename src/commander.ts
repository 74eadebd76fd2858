// commander with types for options and arguments. @commander-js/extra-typings only adds types to commander itself, so the
// compiler needs it and the program does not. Only this file puts the two together.
import * as commander from 'commander'
import type * as typed from '@commander-js/extra-typings'

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the same classes, typed more closely
const { Command: TypedCommand, Option: TypedOption } = commander as unknown as typeof typed

export { CommanderError } from 'commander'
export const Command = TypedCommand
export const Option = TypedOption
/** A command without its own options or arguments. */
export type Command = typed.Command
/** A command whose options do not matter, because it is only described or gets subcommands. */
export type AnyCommand = typed.CommandUnknownOpts
/** A command with its arguments, its options and those of the commands above it. */
export type CommandWith<
  A extends unknown[],
  O extends typed.OptionValues,
  G extends typed.OptionValues,
> = typed.Command<A, O, G>
export type { OptionValues } from '@commander-js/extra-typings'
/** Receives the exit status of the command that ran. */
export type End = (status: number) => void
/** Adds a command to the program. */
export type AddCommand = (program: Command, version: string, end: End) => void
