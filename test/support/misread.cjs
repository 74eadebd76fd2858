// Preloaded into a run of wheelfix (NODE_OPTIONS=--require): a path whose end is MISREAD_PATH cannot be read, as with a bad
// block or too many open files. MISREAD_BY is the errno; MISREAD_CALL is `open`, `read` (of the open file), `whole` (of a file
// by its path) or `list`.
const fs = require('node:fs')

const end = process.env.MISREAD_PATH
const code = process.env.MISREAD_BY
const call = process.env.MISREAD_CALL
const { openSync, closeSync, readSync, readFileSync, readdirSync } = fs
const open = new Map()

const isMeant = path => String(path).endsWith(end)
const failure = (syscall, path) =>
  Object.assign(new Error(`${code}: misread, ${syscall}`), { code, errno: -1, syscall, ...(path && { path }) })

fs.openSync = function (path, ...rest) {
  if (call === 'open' && isMeant(path)) throw failure('open', String(path))
  const fd = openSync.call(fs, path, ...rest)
  open.set(fd, String(path))
  return fd
}
fs.closeSync = function (fd) {
  open.delete(fd)
  return closeSync.call(fs, fd)
}
fs.readSync = function (fd, ...rest) {
  if (call === 'read' && isMeant(open.get(fd))) throw failure('read')
  return readSync.call(fs, fd, ...rest)
}
fs.readdirSync = function (path, ...rest) {
  if (call === 'list' && isMeant(path)) throw failure('scandir', String(path))
  return readdirSync.call(fs, path, ...rest)
}
fs.readFileSync = function (path, ...rest) {
  if (call === 'whole' && isMeant(path)) throw failure('open', String(path))
  return readFileSync.call(fs, path, ...rest)
}
