// What an ES module of a user does.
import assert from 'node:assert/strict'
import { Lock, LockedError, LockserverClient, LockserverError } from 'lockserver-client'

const client = new LockserverClient()
const lock = await client.acquire('consumer-esm', { expire: 30 })
assert.ok(lock instanceof Lock)
await assert.rejects(
  client.withLock('consumer-esm', { blocking: false }, () => assert.fail('entered')),
  (error) => error instanceof LockedError && error instanceof LockserverError && error.holders[0].token === lock.token,
)
assert.equal(await lock.release(), true)
console.log('esm ok')
