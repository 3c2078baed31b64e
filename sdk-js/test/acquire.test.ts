import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Lock, LockedError, type LockserverClient, type LockserverError } from 'lockserver-client'
import { testing, untilConfirmed } from './support/clock.js'
import { Middle } from './support/middle.js'
import { TestServer } from './support/server.js'
import { eventually, seconds } from './support/wait.js'

let server: TestServer
let client: LockserverClient
before(async () => {
  server = await TestServer.start()
  client = server.client(untilConfirmed)
})
after(() => server.close())

test('a lock is exclusive, has a token that rises, and is released', async () => {
  const first = await client.acquire('plain')
  assert.ok(first instanceof Lock)
  assert.equal(first.resource, 'plain')
  assert.equal(first.mode, 'exclusive')
  assert.equal(first.limit, null)
  assert.deepEqual(
    (await server.look('plain'))?.holders.map(({ owner, token }) => [owner, token]),
    [[client.owner, first.token]],
  )
  assert.equal(await client.acquire('plain', false), null)
  assert.equal(await client.acquire('plain', { blocking: false }), null)
  assert.equal(await first.release(), true)
  assert.equal(await server.look('plain'), undefined)
  const second = await client.acquire('plain')
  assert.ok(second.token > first.token)
  await second.release()
})

test('waiters are served in the order of their arrival, each exactly when the one before it is done', async () => {
  const order: number[] = []
  const held = await client.acquire('queue')
  const waiting: Promise<void>[] = []
  for (let i = 0; i < 5; i++) {
    waiting.push(
      client.acquire('queue').then(async (lock) => {
        order.push(i)
        await lock.release()
      }),
    )
    await server.waiters('queue', i + 1)
  }
  assert.deepEqual(order, [])
  await held.release()
  await Promise.all(waiting)
  assert.deepEqual(order, [0, 1, 2, 3, 4])
})

test('waiting longer than one hop keeps the place', async () => {
  const middle = await Middle.start(server.addr)
  const hopping = server.client({ addr: middle.addr, ...testing({ figures: { hop: 100 } }) })
  const held = await client.acquire('hops')
  const waiting = hopping.acquire('hops')
  await server.waiters('hops', 1)
  const behind = client.acquire('hops')
  await server.waiters('hops', 2)
  const before = middle.seen.length
  await eventually('three more hops', () => middle.seen.length >= before + 3)
  assert.deepEqual(
    (await server.look('hops'))?.queue.map(({ owner }) => owner),
    [hopping.owner, client.owner],
  )
  await held.release()
  // Whoever is between two hops when the lock comes free is passed over, so either may be the first.
  await Promise.all([waiting, behind].map(async (lock) => (await lock).release()))
  assert.equal(await server.look('hops'), undefined)
  await middle.close()
})

test('a timeout ends the waiting with lock_timeout and leaves the queue', async () => {
  const held = await client.acquire('slow')
  const from = performance.now()
  await assert.rejects(client.acquire('slow', { timeout: 0.3 }), { name: 'LockTimeoutError', code: 'lock_timeout' })
  assert.ok(seconds(from) >= 0.29 && seconds(from) < 5, `took ${seconds(from)} s, and a hop takes 10`)
  assert.equal((await server.look('slow'))?.waiters, 0)
  await assert.rejects(client.acquire('slow', { timeout: 0 }), (error: LockserverError) => {
    assert.equal(error.code, 'lock_timeout')
    assert.ok(error.cause instanceof LockedError)
    return true
  })
  await held.release()
  const lock = await client.acquire('slow', { timeout: 0 })
  await lock.release()
  assert.equal(await server.look('slow'), undefined)
})

test('a lease ends by itself, and the next waiter gets the lock', async () => {
  const from = performance.now()
  const held = await client.acquire('lease', true, 0.3)
  const next = await client.acquire('lease', { expire: 30 })
  assert.ok(seconds(from) >= 0.3 && seconds(from) < 5, `took ${seconds(from)} s, and a hop takes 10`)
  assert.ok(next.token > held.token)
  assert.equal(held.lost, true)
  assert.equal(await held.release(), false)
  assert.equal(next.lost, false)
  assert.equal(await next.release(), true)
})

test('shared locks are held together and keep an exclusive one out', async () => {
  const readers = await Promise.all([1, 2, 3].map(() => client.acquire('shared', { mode: 'shared' })))
  assert.deepEqual(
    readers.map((lock) => lock.mode),
    ['shared', 'shared', 'shared'],
  )
  assert.equal(await client.acquire('shared', false), null)
  await Promise.all(readers.map((lock) => lock.release()))
  const writer = await client.acquire('shared', false)
  assert.ok(writer)
  assert.equal(await client.acquire('shared', { mode: 'shared', blocking: false }), null)
  await writer.release()
})

