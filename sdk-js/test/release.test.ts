import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { LockserverClient } from 'lockserver-client'
import { TestClock, testing } from './support/clock.js'
import { Middle } from './support/middle.js'
import { TestServer } from './support/server.js'
import { seconds, sleep } from './support/wait.js'

let server: TestServer
let client: LockserverClient
before(async () => {
  server = await TestServer.start()
  client = server.client()
})
after(() => server.close())

test('a release is idempotent, also when called twice at once', async () => {
  const lock = await client.acquire('twice')
  assert.deepEqual(await Promise.all([lock.release(), lock.release()]), [true, true])
  assert.equal(await lock.release(), true)
})

test('a stale handle never frees the successor', async () => {
  const stale = await client.acquire('stale', { expire: 0.2 })
  const successor = await client.acquire('stale')
  assert.equal(await stale.release(), false)
  assert.equal((await server.look('stale'))?.holders[0]?.token, successor.token)
  assert.equal(await successor.release(), true)
})

test('a release of something evicted is false, and the signal says lost', async () => {
  const lock = await client.acquire('evicted')
  await server.evict('evicted')
  assert.equal(await lock.release(), false)
  assert.equal(lock.signal.aborted, true)
  assert.throws(() => lock.check(), { code: 'lock_lost' })
})

test('client.release: the one handle, or token_required, or whatever the owner holds', async () => {
  const lock = await client.acquire('by-name')
  await client.release('by-name')
  assert.equal(await lock.release(), true, 'it was the handle that was released')
  await assert.rejects(client.release('by-name'), { name: 'NotHeldError', code: 'not_held', status: 409 })

  const readers = await Promise.all([1, 2].map(() => client.acquire('by-name', { mode: 'shared' })))
  await assert.rejects(client.release('by-name'), { name: 'TokenRequiredError', code: 'token_required' })
  await client.release('by-name', { token: readers[0]?.token })
  assert.equal(await readers[0]?.release(), true)
  assert.equal((await server.look('by-name'))?.holders[0]?.token, readers[1]?.token)
  await client.release('by-name')

  const one = server.client({ owner: 'shared-owner' })
  const two = server.client({ owner: 'shared-owner' })
  const theirs = await one.acquire('by-name')
  await two.release('by-name')
  const again = await one.acquire('by-name')
  assert.ok(again.token > theirs.token)
  await two.release('by-name', { id: again.id })
  assert.equal(await server.look('by-name'), undefined)
  await assert.rejects(two.release('by-name', { token: 1 }), { code: 'not_held' })
})

test('client.release raises not_held where its one handle was evicted', async () => {
  await client.acquire('gone')
  await server.evict('gone')
  await assert.rejects(client.release('gone'), { code: 'not_held' })
})

test('a release whose answer was lost is retried and counts as released, also where the server has forgotten it', async () => {
  const middle = await Middle.start(server.addr)
  const through = server.client({ addr: middle.addr })
  for (const forgotten of [false, true]) {
    const lock = await through.acquire('lost-answer', { expire: 60 })
    let tries = 0
    middle.handle = async ({ path, forward, drop, answer }) => {
      if (path !== '/release') return
      if (++tries === 1) {
        await forward()
        drop()
      } else if (forgotten) answer(409, JSON.stringify({ code: 'not_held', reason: 'unknown' }))
    }
    assert.equal(await lock.release(), true)
    assert.equal(tries, 2)
    assert.equal(lock.lost, false)
    const [first, second] = middle.seen.slice(-2)
    assert.notEqual(first?.connection, second?.connection, 'the retry took a new connection')
  }
  await middle.close()
})

test('a release that is called again counts as released, too, where one before it may have been the one', async () => {
  const middle = await Middle.start(server.addr)
  const through = server.client({ addr: middle.addr, ...testing({ figures: { cleanup: 300 } }) })
  const lock = await through.acquire('called-again', { expire: 60 })
  middle.handle = async ({ path, forward, drop }) => {
    if (path !== '/release') return
    await forward()
    drop()
  }
  await assert.rejects(lock.release(), { code: 'connection_failed' })
  middle.handle = ({ answer }) => answer(409, JSON.stringify({ code: 'not_held', reason: 'unknown' }))
  assert.equal(await lock.release(), true)
  assert.equal(lock.lost, false)
  await middle.close()
})

