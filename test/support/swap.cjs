// Preloaded into a run of wheelfix (NODE_OPTIONS=--require): another user swaps a folder of the environment for a link.
// Before the Nth use of a path (SWAP_AT), the folder SWAP_FOLDER gets another name, and a link to SWAP_TO takes its place.
// SWAP_BACK uses later it is put back; never where this is 0. SWAP_LOG gets the number of uses in a run to its end.
const fs = require('node:fs')

const { SWAP_FOLDER, SWAP_TO, SWAP_ROOT, SWAP_LOG } = process.env
const at = Number(process.env.SWAP_AT)
const back = Number(process.env.SWAP_BACK)
const { appendFileSync, renameSync, rmSync, symlinkSync } = fs
let count = 0

for (const name of Object.keys(fs)) {
  const real = fs[name]
  if (!name.endsWith('Sync') || typeof real !== 'function') continue
  const swapped = function (...args) {
    const path = String(args[name === 'symlinkSync' ? 1 : 0])
    // what the program itself reads is no use of the environment
    if (path.startsWith(SWAP_ROOT) || /^\/proc\/self\/fd\/\d+\//.test(path)) step()
    return real.apply(fs, args)
  }
  fs[name] = Object.assign(swapped, real)
}

function step() {
  count++
  if (count === at) {
    ignoringAbsence(() => renameSync(SWAP_FOLDER, `${SWAP_FOLDER}.kept`))
    symlinkSync(SWAP_TO, SWAP_FOLDER)
  } else if (back > 0 && count === at + back) {
    rmSync(SWAP_FOLDER)
    ignoringAbsence(() => renameSync(`${SWAP_FOLDER}.kept`, SWAP_FOLDER))
  }
}

/** The folder may not be there yet. */
function ignoringAbsence(action) {
  try {
    action()
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
  }
}

process.on('exit', () => {
  if (SWAP_LOG !== undefined) appendFileSync(SWAP_LOG, `${count}\n`)
})
