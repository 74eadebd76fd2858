// What a failed call says about its path.
import assert from 'node:assert/strict'
import { realpathSync } from 'node:fs'
import { suite, test } from 'node:test'
import { errnoAt, systemReason, WheelfixError } from '../../src/io/error.ts'
import { realPathOrNull } from '../../src/io/path.ts'

/** An error as node:fs throws it. */
function failed(code: string): Error {
  return Object.assign(new Error(code), { code, syscall: 'open' })
}

suite('a failed call about a path', () => {
  test('means that nothing is there, or that this user may not look', () => {
    for (const code of ['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'EPERM', 'ENAMETOOLONG', 'ENOTCONN'])
      assert.equal(errnoAt('/x', failed(code)), code)
  })

  test('says nothing about the path when the disk, the memory or the table of files failed', () => {
    for (const code of ['EIO', 'ESTALE', 'EUCLEAN', 'ENOMEM', 'EMFILE', 'ENFILE', 'EINTR'])
      assert.throws(
        () => errnoAt('/x', failed(code)),
        error => error instanceof WheelfixError && error.code === 'IO' && error.path === '/x',
      )
  })

  test('is a bug when no call of node:fs failed', () => {
    assert.throws(() => errnoAt('/x', new TypeError('a bug')), TypeError)
  })
})

test('a path whose links cannot be resolved is absent, unless the disk failed', t => {
  // no test can have a disk that fails
  const resolve = t.mock.method(realpathSync, 'native', () => {
    throw failed('EIO')
  })
  assert.throws(() => realPathOrNull('/x'), WheelfixError)
  resolve.mock.mockImplementation(() => {
    throw failed('EACCES')
  })
  assert.equal(realPathOrNull('/x'), null)
})

suite('the reason that the system gives', () => {
  test('says what to do for each usual error', () => {
    const usual = 'EACCES EPERM EROFS ENOSPC EDQUOT EIO EUCLEAN ESTALE EMFILE ENFILE ENOMEM ETXTBSY ETIMEDOUT'
    for (const errno of usual.split(' ')) assert.match(systemReason(errno), /^[^:]+: \S/, errno)
    assert.equal(systemReason('EROFS'), 'the file system is read-only: mount it writable and run wheelfix again')
  })

  test('names any other error', () => {
    assert.equal(systemReason('EXDEV'), 'the system says EXDEV')
  })

  test('follows the path when the disk failed', () => {
    assert.throws(() => errnoAt('/x/foo.so', failed('EIO')), {
      message: '/x/foo.so: the disk reports an error: look at dmesg',
    })
  })
})
