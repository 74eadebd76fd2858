// The entries of a wheel as parts of an archive that a test makes.
import { runWell } from '../support/run.ts'
import type { Part } from './archives.ts'

const READ = `
import base64, json, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
print(json.dumps([[i.filename, i.external_attr >> 16, base64.b64encode(z.read(i)).decode()] for i in z.infolist()]))`

export function partsOf(python: string, path: string, change = (_: string, data: Buffer): Buffer => data): Part[] {
  const list = JSON.parse(runWell(python, ['-c', READ, path])) as [string, number, string][]
  return list.map(([name, mode, data]) => ({ name, mode, data: change(name, Buffer.from(data, 'base64')) }))
}
