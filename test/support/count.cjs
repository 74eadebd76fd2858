// Preloaded into a run of wheelfix (NODE_OPTIONS=--require): counts its calls of the file system, and the bytes that it reads
// and writes, into the file COUNT_LOG.
const fs = require('node:fs')

const counts = {}
const add = (name, by) => {
  counts[name] = (counts[name] ?? 0) + by
}

for (const name of Object.keys(fs)) {
  if (!name.endsWith('Sync') || typeof fs[name] !== 'function') continue
  const real = fs[name]
  const counted = function (...args) {
    const result = real.apply(fs, args)
    add(name, 1)
    if (name === 'readSync') add('read', result)
    if (name === 'readFileSync') add('read', result.length)
    if (name === 'writeSync') add('written', result)
    if (name === 'writeFileSync') add('written', args[1].length)
    if (name === 'copyFileSync') add('copied', fs.statSync(args[1]).size)
    return result
  }
  fs[name] = Object.assign(counted, real)
}

process.on('exit', () => {
  fs.writeFileSync(process.env.COUNT_LOG, JSON.stringify(counts))
})
