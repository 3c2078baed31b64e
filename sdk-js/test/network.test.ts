import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { LockserverClient } from 'lockserver-client'
import { root } from './support/binaries.js'
import { testing } from './support/clock.js'
import { Middle } from './support/middle.js'
import { TestProxy } from './support/proxy.js'
import { TestServer } from './support/server.js'
import { aborted, eventually, seconds, sleep } from './support/wait.js'

let server: TestServer
let proxy: TestProxy
let direct: LockserverClient
before(async () => {
  server = await TestServer.start('disk')
  proxy = await TestProxy.start(server.addr)
  direct = server.client()
})
after(async () => {
  await server.close()
  await proxy.close()
})

const through = (options = {}) => server.client({ addr: proxy.addr, ...options })

test('connections that are cut under a waiter cost it neither its place nor a second lock', async () => {
  const client = through()
  const held = await direct.acquire('cut')
  const first = client.acquire('cut')
  await server.waiters('cut', 1)
  const second = direct.acquire('cut')
  await server.waiters('cut', 2)
  for (let i = 0; i < 3; i++) {
    await proxy.set(false)
    await proxy.set(true)
    await server.waiters('cut', 2)
    assert.deepEqual(
      (await server.look('cut'))?.queue.map(({ owner }) => owner),
      [client.owner, direct.owner],
    )
  }
  await held.release()
  // Where the server is late to notice the last cut it passes over the first, so either may be the next.
  await Promise.all(
    [first, second].map(async (acquired) => {
      const lock = await acquired
      assert.equal((await server.look('cut'))?.holders.length, 1)
      await lock.release()
    }),
  )
  assert.equal(await server.look('cut'), undefined)
})

test('a reset in the middle of everything leaves nothing held', async () => {
  const client = through()
  const heal = await proxy.toxic('reset_peer', 'downstream', { timeout: 30 })
  const flows = Array.from({ length: 10 }, () => client.withLock('reset', { timeout: 20 }, () => sleep(1)))
  await sleep(300)
  await heal()
  await Promise.all(flows)
  await server.free('reset')
})

test('waiting goes on over a crash and a restart of the server; what is held stays held', async () => {
  const held = await direct.acquire('restart')
  const waiting = through().acquire('restart')
  await server.waiters('restart', 1)
  await server.stop('SIGKILL')
  await server.start()
  await server.waiters('restart', 1)
  assert.equal((await server.look('restart'))?.holders[0]?.token, held.token)
  assert.equal(await held.release(), true)
  const lock = await waiting
  assert.ok(lock.token > held.token)
  await lock.release()
})

test('waiting goes on over a server that shuts down', async () => {
  const held = await direct.acquire('drain', { expire: 60 })
  const waiting = direct.acquire('drain')
  await server.waiters('drain', 1)
  await server.stop('SIGTERM')
  await server.start()
  await held.release()
  await (await waiting).release()
})

test('a renewal survives a connection that went dead without a word', async () => {
  const client = through()
  const lock = await client.acquire('dead', { expire: 6, renew: true })
  const heal = await proxy.toxic('timeout', 'upstream', { timeout: 0 })
  await sleep(2600) // the first renewal, after 2 seconds, goes nowhere
  await heal()
  await eventually('it is renewed', async () => ((await server.look('dead'))?.holders[0]?.expires_in ?? 0) > 4.5)
  lock.check()
  assert.equal(await lock.release(), true)
})

test('a call with no limit fails with connection_failed once nothing was heard for the bound', async () => {
  await proxy.set(false)
  const client = through(testing({ figures: { silence: 600 } }))
  for (const call of [() => client.acquire('nobody'), () => client.acquire('nobody', false)]) {
    const from = performance.now()
    await assert.rejects(call(), (error: Error & { code: string; cause: unknown }) => {
      assert.equal(error.code, 'connection_failed')
      assert.match(error.message, /: connection refused by 127\.0\.0\.1:\d+$/)
      assert.ok(error.cause instanceof Error)
      return true
    })
    assert.ok(seconds(from) < 10, `took ${seconds(from)} s, and it would be 30 without the bound`)
  }
  const from = performance.now()
  await assert.rejects(client.acquire('nobody', { timeout: 0.4 }), { code: 'lock_timeout' })
  assert.ok(seconds(from) >= 0.39 && seconds(from) < 10, `took ${seconds(from)} s`)
  await assert.rejects(client.acquire('nobody', { timeout: 0 }), { code: 'lock_timeout' })
  await proxy.set(true)
})

