import assert from 'node:assert/strict'
import { test } from 'node:test'
import { expandTokens } from '../../src/ldso/tokens.ts'

const VALUES = { origin: '/o', lib: 'lib64', platform: 'x86_64' }

test('tokens are replaced in both spellings, each time they occur', () => {
  assert.equal(expandTokens('$ORIGIN/${ORIGIN}/$LIB/${PLATFORM}', VALUES), '/o//o/lib64/x86_64')
})

test('a name without braces ends before any character but a letter, digit or underscore', () => {
  assert.equal(expandTokens('$LIB-x $LIBx $LIB_ $LIB1 ${LIB}x', VALUES), 'lib64-x $LIBx $LIB_ $LIB1 lib64x')
})

test('other dollars stay', () => {
  assert.equal(expandTokens('$ORIGI ${ORIGIN $$LIB $', VALUES), '$ORIGI ${ORIGIN $lib64 $')
})

test('without a platform, a string with $PLATFORM is dropped', () => {
  assert.equal(expandTokens('/a/$PLATFORM', { ...VALUES, platform: '' }), null)
  assert.equal(expandTokens('/a/$LIB', { ...VALUES, platform: '' }), '/a/lib64')
})
