import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { after, before, beforeEach, test } from 'node:test'
import { inspect } from 'node:util'
import type { LockserverClient, LockTimeoutError } from 'lockserver-client'
import { Certificate } from './support/certificate.js'
import { testing } from './support/clock.js'
import { Middle } from './support/middle.js'
import { secret, TestServer } from './support/server.js'
import { TestTunnel } from './support/tunnel.js'

let server: TestServer
let middle: Middle
let client: LockserverClient
before(async () => {
  server = await TestServer.start()
  middle = await Middle.start(server.addr)
  client = server.client({ addr: middle.addr })
})
beforeEach(() => {
  middle.seen.length = 0
  middle.handle = () => undefined
})
after(async () => {
  await server.close()
  await middle.close()
})

type Body = string | Buffer
const paths = () => middle.seen.map(({ path }) => path)
const answering = (status: number, body: Body, headers: Record<string, string> = {}) => {
  middle.seen.length = 0
  middle.handle = ({ path, answer }) => (path === '/acquire' ? answer(status, body, headers) : undefined)
}
const problem = (code: string) => JSON.stringify({ code })
const big = JSON.stringify({ code: 'locked', token: 1, waited: 0, expires_in: null, more: 'x'.repeat(1_200_000) })

const ownWord: Record<number, string> = {
  400: 'invalid_request',
  401: 'unauthorized',
  413: 'too_large',
  431: 'too_large',
  500: 'internal',
}
const raised = [
  ...[201, 203, 204, 206, 226, 300, 301, 302, 303, 304, 307, 308],
  ...Array.from({ length: 32 }, (_, i) => 400 + i),
  ...[451, 499, 500, 501, 505, 506, 507, 508, 510, 511, 599],
]

test('without a code each status means the same whatever the body is, is raised at once, and is named in the message', async () => {
  const bodies: Body[] = [
    '<html>',
    '',
    '[]',
    '{"code": 5}',
    '{"code": ""}',
    '"code"',
    Buffer.from('{"code":"locked\xff"}', 'latin1'),
  ]
  for (const [i, status] of raised.entries()) {
    const code = ownWord[status] ?? 'connection_failed'
    answering(status, bodies[i % bodies.length] as Body, { location: `http://${server.addr}/acquire` })
    await assert.rejects(client.acquire('x', { timeout: 5 }), (error: Error & { code: string; status: number }) => {
      assert.deepEqual([error.code, error.status], [code, status])
      const hint = status === 407 ? 'does a proxy before it ask for a password?' : 'is this the address of a lockserver?'
      assert.equal(error.message, `acquire "x": ${middle.addr} answered ${status} without a lockserver's code: ${hint}`)
      return true
    })
    // What a stranger did with the request is not known.
    assert.deepEqual(
      paths(),
      code === 'connection_failed' || status >= 500 ? ['/acquire', '/release'] : ['/acquire'],
      `${status}`,
    )
  }
})

test('a problem that is too large, or below 400, has no code', async () => {
  for (const [status, body] of [
    [409, big],
    [302, problem('locked')],
    [204, ''],
  ] as const) {
    answering(status, body)
    await assert.rejects(client.acquire('x', { blocking: false }), { code: 'connection_failed', status })
  }
})

test('the code decides over the status; one that is not known is retried by its status', async () => {
  for (const [status, code, expected] of [
    [429, 'too_many_locks', { name: 'TooManyLocksError', status: 429 }],
    [503, 'too_many_waiters', { name: 'TooManyWaitersError', status: 503 }],
    [500, 'internal', { name: 'InternalError' }],
    [418, 'brand_new', { name: 'LockserverError', code: 'brand_new', message: 'acquire "x": brand_new (status 418)' }],
    [404, 'constructor', { name: 'LockserverError', code: 'constructor' }],
  ] as const) {
    answering(status, problem(code))
    await assert.rejects(client.acquire('x', { timeout: 5 }), expected)
    assert.equal(paths().filter((path) => path === '/acquire').length, 1, code)
  }
  for (const [status, body] of [
    [502, '<html>'],
    [503, problem('brand_new')],
    [504, big],
    [500, problem('draining')],
  ] as const) {
    let failed = false
    middle.handle = ({ answer }) => {
      if (!failed) answer(status, body)
      failed = true
    }
    await (await client.acquire('x', { timeout: 5 })).release()
    assert.ok(failed)
  }
})