test('502, 503 and 504 are retried, with Retry-After as a minimum; the first retry comes at once', async () => {
  const middle = await Middle.start(server.addr)
  const client = server.client({ addr: middle.addr })
  const answers: [number, string, Record<string, string>][] = [
    [502, '<html>bad gateway</html>', {}],
    [504, '', {}],
    [503, '{"code":"draining"}', { 'retry-after': '1' }],
  ]
  const atOnce: number[] = []
  // The best of all rounds counts, because a busy machine may delay any one of them.
  for (let round = 0; round === 0 || (round < 20 && Math.min(...atOnce) >= 22); round++) {
    const left = round === 0 ? [...answers] : answers.slice(0, 2)
    const at: number[] = []
    middle.handle = ({ answer }) => {
      at.push(performance.now())
      const next = left.shift()
      if (next) answer(...next)
    }
    const lock = await client.acquire('gateway')
    const [a = 0, b = 0, c = 0, d = 0] = at
    atOnce.push(b - a)
    assert.ok(c - b >= 22, `the second retry came after ${c - b} ms`)
    if (round === 0) assert.ok(d - c >= 990, `Retry-After: 1 was kept for ${d - c} ms`)
    assert.equal(at.length, round === 0 ? 4 : 3)
    await lock.release()
  }
  assert.ok(Math.min(...atOnce) < 22, `the first retries came after ${atOnce.join(', ')} ms`)
  await middle.close()
})

test('every request says which client and which version of it sends it', async () => {
  const middle = await Middle.start(server.addr)
  const client = server.client({ addr: middle.addr })
  const agents: unknown[] = []
  middle.handle = ({ headers }) => void agents.push(headers['user-agent'])
  await (await client.acquire('agent')).release()
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  assert.deepEqual(agents, [`lockserver-client-js/${version}`, `lockserver-client-js/${version}`])
  await middle.close()
})

test('fields that this version does not know are ignored', async () => {
  const middle = await Middle.start(server.addr)
  const client = server.client({ addr: middle.addr })
  middle.handle = async ({ forward, answer }) => {
    const { status, body } = await forward()
    answer(status, JSON.stringify({ ...JSON.parse(body), shiny: { new: true } }))
  }
  const lock = await client.acquire('newer', { expire: 5 })
  await lock.renew()
  assert.equal(await lock.release(), true)
  await middle.close()
})

test('parked waits never hold up a release or a renewal', async () => {
  const client = through()
  const held = await client.acquire('busy', { expire: 6, renew: true })
  const waits = Array.from({ length: 100 }, () => client.acquire('busy', { timeout: 30 }).then((lock) => lock.release()))
  await server.waiters('busy', 100)
  let least = Number.POSITIVE_INFINITY
  await eventually('a renewal while they wait', async () => {
    const left = (await server.look('busy'))?.holders[0]?.expires_in ?? 0
    least = Math.min(least, left)
    return left > least
  })
  held.check()
  const from = performance.now()
  assert.equal(await held.release(), true)
  assert.ok(seconds(from) < 5, `took ${seconds(from)} s, and a hop takes 10`)
  await Promise.all(waits)
})

test('connections are reused over HTTP, and idle ones too', async () => {
  const middle = await Middle.start(server.addr)
  const client = server.client({ addr: middle.addr, transport: 'http' })
  for (let i = 0; i < 20; i++) await (await client.acquire('reuse')).release()
  // Two, because the HTTP client lets a connection rest for a turn of the event loop before it takes it again.
  assert.ok(middle.connections <= 2, `${middle.connections} connections for requests one after the other`)
  await Promise.all(Array.from({ length: 5 }, (_, i) => client.withLock(`reuse-${i}`, () => sleep(5))))
  const before = middle.connections
  for (let round = 0; round < 10; round++)
    await Promise.all(Array.from({ length: 5 }, (_, i) => client.withLock(`reuse-${i}`, () => sleep(5))))
  assert.ok(middle.connections <= 10, `${before}, then ${middle.connections} connections for 5 flows`)
  await middle.close()
})

test('a path prefix goes before every path', async () => {
  const middle = await Middle.start(server.addr, '/locks/v1')
  for (const addr of [`http://${middle.addr}/locks/v1`, `http://${middle.addr}/locks/v1/`]) {
    const client = server.client({ addr })
    await (await client.acquire('prefixed')).release()
  }
  assert.deepEqual([...new Set(middle.seen.map(({ path }) => path))], ['/locks/v1/acquire', '/locks/v1/release'])
  await middle.close()
})

test('close ends what is pending, leaves nothing behind, and is final', async () => {
  const client = through()
  const held = await direct.acquire('closing')
  const waiting = client.acquire('closing')
  await server.waiters('closing', 1)
  const plain = await client.acquire('closing-plain', { expire: 60 })
  const renewed = await client.acquire('closing-renewed', { expire: 60, renew: true })
  const told = aborted(renewed.signal)
  const ended = assert.rejects(waiting, { code: 'connection_failed', message: /closed/ })
  await Promise.all([client.close(), client.close()])
  await ended
  await told
  assert.equal(renewed.lost, true)
  assert.equal((await server.look('closing'))?.waiters, 0)
  await assert.rejects(client.acquire('closing'), { code: 'connection_failed' })
  await assert.rejects(client.release('closing'), { code: 'connection_failed' })
  plain.check()
  await assert.rejects(plain.renew(), { code: 'connection_failed', message: /closed/ })
  assert.equal(await plain.release(), true, 'a handle can still give back what it holds')
  await held.release()
})
