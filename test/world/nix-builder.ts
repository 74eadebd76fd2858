// The builder of the derivations of nix.ts: runs one recipe, with the outputs that nix-build names in the environment.
import type { BuilderInput } from './nix.ts'
import { type Outputs, RECIPES } from './packages.ts'

const { package: name, host, links, variant } = JSON.parse(process.env['input'] ?? '') as BuilderInput
const outputs = { ...process.env, [name]: process.env['out'] } as unknown as Outputs
RECIPES[name].install(outputs, host, links, variant)
