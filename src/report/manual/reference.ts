// The commands as a page of documentation and as a manual page.

/** A command as plain data. */
export interface CommandDescription {
  /** The name, with the names of the commands above: `wheelfix libs build`. */
  readonly name: string
  readonly summary: string
  readonly description: string
  readonly usage: string
  readonly arguments: readonly { readonly name: string; readonly description: string }[]
  readonly options: readonly OptionDescription[]
  readonly examples: readonly { readonly command: string; readonly purpose: string }[]
  readonly commands: readonly CommandDescription[]
}

export interface OptionDescription {
  /** `-o, --output-dir <dir>` */
  readonly flags: string
  readonly long: string | null
  readonly short: string | null
  readonly takesValue: boolean
  readonly choices: readonly string[]
  readonly description: string
}

/** The command and all commands below it, in the order of --help. */
export function flatten(command: CommandDescription): CommandDescription[] {
  return [command, ...command.commands.flatMap(flatten)]
}

/** docs/commands.md. */
export function referencePage(program: CommandDescription): string {
  const [, ...commands] = flatten(program)
  const sections = commands.map(({ name, summary, description, usage, options, arguments: args, examples }) => {
    const text = description === '' ? `${summary}.` : description
    const rows = [...args, ...options.map(option => ({ name: option.flags, description: describeOption(option) }))]
    return [
      `## ${name}\n`,
      `${escapeMarkdown(text)}\n`,
      `\`${usage}\`\n`,
      ...(rows.length === 0
        ? []
        : [
            '| | |\n| --- | --- |',
            ...rows.map(row => `| \`${row.name}\` | ${escapeMarkdown(row.description).replaceAll('|', '\\|')} |`),
            '',
          ]),
      ...(examples.length === 0 ? [] : [`\`\`\`sh\n${examples.map(exampleText).join('\n')}\n\`\`\`\n`]),
    ].join('\n')
  })
  return [
    '# Commands\n',
    'This page is made from the program (`wheelfix completions markdown`). `-q`, `-v` and `--color` may also come before the',
    'command.\n',
    ...sections,
  ].join('\n')
}

function exampleText({ command, purpose }: { readonly command: string; readonly purpose: string }): string {
  return `# ${purpose}\n${command}`
}

function describeOption({ description, choices }: OptionDescription): string {
  return choices.length === 0 ? description : `${description} (choices: ${choices.join(', ')})`
}

function escapeMarkdown(text: string): string {
  return text.replaceAll('<', '&lt;').replaceAll('_', '\\_')
}

/** wheelfix(1), in the macros of man(7). */
export function manualPage(program: CommandDescription): string {
  const [, ...commands] = flatten(program)
  return [
    '.TH WHEELFIX 1',
    '.SH NAME',
    `wheelfix \\- ${roff(program.description.replace(/\.$/, ''))}`,
    '.SH SYNOPSIS',
    ...commands.flatMap(({ usage }) => [`.B ${roff(usage)}`, '.br']),
    '.SH COMMANDS',
    ...commands.flatMap(({ name, summary, description, options, arguments: args, examples }) => [
      `.SS ${roff(name)}`,
      roff(description === '' ? `${summary}.` : description),
      ...args.flatMap(argument => ['.TP', `.I ${roff(argument.name)}`, roff(argument.description)]),
      ...options.flatMap(option => ['.TP', `.B ${roff(option.flags)}`, roff(describeOption(option))]),
      ...(examples.length === 0 ? [] : ['.PP', 'Examples:']),
      ...examples.flatMap(({ command, purpose }) => ['.TP', `.B ${roff(command)}`, roff(purpose)]),
    ]),
    '.SH EXIT STATUS',
    '0 success; 1 something is missing, unpatched or refused; 2 nothing could be done; 70 a bug in wheelfix.',
    '',
  ].join('\n')
}

/** Escapes text so that roff does not read it as a request, and so that its hyphens can be copied. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/, '\\&$1')
}
