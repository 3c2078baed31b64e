import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { LockserverClient } from 'lockserver-client'
import { Child } from './support/child.js'
import { TestProxy } from './support/proxy.js'
import { TestServer } from './support/server.js'
import { TestTunnel } from './support/tunnel.js'
import { eventually, seconds, sleep } from './support/wait.js'

let server: TestServer
let client: LockserverClient
before(async () => {
  server = await TestServer.start()
  client = server.client()
})
after(() => server.close())

const end = async (child: Child) => {
  const { code, stderr } = await child.ended
  assert.equal(stderr, '')
  assert.equal(code, 0)
}

test('kill -9 of a holder frees its lock when the lease ends, and not before', async () => {
  const child = new Child('stay.js', server, ['killed', '{"expire":2,"renew":true}'])
  const token = Number(await child.line())
  const waiting = client.acquire('killed', { expire: 5 })
  await server.waiters('killed', 1)
  const from = performance.now()
  const left = (await server.look('killed'))?.holders[0]?.expires_in ?? 0
  await child.kill()
  const lock = await waiting
  assert.ok(left > 0 && seconds(from) >= left, `granted after ${seconds(from)} s, with ${left} s left`)
  assert.ok(lock.token > token)
  await lock.release()
})

test('kill -9 of a waiter holds back nobody', async () => {
  const held = await client.acquire('killed-waiter')
  const child = new Child('stay.js', server, ['killed-waiter'])
  await server.waiters('killed-waiter', 1)
  const next = client.acquire('killed-waiter')
  await server.waiters('killed-waiter', 2)
  await child.kill()
  await eventually('the server has seen that it is gone', async () => {
    const [first] = (await server.look('killed-waiter'))?.queue ?? []
    return first?.owner !== client.owner && first?.present === false
  })
  const from = performance.now()
  await held.release()
  const lock = await next
  assert.ok(seconds(from) < 5, `took ${seconds(from)} s, and its place is kept for 10`)
  await lock.release()
})

test('a renewal that waits for its tunnel does not keep its process alive', async () => {
  const proxy = await TestTunnel.start()
  proxy.answers = [200, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  const child = new Child('tunnelled.js', server, [`http://${proxy.addr}`])
  assert.equal(await child.line(), 'a renewal is under way')
  assert.ok(proxy.seen.length >= 2, 'the acquire has its tunnel, and the renewal waits for another one')
  const from = performance.now()
  await end(child)
  assert.ok(seconds(from) < 4, `took ${seconds(from)} s, and a connection may take 5`)
  await proxy.close()
})

test('an idle client does not keep its process alive', async () => {
  const child = new Child('hold.js', server, ['idle', '{"expire":60}'])
  await child.line()
  const from = performance.now()
  await end(child)
  assert.ok(seconds(from) < 10, `took ${seconds(from)} s, and its timers and connections more than 20`)
})

test('a lock that is held and renewed does not, either', async () => {
  const child = new Child('hold.js', server, ['renewing', '{"expire":60,"renew":true}'])
  await child.line()
  const from = performance.now()
  await end(child)
  assert.ok(seconds(from) < 10, `took ${seconds(from)} s, and its timers and connections more than 20`)
})

test('nor does a renewal that is under way to a server that is silent', async (t) => {
  const proxy = await TestProxy.start(server.addr)
  t.after(() => proxy.close())
  const child = new Child('renewing.js', proxy)
  await child.line()
  await proxy.toxic('timeout', 'upstream', { timeout: 0 })
  await child.line()
  const from = performance.now()
  await end(child)
  assert.ok(seconds(from) < 3, `took ${seconds(from)} s, and the renewal 3.4`)
})

test('a pending call keeps its process alive until it has ended', async () => {
  const held = await client.acquire('pending')
  const child = new Child('hold.js', server, ['pending', '{"expire":30}'])
  await server.waiters('pending', 1)
  await sleep(300)
  assert.equal(child.process.exitCode, null)
  await held.release()
  assert.ok(Number(await child.line()) > held.token)
  await end(child)
})

test('an event loop that stalled longer than the lease: whatever is asked first says lost', async () => {
  const child = new Child('stall.js', server, ['3', '3500'])
  const { before, said, told } = JSON.parse(await child.line())
  assert.deepEqual(before, [])
  assert.deepEqual(said, {
    check: 'lock_lost',
    lost: true,
    signal: true,
    'a signal taken before': true,
    'throwIfAborted of it': 'lock_lost',
  })
  assert.deepEqual(told, Object.keys(said), 'who listens is told by the asking')
  await end(child)
})

test('a stall that is shorter than the lease is no loss', async () => {
  const child = new Child('stall.js', server, ['9', '350'])
  const { said, told } = JSON.parse(await child.line())
  assert.deepEqual(Object.values(said), [false, false, false])
  assert.deepEqual(told, [])
  await end(child)
})

test('losses that nobody listens to are no unhandled rejections', async () => {
  const child = new Child('losing.js', server)
  assert.deepEqual(JSON.parse(await child.line()), [true, true, false, true])
  assert.equal(await child.line(), 'aborted')
  assert.equal(await child.line(), 'done')
  await end(child)
})

test('clocks and timers that stand still, as under test frameworks, stop no session', async () => {
  const child = new Child('frozen.js', server, ['session'])
  assert.equal(await child.line(), 'null true then another')
  assert.equal(await child.line(), 'lock_timeout')
  await end(child)
})

test('worker threads have sessions of their own, and end by themselves', async () => {
  const child = new Child('worker.js', server)
  assert.deepEqual(JSON.parse(await child.line()), [[0, 0, 0], 150, 0])
  await end(child)
})
