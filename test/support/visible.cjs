// Preloaded into a run of wheelfix (NODE_OPTIONS=--require): a machine on which root may read every process, with so few
// tasks that a restore in place is always worth it. Some machines on which tests run have processes that a security module
// hides even from root; this leaves them out. VISIBLE_RUN is a command of sh, run once after the first search for users and
// before any file is changed.
const fs = require('node:fs')
const { spawnSync } = require('node:child_process')
const { readdirSync, readFileSync, readlinkSync, openSync } = fs
let command = process.env.VISIBLE_RUN
let hidden

fs.readdirSync = function readdirVisible(path, ...rest) {
  const names = readdirSync(path, ...rest)
  if (path !== '/proc') return names
  hidden ??= new Set(names.filter(name => /^\d/.test(name) && !isReadable(name)))
  return names.filter(name => !hidden.has(name))
}
fs.readFileSync = function readFileVisible(path, ...rest) {
  return path === '/proc/loadavg' ? '0.00 0.00 0.00 1/0 1\n' : readFileSync(path, ...rest)
}
fs.openSync = function openVisible(path, ...rest) {
  if (command !== undefined && String(path).endsWith('/journal')) {
    const { status, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8', env: process.env })
    command = undefined
    if (status !== 0) throw new Error(stderr)
  }
  return openSync(path, ...rest)
}

function isReadable(pid) {
  try {
    readFileSync(`/proc/${pid}/maps`)
    const [fd] = readdirSync(`/proc/${pid}/fd`)
    if (fd !== undefined) readlinkSync(`/proc/${pid}/fd/${fd}`)
    return true
  } catch (error) {
    return error.code === 'ENOENT' || error.code === 'ESRCH'
  }
}
