// Preloaded into a run of wheelfix (NODE_OPTIONS=--require): another boot, a later time, another file system, and a record
// of every change of the file system. MACHINE_BOOT is the kernel's boot id, MACHINE_LATER is added to the time, MACHINE_FS
// is `ext4` or `xfs`, MACHINE_LOG gets the changes below MACHINE_ROOT, one JSON object a line (powerloss.ts reads them).
const fs = require('node:fs')
const { BOOT, LATER, FS, LOG, ROOT } = Object.fromEntries(
  ['BOOT', 'LATER', 'FS', 'LOG', 'ROOT'].map(name => [name, process.env[`MACHINE_${name}`]]),
)
const MAGIC = { ext4: 0xef53, xfs: 0x58465342 }
const real = { ...fs }

if (LATER !== undefined) {
  const now = Date.now
  Date.now = () => now() + Number(LATER)
}
fs.readFileSync = function readFileSync(path, ...rest) {
  if (BOOT === undefined || path !== '/proc/sys/kernel/random/boot_id') return real.readFileSync(path, ...rest)
  return `${BOOT}\n`
}
fs.statfsSync = function statfsSync(...args) {
  const status = real.statfsSync(...args)
  return FS === undefined ? status : { ...status, type: MAGIC[FS] }
}
if (FS !== undefined) {
  fs.copyFileSync = function copyFileSync(from, to, mode = 0) {
    if ((mode & fs.constants.COPYFILE_FICLONE_FORCE) !== 0) {
      throw Object.assign(new Error('ENOTSUP: no reflinks'), { code: 'ENOTSUP', errno: -95, syscall: 'copyfile' })
    }
    return real.copyFileSync(from, to, mode)
  }
}
if (LOG !== undefined) record()

function record() {
  const lines = []
  const open = new Map()
  /** The path of a file that is named by way of its open folder. */
  const placed = path => {
    const [, fd, name] = /^\/proc\/self\/fd\/(\d+)\/(.+)$/.exec(String(path)) ?? []
    return fd === undefined ? path : `${real.readlinkSync(`/proc/self/fd/${fd}`)}/${name}`
  }
  const isOurs = path => typeof path !== 'number' && String(path).startsWith(ROOT)
  const log = entry => lines.push(JSON.stringify(entry))
  const bytesOf = data => Buffer.from(data).toString('base64')
  /** `describe` gives what is logged once the call has succeeded. */
  const hook = (name, describe) => {
    const call = fs[name]
    fs[name] = function recorded(...args) {
      const result = call.apply(fs, args)
      const entry = describe(args, result)
      if (entry !== null && entry !== undefined) log(entry)
      return result
    }
  }
  hook('openSync', ([named, flags], fd) => {
    // what is opened beneath a folder has a name of /proc
    const path = String(named).startsWith('/proc/self/fd/') ? real.readlinkSync(`/proc/self/fd/${fd}`) : named
    if (!isOurs(path)) return null
    open.set(fd, { position: 0 })
    const numbers = { r: 0, 'r+': fs.constants.O_RDWR, w: 0o1101, wx: 0o301, 'wx+': 0o302 }
    const number = typeof flags === 'string' ? numbers[flags] : flags
    return { op: 'open', path: String(path), fd, creates: (number & 0o100) !== 0, truncates: (number & 0o1000) !== 0 }
  })
  hook('closeSync', ([fd]) => (open.delete(fd) ? { op: 'close', fd } : null))
  hook('writeSync', ([fd, data, start, , position], count) => {
    const file = open.get(fd)
    if (file === undefined) return null
    const bytes =
      typeof data === 'string' ? Buffer.from(data) : Buffer.from(data).subarray(start ?? 0, (start ?? 0) + count)
    const offset = typeof position === 'number' ? position : file.position
    if (typeof position !== 'number') file.position += bytes.length
    return { op: 'write', fd, offset, bytes: bytesOf(bytes) }
  })
  hook('writeFileSync', ([path, data]) =>
    isOurs(path) ? { op: 'file', path: String(path), bytes: bytesOf(data) } : null,
  )
  hook('copyFileSync', ([from, to]) => {
    const bytes = () => real.readFileSync(to).toString('base64')
    // files that are open are copied by the names of their descriptors
    const fd = Number(/^\/proc\/self\/fd\/(\d+)$/.exec(String(to))?.[1])
    if (open.has(fd)) return { op: 'write', fd, offset: 0, bytes: bytes() }
    return isOurs(to) ? { op: 'file', path: String(to), bytes: bytes(), from: String(from) } : null
  })
  hook('ftruncateSync', ([fd, size]) => (open.has(fd) ? { op: 'truncate', fd, size } : null))
  for (const name of ['fsyncSync', 'fdatasyncSync']) hook(name, ([fd]) => (open.has(fd) ? { op: 'sync', fd } : null))
  hook('renameSync', names => {
    const [from, to] = names.map(placed)
    return isOurs(to) ? { op: 'rename', from: String(from), to: String(to) } : null
  })
  hook('linkSync', names => {
    const [from, to] = names.map(placed)
    return isOurs(to) ? { op: 'link', from: String(from), to: String(to) } : null
  })
  hook('symlinkSync', ([target, named]) => {
    const path = placed(named)
    return isOurs(path) ? { op: 'symlink', target: String(target), path: String(path) } : null
  })
  hook('mkdirSync', ([named]) => {
    const path = placed(named)
    return isOurs(path) ? { op: 'folder', path: String(path) } : null
  })
  hook('chmodSync', ([path, mode]) => (isOurs(path) ? { op: 'mode', path: String(path), mode } : null))
  hook('fchmodSync', ([fd, mode]) =>
    open.has(fd) ? { op: 'mode', path: real.readlinkSync(`/proc/self/fd/${fd}`), mode } : null,
  )
  for (const name of ['rmSync', 'unlinkSync', 'rmdirSync']) {
    hook(name, ([named]) => {
      const path = placed(named)
      return isOurs(path) ? { op: 'remove', path: String(path) } : null
    })
  }
  process.on('exit', () => real.appendFileSync(LOG, lines.map(line => `${line}\n`).join('')))
}
