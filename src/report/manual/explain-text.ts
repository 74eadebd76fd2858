// An explanation for a person, and all explanations as a page of the documentation.
import type { ChalkInstance } from 'chalk'
import type { Explanation } from '../../inspect/explanations.ts'
import { wrap } from '../screen.ts'

/** The explanation of one code. `columns`: the width of the screen in characters. */
export function explanationLines(
  { code, meaning, example, remedy }: Explanation,
  chalk: ChalkInstance,
  columns: number,
): string[] {
  return [
    chalk.bold(code),
    ...wrap(meaning, columns),
    '',
    ...wrap(chalk.dim(`    ${example}`), columns, 6),
    '',
    ...wrap(`→ ${remedy}`, columns, 2),
  ]
}

/** The codes without their explanations. */
export function explanationList(explanations: readonly Explanation[], chalk: ChalkInstance): string[] {
  const block = (title: string, kind: Explanation['kind']) => [
    chalk.bold(title),
    ...explanations.filter(item => item.kind === kind).map(({ code }) => `  ${code}`),
  ]
  return [
    ...block('Findings of wheelfix doctor', 'finding'),
    '',
    ...block('Errors (status 2)', 'error'),
    '',
    '→ wheelfix explain CODE',
  ]
}

/** docs/findings.md. */
export function explanationPage(explanations: readonly Explanation[]): string {
  const section = ({ code, meaning, example, remedy }: Explanation) =>
    `### ${code}\n\n${meaning}\n\n\`\`\`text\n${example}\n\`\`\`\n\n${remedy}\n`
  const of = (kind: Explanation['kind']) => explanations.filter(item => item.kind === kind).map(section)
  return [
    '# Findings and errors\n',
    'This page lists the codes of `wheelfix doctor` and of the JSON documents. `wheelfix explain CODE` prints the same text.',
    'A finding is an error (✗), a warning (!) or a note (-); notes do not change the exit status.\n',
    '## Findings of `wheelfix doctor`\n',
    ...of('finding'),
    '## Errors\n',
    'A command that could do nothing ends with status 2 and one of these codes. The explanations of INTERRUPTED and BUG name other statuses.\n',
    ...of('error'),
  ].join('\n')
}
