import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { LockserverClientOptions } from 'lockserver-client'
import { Certificate } from './support/certificate.js'
import { testing } from './support/clock.js'
import { Middle } from './support/middle.js'
import { secret, TestServer } from './support/server.js'
import { TestTunnel } from './support/tunnel.js'
import { aborted, eventually } from './support/wait.js'

let server: TestServer
before(async () => {
  server = await TestServer.start()
})
after(() => server.close())

const session = (options: LockserverClientOptions = {}) => server.client({ transport: 'session', ...options })

test('one session carries everything, however many flows there are', async () => {
  const middle = await Middle.start(server.addr)
  middle.upgrades = 'pass'
  const client = session({ addr: middle.addr })
  const held = await client.acquire('all', { expire: 30 })
  const waits = Array.from({ length: 64 }, () => client.withLock('all', () => undefined))
  await server.waiters('all', 64)
  await held.renew(60)
  assert.equal(await client.acquire('all', false), null)
  assert.equal(await held.release(), true)
  await Promise.all(waits)
  assert.equal(await server.look('all'), undefined)
  assert.deepEqual([middle.connections, middle.asked.length, middle.seen.length], [1, 1, 0])
  await middle.close()
})

test('the upgrade has the prefix, the secret, the subprotocol and the name of the client', async () => {
  const middle = await Middle.start(server.addr, '/locks/v1')
  middle.upgrades = 'pass'
  const client = session({ addr: `http://${middle.addr}/locks/v1` })
  await (await client.acquire('prefixed')).release()
  const [{ path, headers }] = middle.asked as [(typeof middle.asked)[0]]
  assert.equal(path, '/locks/v1/session')
  assert.equal(headers['x-lockserver-secret'], secret)
  assert.equal(headers['sec-websocket-protocol'], 'lockserver.v1')
  assert.match(headers['user-agent'] ?? '', /^lockserver-client-js\//)
  await middle.close()
})

test('a session over TLS, and through a tunnel with and without TLS', async () => {
  const certificate = new Certificate()
  const secure = await TestServer.start('memory', certificate.args)
  const tunnel = await TestTunnel.start()
  const tls = { ca: certificate.pem }
  const proxy = `http://${tunnel.addr}`
  for (const options of [{ addr: `https://${secure.addr}`, tls }, { addr: `https://${secure.addr}`, tls, proxy }, { proxy }]) {
    await session(options).withLock('secure', (lock) => lock.renew())
  }
  assert.deepEqual(
    tunnel.seen.map(({ target }) => target),
    [secure.addr, server.addr],
  )
  await assert.rejects(session({ addr: `https://${secure.addr}` }).acquire('x', { timeout: 5 }), {
    code: 'connection_failed',
    message: /certificate of .* is not trusted/,
  })
  await secure.close()
  await tunnel.close()
  certificate.remove()
})

test('a secret that is not the server’s is unauthorized', async () => {
  await assert.rejects(session({ secret: 'another' }).acquire('x'), { code: 'unauthorized', status: 401 })
  await assert.rejects(server.client({ transport: 'auto', secret: 'another' }).acquire('x'), {
    code: 'unauthorized',
    status: 401,
  })
})

const refusals = [
  [404],
  [400, '{"code":"invalid_request"}'],
  [403],
  [426],
  [500, '{"code":"internal"}'],
  [502],
  [503, 'busy'],
] as const

test('where sessions are refused, auto uses HTTP; session alone fails', async () => {
  const middle = await Middle.start(server.addr)
  for (const [status, body] of refusals) {
    middle.upgrades = [status, body]
    middle.asked.length = middle.seen.length = 0
    const client = server.client({ addr: middle.addr, transport: 'auto' })
    await (await client.acquire('fallen')).release()
    assert.deepEqual([middle.asked.length, middle.seen.map(({ path }) => path)], [1, ['/acquire', '/release']])
    await client.close()
    const only = session({ addr: middle.addr })
    await assert.rejects(only.acquire('x'), {
      code: 'connection_failed',
      message: new RegExp(`answered ${status} to the request`),
    })
    await only.close()
  }
  await middle.close()
})

test('after a while a session is asked for again, and HTTP goes on until there is one', async () => {
  const middle = await Middle.start(server.addr)
  const client = server.client({ addr: middle.addr, transport: 'auto', ...testing({ figures: { sessionAgain: 0 } }) })
  for (let i = 0; i < 3; i++) await (await client.acquire('fallen')).release()
  assert.equal(middle.seen.length, 6)
  middle.upgrades = 'pass'
  await eventually('there is a session', async () => {
    const { length } = middle.seen
    await (await client.acquire('fallen')).release()
    return middle.seen.length === length
  })
  await middle.close()
})

test('a refusal of ours means what it means over HTTP', async () => {
  const middle = await Middle.start(server.addr)
  middle.upgrades = [429, '{"code":"too_many_locks"}', { 'retry-after': '1' }]
  for (const transport of ['auto', 'session'] as const) {
    await assert.rejects(server.client({ addr: middle.addr, transport }).acquire('x'), { code: 'too_many_locks', status: 429 })
  }
  middle.upgrades = [503, '{"code":"draining"}', { 'retry-after': '1' }]
  for (const transport of ['auto', 'session'] as const) {
    await assert.rejects(server.client({ addr: middle.addr, transport }).acquire('x', { timeout: 0.4 }), {
      code: 'lock_timeout',
      message: /answered 503 draining$/,
    })
  }
  assert.equal(middle.seen.length, 0)
  await middle.close()
})

test('a loss is told at once', async () => {
  const client = session()
  const lock = await client.acquire('pushed', { expire: 3000, renew: true })
  const plain = await client.acquire('pushed-2')
  await server.evict('pushed')
  await aborted(lock.signal)
  assert.equal(lock.signal.reason.cause.reason, 'evicted')
  assert.equal(await lock.release(), false)
  await server.evict('pushed-2')
  await aborted(plain.signal)
})

test('a wait is one request, however long it is', async () => {
  const client = session(testing({ figures: { hop: 50 } }))
  const held = await server.client().acquire('whole')
  const waits = [client.acquire('whole'), client.acquire('whole', { timeout: 60 })]
  await server.waiters('whole', 2)
  await server.heldFor('whole', 0.3)
  assert.equal((await server.look('whole'))?.waiters, 2)
  await held.release()
  for (const wait of waits) await (await wait).release()
})

test('close ends the session once nothing is unanswered, and a handle may still release', async () => {
  const middle = await Middle.start(server.addr)
  middle.upgrades = 'pass'
  const client = session({ addr: middle.addr })
  const lock = await client.acquire('closing')
  const waiting = assert.rejects(client.acquire('closing'), { code: 'connection_failed', message: /closed/ })
  await server.waiters('closing', 1)
  await client.close()
  await waiting
  assert.equal((await server.look('closing'))?.waiters, 0)
  assert.equal(await lock.release(), true)
  assert.equal(middle.asked.length, 2)
  await middle.close()
})
