import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { LockserverClient } from 'lockserver-client'
import { untilConfirmed } from './support/clock.js'
import { Middle } from './support/middle.js'
import { TestServer } from './support/server.js'
import { seconds } from './support/wait.js'

let server: TestServer
let client: LockserverClient
before(async () => {
  server = await TestServer.start()
  client = server.client(untilConfirmed)
})
after(() => server.close())

const reason = new Error('changed my mind')

test('aborted in the same turn as the call: nothing is sent or nothing is held', async () => {
  const abort = new AbortController()
  const call = client.acquire('turn', { signal: abort.signal })
  abort.abort(reason)
  await assert.rejects(call, (error) => error === reason)
  await server.free('turn')
})

test('aborted while it waits: the place in the queue is gone when the promise rejects', async () => {
  const held = await client.acquire('parked')
  const abort = new AbortController()
  const call = client.acquire('parked', { signal: abort.signal })
  await server.waiters('parked', 1)
  const from = performance.now()
  abort.abort(reason)
  await assert.rejects(call, (error) => error === reason)
  assert.ok(seconds(from) < 5, `took ${seconds(from)} s, and a hop takes 10`)
  assert.equal((await server.look('parked'))?.waiters, 0)
  await held.release()
  assert.equal(await server.look('parked'), undefined)
})

test('AbortSignal.timeout rejects with its own TimeoutError', async () => {
  const held = await client.acquire('timed')
  await assert.rejects(client.acquire('timed', { signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' })
  await held.release()
})

test('aborted when the grant is on its way: the grant goes back', async () => {
  const middle = await Middle.start(server.addr)
  const through = server.client({ addr: middle.addr, ...untilConfirmed })
  const abort = new AbortController()
  const granted = new Promise<void>((resolve) => {
    middle.handle = async ({ path, forward }) => {
      if (path !== '/acquire') return
      const answer = await forward()
      assert.equal(answer.status, 200)
      resolve()
      await new Promise(() => undefined)
    }
  })
  const call = through.acquire('race', { signal: abort.signal })
  await granted
  assert.equal((await server.look('race'))?.holders.length, 1)
  abort.abort(reason)
  await assert.rejects(call, (error) => error === reason)
  assert.equal(await server.look('race'), undefined)
  await middle.close()
})

test('aborted before the request arrives: the late request gets nothing', async () => {
  const middle = await Middle.start(server.addr)
  const through = server.client({ addr: middle.addr, ...untilConfirmed })
  const abort = new AbortController()
  let late: Promise<{ status: number; body: string }> | undefined
  let letGo: () => void = () => undefined
  const gate = new Promise<void>((resolve) => {
    letGo = resolve
  })
  const arrived = new Promise<void>((resolve) => {
    middle.handle = async ({ path, forward }) => {
      if (path !== '/acquire') return
      resolve()
      late = gate.then(forward)
      await late
    }
  })
  const call = through.acquire('late', { signal: abort.signal })
  await arrived
  abort.abort(reason)
  // The answer to the cancel is what the call waits for, so it has been recorded by then.
  await assert.rejects(call, (error) => error === reason)
  const [sent] = middle.seen
  const answer = await server.call('POST', '/acquire', sent?.body)
  assert.equal(answer.body.code, 'id_used')
  letGo()
  await late?.catch(() => undefined)
  assert.equal(await server.look('late'), undefined)
  await middle.close()
})

test('aborted after the grant: means nothing any more', async () => {
  const abort = new AbortController()
  const lock = await client.acquire('after', { signal: abort.signal })
  abort.abort(reason)
  lock.check()
  assert.equal(lock.signal.aborted, false)
  assert.equal(await lock.release(), true)
})

test('a storm of aborts leaves nothing behind', async () => {
  const outcomes = await Promise.allSettled(
    Array.from({ length: 200 }, async (_, i) => {
      const abort = new AbortController()
      setTimeout(() => abort.abort(reason), i % 17)
      const lock = await client.acquire('storm', { signal: abort.signal })
      await lock.release()
    }),
  )
  for (const outcome of outcomes) if (outcome.status === 'rejected') assert.equal(outcome.reason, reason)
  await server.free('storm')
})

test('many calls on one signal, and many listeners to a lock, are nothing to warn of', async () => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  const held = await client.acquire('crowded', { expire: 30 })
  const abort = new AbortController()
  const calls = Array.from({ length: 30 }, () => client.acquire('crowded', { signal: abort.signal }))
  for (let i = 0; i < 30; i++) held.signal.addEventListener('abort', () => undefined)
  await server.waiters('crowded', 30)
  abort.abort(reason)
  for (const outcome of await Promise.allSettled(calls)) assert.deepEqual(outcome, { status: 'rejected', reason })
  assert.equal((await server.look('crowded'))?.waiters, 0)
  await held.release()
  process.off('warning', onWarning)
  assert.deepEqual(warnings, [])
})