test('a success that is of no use is connection_failed at once, says why, and its id is cancelled', async () => {
  const granted = { token: 7, waited: 0, expires_in: 30 }
  for (const [status, body, why] of [
    [200, '<html>welcome to the hotel</html>', 'with no JSON object'],
    [200, '', 'with no JSON object'],
    [200, '[]', 'with no JSON object'],
    [200, 'null', 'with no JSON object'],
    [200, Buffer.from(JSON.stringify({ ...granted, owner: '\xff' }), 'latin1'), 'with no JSON object'],
    [200, `\uFEFF${JSON.stringify(granted)}`, 'with no JSON object'],
    [200, big, 'with more than 1048576 bytes'],
    [200, '{"ok":true}', 'without "token"'],
    [200, JSON.stringify({ ...granted, token: '7' }), 'with an unusable "token"'],
    [200, JSON.stringify({ ...granted, token: 7.5 }), 'with an unusable "token"'],
    [200, JSON.stringify({ ...granted, expires_in: undefined }), 'without "expires_in"'],
    [200, JSON.stringify({ ...granted, waited: null }), 'with an unusable "waited"'],
    [200, JSON.stringify({ ...granted, token: 0 }), 'with an unusable "token"'],
    [200, JSON.stringify({ ...granted, waited: -1 }), 'with an unusable "waited"'],
    [200, JSON.stringify({ ...granted, expires_in: '30' }), 'with an unusable "expires_in"'],
    [202, '{}', 'without "position"'],
  ] as const) {
    answering(status, body)
    await assert.rejects(client.acquire('portal', { timeout: 5 }), {
      code: 'connection_failed',
      status,
      message: `acquire "portal": ${middle.addr} answered ${status} ${why}: is this the address of a lockserver?`,
    })
    assert.deepEqual(paths(), ['/acquire', '/release'])
  }
})

test('release and renew are no more gullible', async () => {
  const lock = await client.acquire('gullible', { expire: 30 })
  middle.handle = ({ path, answer }) => answer(path === '/renew' ? 202 : 200, '{"token":1,"waited":0,"expires_in":30}')
  await assert.rejects(lock.renew(), { code: 'connection_failed', status: 202 })
  await assert.rejects(lock.release(), { code: 'connection_failed', message: /answered 200 without "outcome"/ })
  lock.check()
  middle.handle = () => undefined
  assert.equal(await lock.release(), true)
})

const timedOut = async (call: Promise<unknown>): Promise<LockTimeoutError> => {
  const error = await call.then(
    () => assert.fail('it was granted'),
    (error) => error,
  )
  assert.equal(error.code, 'lock_timeout')
  return error
}

test('a time-out says who holds the lock, and that it may be this very client', async () => {
  const other = server.client({ owner: 'night-job' })
  const held = await other.acquire('wanted')
  for (const timeout of [0, 0.2]) {
    const { message, holders, holdersTotal } = await timedOut(client.acquire('wanted', { timeout }))
    assert.match(message, new RegExp(`^resource "wanted" was not granted within ${timeout} s: held by night-job`))
    assert.deepEqual([holders[0]?.owner, holders[0]?.token, holdersTotal], ['night-job', held.token, 1])
  }
  await held.release()

  const own = await client.acquire('wanted')
  assert.match((await timedOut(client.acquire('wanted', { timeout: 0 }))).message, /, which is this very client$/)
  await own.release()
})

test('a time-out after a 202 with holders says for how long they have held the lock, and how many they are', async () => {
  const holder = (owner: string, held_for: number) => ({ owner, token: 7, held_for, expires_in: null })
  for (const [holders, total, said] of [
    [[holder('a', 12.34)], 1, 'held by a for 12 s'],
    [[holder('a', 1.26)], 1, 'held by a for 1.3 s'],
    [[holder('a', 0), holder('b', 1)], 2, 'held by a for 0 s and 1 other'],
    [[holder('a', 100)], 3, 'held by a for 100 s and 2 others'],
    [[holder('a', 1), holder(client.owner, 60)], 2, `held by ${client.owner} for 60 s, which is this very client and 1 other`],
  ] as const) {
    const body = { id: 'x', position: 1, place_kept: 10, holders, holders_total: total, waiters: 4 }
    answering(202, JSON.stringify(body))
    const error = await timedOut(client.acquire('parked', { timeout: 0.05 }))
    assert.equal(error.message, `resource "parked" was not granted within 0.05 s: ${said}`)
    assert.equal(error.waiters, 4)
    assert.deepEqual(error.holders[0], { owner: 'a', token: 7, heldFor: holders[0].held_for, expiresIn: null })
  }
})

test('a time-out says what was wrong with the server', async () => {
  answering(503, problem('draining'))
  assert.equal(
    (await timedOut(client.acquire('x', { timeout: 0.1 }))).message,
    `resource "x" was not granted within 0.1 s: ${middle.addr} answered 503 draining`,
  )
  answering(502, '<html>')
  assert.match((await timedOut(client.acquire('x', { timeout: 0.1 }))).message, /answered 502$/)
  const nobody = server.client({ addr: '127.0.0.1:1' })
  assert.equal(
    (await timedOut(nobody.acquire('x', { timeout: 0.1 }))).message,
    'resource "x" was not granted within 0.1 s: connection refused by 127.0.0.1:1',
  )
  middle.handle = () => new Promise(() => undefined)
  const silent = server.client({ addr: middle.addr, ...testing({ figures: { cleanup: 100, abandon: 1 } }) })
  assert.match(
    (await timedOut(silent.acquire('x', { timeout: 0.1 }))).message,
    /: no answer from 127\.0\.0\.1:\d+ within 0\.35 s$/,
  )
})

