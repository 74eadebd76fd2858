// The export check. Another file must use each export of a file in src. Tests count as users, because they also prove rules
// inside a room. An exported function has a doc comment.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

const root = join(import.meta.dirname, '..')
const files = ['src', 'test', 'bench'].flatMap(folder =>
  readdirSync(join(root, folder), { recursive: true })
    .filter(name => name.endsWith('.ts') && !name.endsWith('.d.ts'))
    .map(name => `${folder}/${name}`),
)

/** File → the names that other files import from it; `*` for all. */
const used = new Map()
/** File → the names that it exports. */
const exported = new Map()
/** The exported functions without a doc comment. */
const bare = []
for (const file of files) {
  const text = readFileSync(join(root, file), 'utf8')
  const from = (names, target) => {
    const path = normalize(join(dirname(file), target))
    if (!used.has(path)) used.set(path, new Set())
    for (const name of names) used.get(path).add(name)
  }
  for (const [, list, target] of text.matchAll(/^(?:import|export)\s+(?:type\s+)?\{([^}]*)\}\s+from\s+'(\.[^']+)'/gm))
    from(namesIn(list), target)
  for (const [, target] of text.matchAll(/(?:\*[^'"]*from\s+|import\(|typeof import\()'(\.[^']+)'/g))
    from(['*'], target)
  if (!file.startsWith('src/')) continue
  const own = [
    ...text.matchAll(
      /^export\s+(?:async\s+|abstract\s+)?(?:function\*?|class|const|let|interface|type|enum)\s+(\w+)/gm,
    ),
  ]
  for (const [, name] of text.matchAll(/(?<!\*\/\n)^export (?:async )?function\*? (\w+)/gm)) bare.push(`${file}: ${name}`)
  const listed = [...text.matchAll(/^export\s+(?:type\s+)?\{([^}]*)\}/gm)].flatMap(([, list]) => namesIn(list, true))
  exported.set(file, [...own.map(([, name]) => name), ...listed])
}

/** The public face, whose users are other packages, and the entry `launch.ts`. */
const FACES = new Set(['src/index.ts', 'src/launch.ts'])

const unused = [...exported]
  .filter(([file]) => !FACES.has(file))
  .flatMap(([file, names]) => {
    const users = used.get(file) ?? new Set()
    return users.has('*') ? [] : names.filter(name => !users.has(name)).map(name => `${file}: ${name}`)
  })
for (const [what, found] of [
  ['exported, and used by no other file', unused],
  ['exported functions without a doc comment', bare],
]) {
  if (found.length === 0) continue
  console.error(`${what}:\n${found.map(line => `  ${line}`).join('\n')}`)
  process.exitCode = 1
}

/** The names of a list in braces. With `renamed`: the names under which the file exports them. */
function namesIn(list, renamed = false) {
  return list
    .split(',')
    .map(item => item.replace(/^\s*(?:type\s+)?/, '').trim())
    .filter(item => item !== '')
    .map(item => item.split(/\s+as\s+/)[renamed && item.includes(' as ') ? 1 : 0])
}
