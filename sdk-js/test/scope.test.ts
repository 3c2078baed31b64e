import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { LockedError, LockLostError, type LockserverClient } from 'lockserver-client'
import { TestClock, testing } from './support/clock.js'
import { TestServer } from './support/server.js'

let server: TestServer
let client: LockserverClient
before(async () => {
  server = await TestServer.start()
  client = server.client()
})
after(() => server.close())

const boom = new Error('boom')

test('withLock runs its body under a lock with a lease of 30 seconds, gives back its result, and releases', async () => {
  const result = await client.withLock('scope', async (lock) => {
    const { body } = await server.call('GET', '/lock?resource=scope')
    const [holder] = body.holders as { token: number; expires_in: number }[]
    assert.equal(holder?.token, lock.token)
    assert.ok(holder.expires_in > 20 && holder.expires_in <= 30)
    return 42
  })
  assert.equal(result, 42)
  assert.equal(await server.look('scope'), undefined)
  assert.equal(await client.withLock('scope', { expire: 5 }, () => 'plain value'), 'plain value')
})

test('a scope renews its lease while the body runs', async () => {
  await client.withLock('renewed', { expire: 2 }, async (lock) => {
    await server.heldFor('renewed', 2.5)
    lock.check()
    assert.equal(await client.acquire('renewed', false), null)
  })
})

test('the error of the body comes out, and the lock is released', async () => {
  await assert.rejects(
    client.withLock('throws', () => Promise.reject(boom)),
    (error) => error === boom,
  )
  await assert.rejects(
    client.withLock('throws', () => {
      throw boom
    }),
    (error) => error === boom,
  )
  await assert.rejects(
    client.withLock('throws', () => Promise.reject(undefined)),
    (error) => error === undefined,
  )
  assert.equal(await server.look('throws'), undefined)
})

test('a scope that does not block throws locked and names the holder', async () => {
  const held = await client.acquire('taken')
  for (const enter of [
    () => client.withLock('taken', { blocking: false }, () => assert.fail('entered')),
    () => client.lock('taken', { blocking: false }),
  ]) {
    await assert.rejects(enter(), (error) => {
      assert.ok(error instanceof LockedError)
      assert.deepEqual(
        error.holders.map(({ owner, token }) => [owner, token]),
        [[client.owner, held.token]],
      )
      assert.equal(error.holdersTotal, 1)
      assert.equal(error.waiters, 0)
      return true
    })
  }
  await assert.rejects(
    client.withLock('taken', { timeout: 0.1 }, () => assert.fail('entered')),
    { code: 'lock_timeout' },
  )
  await held.release()
})

test('a body that ended well without its lock: lock_lost; one that threw: its own error', async () => {
  await assert.rejects(
    client.withLock('stolen', () => server.evict('stolen')),
    { name: 'LockLostError', code: 'lock_lost' },
  )
  await assert.rejects(
    client.withLock('stolen', async () => {
      await server.evict('stolen')
      throw boom
    }),
    (error) => error === boom,
  )
})

test('the answer to the release decides, not a clock that jumped', async () => {
  const clock = new TestClock()
  const timed = server.client(testing({ clock }))
  const result = await timed.withLock('jumped', async (lock) => {
    clock.ahead.wall = 60_000
    assert.equal(lock.signal.aborted, true)
    return 'done'
  })
  assert.equal(result, 'done')
  assert.equal(await server.look('jumped'), undefined)
})

test('a body may release by itself', async () => {
  await client.withLock('early', async (lock) => {
    assert.equal(await lock.release(), true)
    const other = await client.acquire('early', false)
    assert.ok(other)
    await other.release()
  })
})

test('await using releases at the end of the block', async () => {
  let token: number
  {
    await using lock = await client.lock('using')
    token = lock.token
    assert.equal(await client.acquire('using', false), null)
  }
  {
    await using lock = await client.acquire('using', { expire: 10 })
    assert.ok(lock.token > token)
  }
  {
    await using none = await client.acquire('using', false)
    assert.ok(none)
    await using refused = await client.acquire('using', false)
    assert.equal(refused, null)
  }
  assert.equal(await server.look('using'), undefined)
})

test('await using: the error of the block comes out; a loss is lock_lost; both are a SuppressedError that has both', async () => {
  await assert.rejects(
    async () => {
      await using _lock = await client.lock('using-error')
      throw boom
    },
    (error) => error === boom,
  )
  assert.equal(await server.look('using-error'), undefined)
  await assert.rejects(
    async () => {
      await using _lock = await client.lock('using-error')
      await server.evict('using-error')
    },
    { code: 'lock_lost' },
  )
  await assert.rejects(
    async () => {
      await using _lock = await client.lock('using-error')
      await server.evict('using-error')
      throw boom
    },
    (error: { name: string; error: unknown; suppressed: unknown }) => {
      assert.equal(error.name, 'SuppressedError')
      assert.ok(error.error instanceof LockLostError)
      assert.equal(error.suppressed, boom)
      return true
    },
  )
})

test('a signal ends the waiting for a scope, and nothing else', async () => {
  const abort = new AbortController()
  await client.withLock('scoped-signal', async () => {
    const waiting = client.withLock('scoped-signal', { signal: abort.signal }, () => assert.fail('entered'))
    await server.waiters('scoped-signal', 1)
    abort.abort(boom)
    await assert.rejects(waiting, (error) => error === boom)
  })
})
