// Preloaded into a run of wheelfix (NODE_OPTIONS=--require): disturbs its Nth change of the file system. DISTURB_AT is N;
// DISTURB_BY is `kill` (the process dies there, a write half done), `install` (before it another program puts the file
// DISTURB_FROM at DISTURB_TO), `remove` (it removes DISTURB_TO), a signal (SIGINT: the process gets it), or an errno (that one call fails). DISTURB_LOG gets the number of changes of a run to its end.
const fs = require('node:fs')

const at = Number(process.env.DISTURB_AT)
const by = process.env.DISTURB_BY
const { copyFileSync, renameSync, rmSync } = fs
let count = 0

for (const name of [
  'writeSync',
  'writeFileSync',
  'renameSync',
  'copyFileSync',
  'ftruncateSync',
  'rmSync',
  'rmdirSync',
  'mkdirSync',
  'linkSync',
  'symlinkSync',
  'chmodSync',
  'utimesSync',
  'futimesSync',
  'fsyncSync',
  'fdatasyncSync',
]) {
  const real = fs[name]
  fs[name] = function disturbed(...args) {
    // what goes to a terminal or a pipe is no change of a file
    if (typeof args[0] === 'number' && args[0] < 3) return real.apply(fs, args)
    if (++count !== at) return real.apply(fs, args)
    if (by === 'install') {
      install(process.env.DISTURB_FROM, process.env.DISTURB_TO)
      return real.apply(fs, args)
    }
    if (by === 'remove') {
      rmSync(process.env.DISTURB_TO, { recursive: true, force: true })
      return real.apply(fs, args)
    }
    if (by.startsWith('SIG')) {
      process.kill(process.pid, by)
      return real.apply(fs, args)
    }
    if (by !== 'kill') throw disturbance(name)
    if (name === 'writeSync') real.call(fs, args[0], args[1], args[2], Math.floor(args[3] / 2), args[4])
    if (name === 'writeFileSync') real.call(fs, args[0], args[1].slice(0, args[1].length / 2), args[2])
    process.kill(process.pid, 'SIGKILL')
    return undefined
  }
}

// with DISTURB_SPAWN, the start of a program counts too: the process dies then, and the program goes on by itself
if (process.env.DISTURB_SPAWN !== undefined) {
  const children = require('node:child_process')
  const real = children.spawn
  children.spawn = function disturbed(...args) {
    const child = real.apply(children, args)
    if (++count === at) process.kill(process.pid, by === 'kill' ? 'SIGKILL' : by)
    return child
  }
}

function install(from, to) {
  copyFileSync(from, `${to}.part`)
  renameSync(`${to}.part`, to)
}

process.on('exit', () => {
  const log = process.env.DISTURB_LOG
  if (log !== undefined) require('node:fs').appendFileSync(log, `${count}\n`)
})

// what libuv has no name for comes with its number alone: DISTURB_BY=122 is EDQUOT
function disturbance(syscall) {
  const code = /^\d+$/.test(by) ? `Unknown system error -${by}` : by
  return Object.assign(new Error(`${code}: disturbed`), { code, errno: -1, syscall })
}
