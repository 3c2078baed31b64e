import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { LockLostError, type LockserverClient } from 'lockserver-client'
import { TestClock, testing } from './support/clock.js'
import { Middle } from './support/middle.js'
import { TestServer } from './support/server.js'
import { aborted, eventually, sleep } from './support/wait.js'

let server: TestServer
let client: LockserverClient
before(async () => {
  server = await TestServer.start()
  client = server.client()
})
after(() => server.close())

async function expiresIn(resource: string): Promise<number> {
  return (await server.look(resource))?.holders[0]?.expires_in ?? 0
}

test('renew: true keeps a lock past its lease', async () => {
  const lock = await client.acquire('kept', { expire: 2, renew: true })
  await server.heldFor('kept', 2.5)
  lock.check()
  assert.equal(lock.signal.aborted, false)
  assert.deepEqual((await server.look('kept'))?.holders[0]?.token, lock.token)
  assert.equal(await lock.release(), true)
})

test('renew: true without expire takes a lease of 30 seconds', async () => {
  const lock = await client.acquire('thirty', { renew: true })
  const left = await expiresIn('thirty')
  assert.ok(left > 20 && left <= 30, `expires in ${left} s`)
  await lock.release()
})

test('renewals come at a third of the lease, and end with the release', async () => {
  const middle = await Middle.start(server.addr)
  const through = server.client({ addr: middle.addr })
  const from = performance.now()
  const lock = await through.acquire('thirds', { expire: 6, renew: true })
  await eventually('two renewals', () => middle.seen.filter(({ path }) => path === '/renew').length === 2)
  const took = performance.now() - from
  assert.ok(took >= 3980 && took < 5900, `two renewals in ${took} ms`)
  await lock.release()
  const brief = await through.acquire('thirds', { expire: 0.6, renew: true })
  await brief.release()
  const { length } = middle.seen
  await sleep(500)
  assert.equal(middle.seen.length, length)
  await middle.close()
})

test('an unrenewed lease that runs out is a loss, and the holder is told', async () => {
  const lock = await client.acquire('lapsed', { expire: 1 })
  const { signal } = lock
  assert.equal(signal.aborted, false)
  lock.check()
  await aborted(signal)
  assert.ok(signal.reason instanceof LockLostError)
  assert.equal(lock.lost, true)
  assert.throws(() => lock.check(), { code: 'lock_lost' })
  await assert.rejects(lock.renew(), { code: 'lock_lost' })
  assert.equal(await lock.release(), false)
  assert.equal(await lock.release(), false)
})

test('the holder is told when the server says not_held, long before the lease ends', async () => {
  const lock = await client.acquire('evicted', { expire: 3, renew: true })
  await server.evict('evicted')
  const successor = await client.acquire('evicted', false)
  assert.ok(successor)
  await aborted(lock.signal)
  assert.match(String(lock.signal.reason), /evicted/)
  assert.equal(lock.signal.reason.cause.code, 'not_held')
  assert.equal(await lock.release(), false)
  assert.equal(successor.lost, false)
  assert.equal(await successor.release(), true)
})

test('renew lengthens, never shortens, and fails once the lock is lost or released', async () => {
  const clock = new TestClock()
  const timed = server.client(testing({ clock }))
  const lock = await timed.acquire('longer', { expire: 10 })
  await lock.renew(60)
  assert.ok((await expiresIn('longer')) > 40)
  await lock.renew()
  await lock.renew(10)
  assert.ok((await expiresIn('longer')) > 40)
  clock.ahead = { monotonic: 20_000, wall: 20_000 }
  lock.check()
  await assert.rejects(lock.renew(Number.NaN), { code: 'invalid_request', field: 'expire' })
  await server.evict('longer')
  await assert.rejects(lock.renew(), { code: 'lock_lost' })
  assert.equal(lock.signal.aborted, true)
  await assert.rejects(lock.renew(), { code: 'lock_lost' })

  const released = await client.acquire('longer', { expire: 5 })
  await released.release()
  await assert.rejects(released.renew(), { code: 'not_held', reason: 'released' })
  const unleased = await client.acquire('longer')
  await unleased.renew()
  await unleased.renew(5)
  assert.equal(await expiresIn('longer'), 0)
  await unleased.release()
})

test('a signal that was taken before the loss tells of it; one of a lock that was released never aborts', async () => {
  const lock = await client.acquire('quiet', { expire: 1 })
  const { signal } = lock
  await lock.release()
  await sleep(1100)
  assert.equal(signal.aborted, false)
  assert.equal(lock.lost, false)
  lock.check()
})

for (const which of ['monotonic', 'wall'] as const) {
  test(`a ${which} clock past the safe deadline is a loss when asked, with no timer`, async () => {
    const clock = new TestClock()
    const timed = server.client(testing({ clock }))
    const lock = await timed.acquire(`jump-${which}`, { expire: 100 })
    const { signal } = lock
    clock.ahead[which] = 80_000
    lock.check()
    assert.equal(signal.aborted, false)
    clock.ahead[which] = 99_000
    assert.equal(signal.aborted, true)
    assert.ok(signal.reason instanceof LockLostError)
    assert.throws(() => lock.check(), { code: 'lock_lost' })
    clock.ahead[which] = 0
    assert.equal(lock.lost, true, 'a loss is final')
    assert.equal(await lock.release(), false)
    await server.free(`jump-${which}`)
  })
}

test('a clock that goes back lengthens nothing', async () => {
  const clock = new TestClock()
  const timed = server.client(testing({ clock }))
  const lock = await timed.acquire('back', { expire: 0.3 })
  clock.ahead.wall = -3_600_000
  await aborted(lock.signal)
})

test('a lock without a lease is never lost to a clock', async () => {
  const clock = new TestClock()
  const timed = server.client(testing({ clock }))
  const lock = await timed.acquire('forever')
  clock.ahead = { monotonic: 1e12, wall: 1e12 }
  lock.check()
  assert.equal(await lock.release(), true)
})

test('a server that falls silent is a loss at the safe deadline, before the next holder has the lock', async () => {
  const middle = await Middle.start(server.addr)
  const through = server.client({ addr: middle.addr })
  const from = performance.now()
  const lock = await through.acquire('silence', { expire: 1, renew: true })
  middle.handle = () => new Promise(() => undefined)
  const waiting = client.acquire('silence')
  // A busy machine may deliver both at once; who asks the lock is told in time even then.
  const granted = waiting.then((successor) => ({ successor, known: lock.lost }))
  await aborted(lock.signal)
  const told = performance.now() - from
  assert.ok(told >= 980, `told after ${told} ms`)
  const { successor, known } = await granted
  assert.equal(known, true)
  await successor.release()
  await middle.close()
})