test('a limit gives so many permits; another limit is another kind', async () => {
  const permits = await Promise.all([1, 2].map(() => client.acquire('permits', { limit: 2 })))
  assert.deepEqual(
    permits.map((lock) => [lock.limit, lock.mode]),
    [
      [2, null],
      [2, null],
    ],
  )
  assert.equal(await client.acquire('permits', { limit: 2, blocking: false }), null)
  await assert.rejects(client.acquire('permits', { limit: 3 }), {
    name: 'LimitMismatchError',
    code: 'limit_mismatch',
    status: 409,
  })
  await Promise.all(permits.map((lock) => lock.release()))
})

test('a note is there for people who look', async () => {
  const lock = await client.acquire('noted', { note: 'nightly export', expire: 10 })
  const { body } = await server.call('GET', '/lock?resource=noted')
  assert.equal((body.holders as { note: string }[])[0]?.note, 'nightly export')
  await lock.release()
})

test('what the server refuses is thrown at once, with the field', async () => {
  for (const [call, field] of [
    [() => client.acquire(''), 'resource'],
    [() => client.acquire('x'.repeat(513)), 'resource'],
    [() => client.acquire('x', { expire: 400_000_000 }), 'expire'],
    [() => client.acquire('x', { limit: 0 }), 'limit'],
    [() => client.acquire('x', { note: 'x'.repeat(1025) }), 'note'],
    [() => client.acquire('x', { mode: 'both' as never }), 'mode'],
  ] as const) {
    await assert.rejects(call(), { name: 'InvalidRequestError', code: 'invalid_request', status: 400, field })
  }
})

test('what JSON would turn into "absent" is refused before it is sent', async () => {
  for (const expire of [Number.NaN, Number.POSITIVE_INFINITY, -1, 0, 0.002, '5' as never]) {
    await assert.rejects(client.acquire('never', true, expire), { code: 'invalid_request', field: 'expire' })
    await assert.rejects(client.acquire('never', { expire }), { code: 'invalid_request', field: 'expire' })
  }
  await assert.rejects(client.acquire('never', { expire: '30' as never }), { message: /not the string "30"$/ })
  await assert.rejects(client.acquire('never', { expire: {} as never }), { message: /not an object$/ })
  await assert.rejects(client.acquire('never', { timeout: '30' as never }), { message: /not the string "30"$/ })
  await assert.rejects(client.acquire(undefined as never), { code: 'invalid_request', field: 'resource' })
  await assert.rejects(client.acquire('never', { limit: Number.NaN }), { code: 'invalid_request', field: 'limit' })
  assert.equal(await server.look('never'), undefined)
})

test('a slip in an option is an error, not a lock for ever', async () => {
  await assert.rejects(client.acquire('slip', { expires: 5 } as never), { code: 'config_invalid', setting: 'expires' })
  await assert.rejects(
    client.withLock('slip', { ttl: 5 } as never, () => undefined),
    { code: 'config_invalid', setting: 'ttl' },
  )
  await assert.rejects(client.acquire('slip', { blocking: false, timeout: 1 }), { code: 'config_invalid', setting: 'timeout' })
  for (const timeout of [-1, Number.NaN, Number.POSITIVE_INFINITY, '1' as never]) {
    await assert.rejects(client.acquire('slip', { timeout }), { code: 'config_invalid', setting: 'timeout' })
  }
  assert.equal(await server.look('slip'), undefined)
})

test('null and undefined count as absent', async () => {
  const lock = await client.acquire('absent', true, null)
  assert.equal((await server.call('GET', '/lock?resource=absent')).body.waiters, 0)
  assert.equal(((await server.call('GET', '/lock?resource=absent')).body.holders as { expires_in: null }[])[0]?.expires_in, null)
  await lock.release()
  const other = await client.acquire('absent', { expire: undefined, timeout: null, limit: null, signal: undefined })
  await other.release()
})

test('a wrong secret is thrown at once', async () => {
  const stranger = server.client({ secret: 'not-the-secret-at-all' })
  await assert.rejects(stranger.acquire('x'), { name: 'UnauthorizedError', code: 'unauthorized', status: 401 })
  await assert.rejects(stranger.acquire('x', false), { code: 'unauthorized' })
  await assert.rejects(stranger.release('x'), { code: 'unauthorized' })
})

test('clients and flows exclude each other, with the same owner too', async () => {
  const one = server.client({ owner: 'same' })
  const two = server.client({ owner: 'same' })
  const lock = await one.acquire('owned')
  assert.equal(await two.acquire('owned', false), null)
  assert.equal(await one.acquire('owned', false), null)
  await lock.release()
  assert.notEqual(server.client().owner, server.client().owner)
})