test('a server that speaks no HTTP, or echoes what it is told, is named, and the secret is in no error', async () => {
  const echo = createServer((socket) => socket.unref().pipe(socket))
    .listen(0, '127.0.0.1')
    .unref()
  await once(echo, 'listening')
  const { port } = echo.address() as { port: number }
  const error = await timedOut(server.client({ addr: `127.0.0.1:${port}` }).acquire('x', { timeout: 0.1 }))
  assert.match(error.message, /: 127\.0\.0\.1:\d+ does not speak HTTP$/)
  assert.ok(!inspect(error, { showHidden: true, depth: 9 }).includes(secret))
  const proxied = await timedOut(server.client({ proxy: `http://me:hunter2@127.0.0.1:${port}` }).acquire('x', { timeout: 0.1 }))
  assert.match(proxied.message, /: the proxy 127\.0\.0\.1:\d+ does not speak HTTP$/)
  assert.ok(!inspect(proxied, { showHidden: true, depth: 9 }).includes(Buffer.from('me:hunter2').toString('base64')))
  echo.close()

  answering(400, JSON.stringify({ code: 'invalid_request', detail: `what is ${secret}?`, field: secret }))
  await assert.rejects(client.acquire('x'), (error) => {
    assert.ok(!inspect(error, { showHidden: true, depth: 9 }).includes(secret))
    return true
  })
})

test('a name that is not found is retried, for it may be there soon', async () => {
  const lost = server.client({ addr: 'nowhere.invalid' })
  const { message } = await timedOut(lost.acquire('x', { timeout: 0.3 }))
  assert.match(message, /: the host of nowhere\.invalid:8080 was not found$/)
})

const secure = new Certificate()
after(() => secure.remove())

test('with a proxy every connection is tunnelled through it, with TLS and without', async () => {
  const proxy = await TestTunnel.start()
  const tls = await TestServer.start('memory', secure.args)
  for (const [to, options] of [
    [server, {}],
    [tls, { addr: `https://${tls.addr}`, tls: { ca: secure.pem } }],
  ] as const) {
    proxy.seen.length = 0
    const through = to.client({ proxy: `http://me:p%40ss@${proxy.addr}`, ...options })
    const lock = await through.acquire('tunnelled', { expire: 30, renew: true })
    await lock.renew()
    assert.equal(await lock.release(), true)
    const authorization = `Basic ${Buffer.from('me:p@ss').toString('base64')}`
    for (const seen of proxy.seen) assert.deepEqual(seen, { target: to.addr, authorization })
    assert.ok(proxy.seen.length > 0)
    await through.close()
  }
  await tls.close()
  await proxy.close()
})

test('a proxy that opens no tunnel is named; only 502, 503 and 504 are tried again', async () => {
  const proxy = await TestTunnel.start()
  const through = server.client({ proxy: `http://me:hunter2@${proxy.addr}` })
  for (const [status, why] of [
    [407, ': it wants another user or password'],
    [403, ''],
    [500, ''],
  ] as const) {
    proxy.answers = [status]
    await assert.rejects(through.acquire('x', { timeout: 5 }), {
      code: 'connection_failed',
      message: `acquire "x": the proxy ${proxy.addr} answered ${status}${why}`,
    })
  }
  proxy.answers = [503, 502, 504]
  await (await through.acquire('x')).release()
  assert.equal(proxy.answers.length, 0)
  const secured = server.client({ proxy: `https://${proxy.addr}` })
  await assert.rejects(secured.acquire('x', { timeout: 5 }), { message: /: the proxy .* does not speak TLS/ })
  const nobody = server.client({ proxy: 'http://me:hunter2@127.0.0.1:1' })
  assert.match(
    (await timedOut(nobody.acquire('x', { timeout: 0.1 }))).message,
    /: connection refused by the proxy 127\.0\.0\.1:1$/,
  )
})

test('a proxy that says nothing is bounded like any connection', async () => {
  const mute = createServer((socket) => socket.unref())
    .listen(0, '127.0.0.1')
    .unref()
  await once(mute, 'listening')
  const proxy = `http://127.0.0.1:${(mute.address() as { port: number }).port}`
  const through = server.client({ proxy, ...testing({ figures: { connect: 100 } }) })
  assert.match((await timedOut(through.acquire('x', { timeout: 0.25 }))).message, /no tunnel within 0\.1 s/)
  mute.close()
})

test('the proxies of the environment are not followed', async () => {
  const names = ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy', 'NODE_USE_ENV_PROXY']
  for (const name of names) process.env[name] = name.startsWith('NODE') ? '1' : 'http://127.0.0.1:1'
  try {
    await (await server.client().acquire('direct', { timeout: 5 })).release()
  } finally {
    for (const name of names) delete process.env[name]
  }
})
