// commander, with types of options and arguments. @commander-js/extra-typings is nothing but types around commander itself,
// so it is needed when this is compiled and not when it runs. This is the one place where the two are put together.
import * as commander from 'commander'
import type * as typed from '@commander-js/extra-typings'

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the same classes, typed more closely
const { Command: TypedCommand, Option: TypedOption } = commander as unknown as typeof typed

export { CommanderError } from 'commander'
export const Command = TypedCommand
export const Option = TypedOption
/** A command without options or arguments of its own. */
export type Command = typed.Command
/** A command whose options do not matter: to be described, or to be given subcommands. */
export type AnyCommand = typed.CommandUnknownOpts
