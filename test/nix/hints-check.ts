// The hints compared with a real nixpkgs: is each attribute there, with the output and under the name that the data has, and
// does a binary cache's listing of it hold the sonames? Evaluates and asks for listings; builds and downloads no package.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { type HintRow, packageNames } from '../../src/nix/hints.ts'
import { parseStoreName } from '../../src/nix/store.ts'
import { run } from '../support/run.ts'

/** What is wrong with a row of the data, or worth knowing. */
export interface HintFinding {
  readonly attribute: string
  readonly severity: 'error' | 'note'
  readonly message: string
}

/** What Nix says of one row. */
interface Evaluated {
  readonly state: 'found' | 'absent' | 'throws'
  /** It is there only while aliases are allowed. */
  readonly alias?: boolean
  readonly outputs?: readonly string[]
  /** Where the output with the libraries would be. */
  readonly path?: string
}

// unfree and insecure ones are there, too; a row that throws must not end the evaluation of the others
const EXPRESSION = `{ nixpkgs, rows }:
let
  set = allowAliases: import nixpkgs {
    system = builtins.currentSystem;
    overlays = [ ];
    config = {
      inherit allowAliases;
      allowUnfree = true;
      allowBroken = true;
      allowInsecurePredicate = _: true;
      allowUnsupportedSystem = true;
    };
  };
  find = set: builtins.foldl' (value: name: if builtins.isAttrs value && value ? \${name} then value.\${name} else null) set;
  words = row: builtins.filter builtins.isString (builtins.split "[.]" row.attribute);
  tell = set: row:
    let
      package = find set (words row);
      outputs = package.outputs or [ "out" ];
      output = row.output or (if builtins.elem "lib" outputs then "lib" else "out");
      told =
        if package == null then { state = "absent"; }
        else { state = "found"; inherit outputs; path = if package ? \${output} then package.\${output}.outPath else package.outPath; };
      tried = builtins.tryEval (builtins.deepSeq told told);
    in
    if tried.success then tried.value else { state = "throws"; };
  all = set true;
  plain = set false;
in
map (row: let told = tell all row; in told // { alias = told.state == "found" && (tell plain row).state != "found"; })
  (builtins.fromJSON (builtins.readFile rows))
`

/**
 * Compares rows of the data with a nixpkgs.
 * @param nixpkgs the folder of a checkout
 * @param cache a binary cache whose listings are asked for; null: none
 */
export async function checkHints(
  rows: readonly HintRow[],
  nixpkgs: string,
  cache: string | null,
): Promise<HintFinding[]> {
  const packages = rows.filter(({ source }) => source !== 'driver')
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-hints-'))
  try {
    const evaluated = evaluate(packages, nixpkgs, folder)
    const findings: HintFinding[] = []
    for (const [index, row] of packages.entries()) {
      const told = evaluated[index] ?? { state: 'throws' }
      findings.push(...compare(row, told), ...(cache === null ? [] : await compareListing(row, told, cache)))
    }
    return findings
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** All rows at once; where Nix gives up, which only some errors make it do, in halves. */
function evaluate(rows: readonly HintRow[], nixpkgs: string, folder: string): Evaluated[] {
  const [data, expression] = [join(folder, 'rows.json'), join(folder, 'hints.nix')]
  writeFileSync(data, JSON.stringify(rows))
  writeFileSync(expression, EXPRESSION)
  const args = ['--eval', '--strict', '--json', expression, '--argstr', 'nixpkgs', nixpkgs, '--argstr', 'rows', data]
  const { status, stdout, stderr } = run('nix-instantiate', args)
  if (status === 0) return JSON.parse(stdout) as Evaluated[]
  if (rows.length > 1) {
    const half = Math.ceil(rows.length / 2)
    return [rows.slice(0, half), rows.slice(half)].flatMap(part => evaluate(part, nixpkgs, folder))
  }
  process.stderr.write(`${rows[0]?.attribute}: ${stderr.trim().split('\n').at(-1)}\n`)
  return [{ state: 'throws' }]
}

function compare({ attribute, output, packages, sonames, gone }: HintRow, told: Evaluated): HintFinding[] {
  const { state, alias, outputs = [], path = '' } = told
  const finding = (severity: HintFinding['severity'], message: string) => ({ attribute, severity, message })
  if (state !== 'found') {
    const message = state === 'absent' ? 'is not in this nixpkgs' : 'was removed from this nixpkgs'
    // what is said to be of older ones need not be in this one
    return [finding(gone === undefined ? 'error' : 'note', message)]
  }
  const findings: HintFinding[] = []
  if (alias === true) findings.push(finding('note', 'is an alias'))
  if (output !== undefined && !outputs.includes(output)) {
    findings.push(finding('error', `has no output ${output} (${outputs.join(' ')})`))
  }
  const name = parseStoreName(basename(path))?.name ?? ''
  const [soname = ''] = sonames.split(' ')
  const own = packages?.split(' ') ?? attribute.split('.').slice(-1)
  if (![...own.map(word => word.toLowerCase()), ...packageNames(soname)].includes(name.toLowerCase()))
    findings.push(finding('error', `is called ${name} in the store, where nobody looks for ${soname}`))
  return findings
}

interface Listing {
  readonly type: string
  readonly entries?: Readonly<Record<string, Listing>>
}

/** A cache has a listing beside each package: which names are in its lib folder? */
async function compareListing({ attribute, sonames }: HintRow, told: Evaluated, cache: string): Promise<HintFinding[]> {
  if (told.state !== 'found' || told.path === undefined) return []
  const response = await fetch(`${cache}/${basename(told.path).slice(0, 32)}.ls`)
  if (!response.ok) return [{ attribute, severity: 'note', message: `has no listing in ${cache} (${response.status})` }]
  const { root } = (await response.json()) as { readonly root: Listing }
  const names = Object.keys(root.entries?.['lib']?.entries ?? {})
  const wanted = sonames.split(' ')
  const lost = wanted.filter(soname => !names.includes(soname))
  if (lost.length === 0) return []
  // of a library that has several versions in the data one is enough
  const severity = lost.length === wanted.length ? 'error' : 'note'
  return [{ attribute, severity, message: `does not hold ${lost.join(' ')}` }]
}
