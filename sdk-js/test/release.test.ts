import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { LockserverClient } from 'lockserver-client'
import { TestClock, testing } from './support/clock.js'
import { Middle } from './support/middle.js'
import { TestServer } from './support/server.js'
import { sleep } from './support/wait.js'

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
