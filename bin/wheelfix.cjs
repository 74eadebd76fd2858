#!/usr/bin/env node
// What npm links to. It runs the program in dist/, and makes that first where a clone was installed without its prepare
// script (npm 11 runs none for `npm install -g .`). Old versions of Node have to be able to read it: no modern syntax.
'use strict'
var path = require('path')
var root = path.dirname(__dirname)
var program = path.join(root, 'dist', 'wheelfix.cjs')

function fail(message) {
  process.stderr.write('error: ' + message + '\n')
  process.exit(2)
}

var version = process.versions.node.split('.').map(Number)
if (version[0] < 20 || (version[0] === 20 && version[1] < 19)) {
  // only root may write into the folders of a Node that the system's package manager installed
  var sudo = process.getuid && process.getuid() !== 0 && process.execPath.indexOf('/usr/') === 0 ? 'sudo ' : ''
  fail(
    'wheelfix needs Node 20.19 or later, and this is Node ' +
      process.versions.node +
      '. Get one with: nix-shell -p nodejs, or (and then open a new shell): ' +
      (sudo + 'npm install -g node@22 && ' + sudo + 'npm install -g npm@11'),
  )
}

try {
  if (!isBuilt()) build()
  require(program).start()
} catch (error) {
  if (error.code !== 'ERR_ACCESS_DENIED') throw error
  fail("Node's permission model keeps wheelfix from its files. Run it without --permission (NODE_OPTIONS)")
}

function isBuilt() {
  return ['wheelfix.cjs', 'program.txt'].every(function (name) {
    return require('fs').existsSync(path.join(root, 'dist', name))
  })
}

function build() {
  try {
    require.resolve('esbuild', { paths: [root] })
  } catch (error) {
    if (error.code === 'ERR_ACCESS_DENIED') throw error
    fail('wheelfix is not built. Run this first: npm install --prefix ' + root)
  }
  var made = require('child_process').spawnSync(process.execPath, [path.join(root, 'scripts', 'bundle.mjs')], {
    stdio: ['ignore', 2, 2],
  })
  if (made.status !== 0)
    fail('wheelfix cannot be built. Run this and look at what it says: npm install --prefix ' + root)
}
