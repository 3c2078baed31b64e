import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { LockserverClient } from 'lockserver-client'
import { testing } from './support/clock.js'
import { Middle } from './support/middle.js'
import { RawServer } from './support/raw.js'
import { secret, TestServer } from './support/server.js'
import { aborted, eventually } from './support/wait.js'

let server: TestServer
before(async () => {
  server = await TestServer.start()
})
after(() => server.close())

const ops = (raw: RawServer, session = raw.last) => session.requests.map(({ op }) => op)

async function raw(t: { after(run: () => unknown): void }, figures = {}): Promise<{ raw: RawServer; client: LockserverClient }> {
  const raw = await RawServer.start()
  const client = new LockserverClient({ addr: raw.addr, secret, dotenv: false, transport: 'session', ...testing({ figures }) })
  t.after(async () => {
    await client.close()
    raw.close()
  })
  return { raw, client }
}

test('one keepalive renews every lease', async (t) => {
  const { raw: there, client } = await raw(t)
  const locks = await Promise.all(Array.from({ length: 20 }, (_, i) => client.acquire(`kept-${i}`, { expire: 1.5, renew: true })))
  await eventually('three of them', () => ops(there).filter((op) => op === 'keepalive').length === 3)
  assert.ok(!ops(there).includes('renew'))
  for (const lock of locks) lock.check()
})

test('leases last by keepalives alone', async () => {
  const client = server.client({ transport: 'session' })
  const locks = await Promise.all([3, 4].map((i) => client.acquire(`lasting-${i}`, { expire: i, renew: true })))
  await server.heldFor('lasting-3', 3.5)
  for (const lock of locks) {
    lock.check()
    assert.equal(await lock.release(), true)
  }
})

test('as long as a lease is not to be renewed, the others are renewed one by one', async (t) => {
  const { raw: there, client } = await raw(t)
  const left = await client.acquire('left', { expire: 600 })
  const kept = await client.acquire('kept', { expire: 1.5, renew: true })
  await eventually('it is renewed', () => ops(there).includes('renew'))
  assert.ok(!ops(there).includes('keepalive'))
  await left.release()
  await eventually('from now on by keepalives', () => ops(there).includes('keepalive'))
  kept.check()
})

test('nor is one whose grant is still on its way', async (t) => {
  const { raw: there, client } = await raw(t)
  const kept = await client.acquire('kept', { expire: 1.5, renew: true })
  there.on = (requests, session) => session.grant(requests.filter(({ resource }) => resource !== 'left'))
  const left = client.acquire('left', { expire: 600 })
  await eventually('the other is renewed', () => ops(there).includes('renew'))
  assert.ok(!ops(there).includes('keepalive'))
  kept.check()
  there.last.grant(there.requests.filter(({ resource }) => resource === 'left'))
  await left
})

test('nor is one that its holder takes for lost', async (t) => {
  const { raw: there, client } = await raw(t)
  there.on = (requests, session) => {
    session.grant(requests.filter(({ op }) => op !== 'release'))
  }
  const lock = await client.acquire('unreleased', { expire: 600, renew: true })
  const releasing = lock.release().catch(() => undefined)
  const kept = await client.acquire('kept', { expire: 1.5, renew: true })
  await eventually('it is renewed', () => ops(there).includes('renew'))
  assert.ok(!ops(there).includes('keepalive'))
  kept.check()
  there.on = (requests, session) => session.grant(requests)
  await releasing
})

test('what a keepalive names as lost is lost, and what it does not renew is renewed by itself', async (t) => {
  const { raw: there, client } = await raw(t)
  const [gone, kept] = await Promise.all(['gone', 'kept'].map((name) => client.acquire(name, { expire: 1.5, renew: true })))
  there.on = (requests, session) => {
    for (const request of requests) {
      if (request.op !== 'keepalive') session.grant([request])
      else {
        const lost = [{ resource: 'gone', owner: client.owner, id: gone?.id, token: gone?.token, reason: 'expired' }]
        session.send({ seq: request.seq, status: 200, renewed: 0, shortest: null, lost })
      }
    }
  }
  await aborted(gone?.signal as AbortSignal)
  assert.match(gone?.signal.reason.message, /the server says expired$/)
  await eventually('it is renewed', () => there.requests.some(({ op, token }) => op === 'renew' && token === kept?.token))
  kept?.check()
})

test('after a cut every kept lease is taken over at once, by its id, in one message', async (t) => {
  const { raw: there, client } = await raw(t)
  const locks = await Promise.all(Array.from({ length: 9 }, (_, i) => client.acquire(`moved-${i}`, { expire: 600, renew: true })))
  await client.acquire('left', { expire: 600 })
  there.last.socket.destroy()
  await client.acquire('next')
  await eventually('they are renewed', () => ops(there).filter((op) => op === 'renew').length === 9)
  const ids = there.last.messages.map((requests) => requests.filter(({ op }) => op === 'renew').map(({ id }) => id))
  assert.deepEqual(
    ids.filter(({ length }) => length > 0),
    [locks.map(({ id }) => id)],
  )
})

test('a renewal takes its lock over to the new session, where its loss is told', async (t) => {
  const middle = await Middle.start(server.addr)
  t.after(() => middle.close())
  middle.upgrades = 'pass'
  const client = server.client({ transport: 'session', addr: middle.addr })
  const lock = await client.acquire('moved', { expire: 60, renew: true })
  middle.cut()
  await lock.renew()
  await server.evict('moved')
  await aborted(lock.signal)
  assert.match(lock.signal.reason.message, /the server says evicted$/)
})
