// The builder of the derivations of nix.ts: runs one recipe, with the outputs that nix-build names in the environment.
import { runWell } from '../support/run.ts'
import type { BuilderInput } from './nix.ts'
import { type Outputs, RECIPES } from './packages.ts'

const { package: name, host, links, variant } = JSON.parse(process.env['input'] ?? '') as BuilderInput
const outputs = { ...process.env, [name]: process.env['out'] } as unknown as Outputs
RECIPES[name].install(outputs, host, links, variant)
// Nix sets every time to 1, which the host's bytecode does not name: root's first run would write it again, and the path
// would not have its hash any more, without which it can be copied nowhere
if (name === 'python') {
  const compile = ['-I', '-m', 'compileall', '-q', '-f', '--invalidation-mode', 'unchecked-hash']
  runWell(`${outputs.python}/bin/python3`, [...compile, `${outputs.python}/lib`])
}