test('not_held after a lost answer is a loss where its reason says so', async () => {
  const middle = await Middle.start(server.addr)
  const through = server.client({ addr: middle.addr })
  for (const [reason, released] of Object.entries({ evicted: false, expired: false, unknown: true, other_holder: true })) {
    const lock = await through.acquire(`lost-answer-${reason}`, { expire: 60 })
    let tries = 0
    middle.handle = ({ path, drop, answer }) => {
      if (path !== '/release') return
      if (++tries === 1) drop()
      else answer(409, JSON.stringify({ code: 'not_held', reason }))
    }
    assert.equal(await lock.release(), released, reason)
    assert.equal(tries, 2)
    assert.equal(lock.lost, !released)
    assert.equal(lock.signal.aborted, !released)
  }
  await middle.close()
})

test('not_held after a refusal to drain is a loss: that try released nothing', async () => {
  const middle = await Middle.start(server.addr)
  const through = server.client({ addr: middle.addr })
  const lock = await through.acquire('drained', { expire: 60 })
  let tries = 0
  middle.handle = ({ path, answer }) => {
    if (path !== '/release') return
    if (++tries === 1) answer(503, JSON.stringify({ code: 'draining' }))
    else answer(409, JSON.stringify({ code: 'not_held', reason: 'unknown' }))
  }
  assert.equal(await lock.release(), false)
  assert.equal(tries, 2)
  assert.equal(lock.lost, true)
  await middle.close()
})

test('a lock that was lost stays so, also where the server still held it when it was released', async () => {
  const clock = new TestClock()
  const timed = server.client(testing({ clock }))
  const lock = await timed.acquire('lost-here', { expire: 60 })
  clock.ahead.monotonic = 61_000
  assert.equal(await lock.release(), false)
  await timed.close()
  assert.equal(await server.look('lost-here'), undefined, 'it was given back all the same')
  assert.equal(await lock.release(), false)
})

test('by owner alone, a release that may have been sent is never sent again', async () => {
  const middle = await Middle.start(server.addr)
  const through = server.client({ addr: middle.addr, owner: 'unnamed' })
  await server.call('POST', '/acquire', { resource: 'once', owner: 'unnamed' })
  middle.handle = ({ drop }) => drop()
  await assert.rejects(through.release('once'), { code: 'connection_failed' })
  assert.equal(middle.seen.length, 1)
  middle.handle = () => undefined
  await through.release('once')
  assert.equal(await server.look('once'), undefined)
  await middle.close()
})

test('a release that gets no answer ends in its bound, and may be tried again', async () => {
  const middle = await Middle.start(server.addr)
  const clock = new TestClock()
  const through = server.client({ addr: middle.addr, ...testing({ clock, figures: { cleanup: 2000 } }) })
  const lock = await through.acquire('bounded', { expire: 6, renew: true })
  middle.handle = () => new Promise(() => undefined)
  const from = performance.now()
  await assert.rejects(lock.release(), { name: 'ConnectionFailedError', code: 'connection_failed' })
  assert.ok(seconds(from) >= 1.95 && seconds(from) < 5, `took ${seconds(from)} s`)
  assert.ok(middle.seen.length > 2, 'it was tried more than once')
  middle.handle = () => undefined
  clock.readings = 0
  await sleep(500) // beyond a third of the lease, when the renewal would have come
  assert.ok(clock.readings < 20, `the clock was read ${clock.readings} times meanwhile`)
  assert.deepEqual(
    middle.seen.filter(({ path }) => path === '/renew'),
    [],
    'the release ended the renewal',
  )
  lock.check()
  assert.equal(await lock.release(), true)
  assert.equal(await server.look('bounded'), undefined)
  await middle.close()
})

test('where every connection that stands has gone dead, a retry takes a new one', async () => {
  const middle = await Middle.start(server.addr)
  const through = server.client({ addr: middle.addr, ...testing({ figures: { cleanup: 4000 } }) })
  const locks = await Promise.all([1, 2, 3, 4].map((n) => through.acquire(`dead-${n}`)))
  // The HTTP client lets a connection rest for a turn before it takes it again, and would make a new one meanwhile.
  await sleep(50)
  const dead = middle.connections
  assert.ok(dead >= 4)
  middle.handle = ({ connection }) => (connection <= dead ? new Promise(() => undefined) : undefined)
  const [first, ...others] = locks
  assert.equal(await first?.release(), true)
  assert.equal(middle.seen.filter(({ path }) => path === '/release').length, 2)
  await Promise.all(others.map((lock) => lock.release()))
  await middle.close()
})
