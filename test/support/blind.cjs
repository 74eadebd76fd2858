// Preloaded into a run of wheelfix (NODE_OPTIONS=--require): a restore that does not see who uses a file. BLIND_TO is
// `permission` (one process may not be read, so nothing is known) or `processes` (there is none but the run itself: what a
// restore would do that does not look).
const fs = require('node:fs')
const { readdirSync, readFileSync } = fs
const { BLIND_TO } = process.env

fs.readFileSync = function readFileBlind(path, ...rest) {
  if (path === '/proc/loadavg') return '0.00 0.00 0.00 1/0 1\n'
  if (BLIND_TO === 'permission' && path === `/proc/${process.ppid}/maps`) {
    throw Object.assign(new Error('EACCES: denied'), { code: 'EACCES', errno: -13, syscall: 'open' })
  }
  return readFileSync(path, ...rest)
}
fs.readdirSync = function readdirBlind(path, ...rest) {
  const names = readdirSync(path, ...rest)
  if (path !== '/proc') return names
  return names.filter(
    name => name === String(process.pid) || (BLIND_TO === 'permission' && name === String(process.ppid)),
  )
}
