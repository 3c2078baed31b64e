import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, test } from 'node:test'
import { LockserverClient } from 'lockserver-client'
import { testing } from './support/clock.js'
import { secret, TestServer } from './support/server.js'
import { eventually, sleep } from './support/wait.js'

type Stream = (response: ServerResponse, request: IncomingMessage) => void

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** A client of a server whose streams the test writes: the first answers the first request, and so on, the last all others. */
async function streams(figures: Record<string, number>, ...each: Stream[]): Promise<LockserverClient> {
  let asked = 0
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'text/event-stream')
    ;(each[Math.min(asked++, each.length - 1)] as Stream)(response, request)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  ends.push(
    () => server.closeAllConnections(),
    () => server.close(),
  )
  const addr = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const client = new LockserverClient({ addr, secret, dotenv: false, ...testing({ figures }) })
  ends.push(() => client.close())
  return client
}

const writes =
  (text: string): Stream =>
  (response) =>
    response.end(text)

const granted = (number: number) =>
  `id: ${number}\nevent: granted\ndata: {"event":${number},"kind":"granted","resource":"r","owner":"o","token":7}\n\n`

async function served(...args: string[]): Promise<TestServer> {
  const server = await TestServer.start('memory', args)
  ends.push(() => server.close())
  return server
}

/** Resolves once somebody reads events. */
function read(server: TestServer): Promise<void> {
  return eventually('a reader', async () => {
    const metrics = await fetch(`http://${server.addr}/metrics`, { headers: { 'x-lockserver-secret': secret } })
    return /^lockserver_event_readers 1$/m.test(await metrics.text())
  })
}

test('goes on behind what it has heard of last, be it an event or not, after a cut or silence', async () => {
  const last: unknown[] = []
  const resuming =
    (next: Stream): Stream =>
    (response, request) => {
      last.push(request.headers['last-event-id'])
      next(response, request)
    }
  const client = await streams(
    { sessionPing: 20 },
    resuming(writes(`:\nid: 4\n\n${granted(5)}id: 6\nevent: granted\ndata: {`)),
    resuming(writes(':\r\nid: 8\r\n\r\n')),
    resuming((response) => response.flushHeaders()),
    resuming(writes('id: 11\nevent: gap\ndata: {"kind":"gap","missed":3}\n\nevent: gap\ndata: {"kind":"gap","missed":null}\n\n')),
    resuming(writes(`event: draining\ndata: {"kind":"draining"}\n\n${granted(12)}`)),
  )
  const got: string[] = []
  for await (const event of client.watch()) {
    got.push(event.kind === 'gap' ? `gap ${event.missed}` : `${event.kind} ${event.number}`)
    if (got.length === 4) break
  }
  assert.deepEqual(got, ['granted 5', 'gap 3', 'gap null', 'granted 12'])
  assert.deepEqual(last, [undefined, '5', '8', '8', '11'])
})

test('what no retry can mend ends it: an answer that is no stream, one that is no event, a wrong secret', async () => {
  for (const [stream, message] of [
    [writes('data: {\n\n'), /sent what is no event/],
    [writes(`data: ${'x'.repeat(2 ** 20)}`), /sent a line of more than 1048576 bytes/],
    [
      (r: ServerResponse) => r.setHeader('content-type', 'text/html').end('<html>'),
      /200 with no JSON object: is this the address/,
    ],
    [
      (r: ServerResponse) => r.setHeader('content-type', 'application/json').end('{}'),
      /200 without "event": is this the address/,
    ],
  ] as [Stream, RegExp][]) {
    const client = await streams({}, stream)
    await assert.rejects(client.watch('jobs/').next(), { code: 'connection_failed', message })
  }
  const server = await served()
  await assert.rejects(server.client({ secret: 'another-secret-0123456' }).watch().next(), { code: 'unauthorized' })
  await assert.rejects(server.client().watch('x'.repeat(2000)).next(), { code: 'invalid_request', field: 'prefix' })
  await assert.rejects(
    server
      .client()
      .watch(7 as never)
      .next(),
    { message: /prefix must be a string, not 7/ },
  )
  await assert.rejects(
    server
      .client()
      .watch('', { kinds: 'x' } as never)
      .next(),
    { message: /unknown option "kinds"/ },
  )
})

test('gives up once nobody has answered for long enough', async () => {
  const client = await streams({ silence: 100 }, (response) => response.destroy())
  await assert.rejects(client.watch().next(), { code: 'connection_failed', message: /connection closed by 127/ })
})

for (const transport of ['session', 'http'] as const) {
  test(`tells what happens on a real server, as it happens, by ${transport}`, async () => {
    const server = await served()
    const client = server.client({ transport, owner: 'me' })
    const events = client.watch('jobs/')
    const first = events.next()
    await read(server)
    const lock = await client.acquire('jobs/é', { expire: 60, note: 'why' })
    const { value } = await first
    assert.ok(value && value.kind === 'granted')
    const { number, time, id, expiresIn, waited, ...others } = value
    assert.ok(number > 0 && Math.abs(time.getTime() - Date.now()) < 60_000 && typeof id === 'string')
    assert.ok(expiresIn !== null && expiresIn > 0 && waited !== null)
    const absent = { limit: null, heldFor: null, why: null, by: null }
    assert.deepEqual(others, {
      ...{ kind: 'granted', resource: 'jobs/é', owner: 'me', token: lock.token, note: 'why', mode: 'exclusive', waiters: 0 },
      ...absent,
    })
    await (await client.acquire('other')).release()
    await lock.release()
    const { value: second } = await events.next()
    assert.ok(second && second.kind === 'released' && second.heldFor !== null && second.number > number)
    await events.return()
    await eventually('no reader', async () => {
      const metrics = await fetch(`http://${server.addr}/metrics`, { headers: { 'x-lockserver-secret': secret } })
      return /^lockserver_event_readers 0$/m.test(await metrics.text())
    })
  })
}

test('ends with its signal, and with its client', async () => {
  const server = await served()
  const client = server.client()
  const abort = new AbortController()
  const reason = new Error('enough')
  const aborted = assert.rejects(client.watch('', { signal: abort.signal }).next(), (error) => error === reason)
  await read(server)
  abort.abort(reason)
  await aborted
  await assert.rejects(client.watch('', { signal: abort.signal }).next(), (error) => error === reason)
  const closed = assert.rejects(client.watch().next(), { code: 'connection_failed', message: /the client is closed/ })
  const pending = client.watch()
  const begun = pending.next()
  const also = assert.rejects(begun, { message: /the client is closed/ })
  await client.close()
  await Promise.all([closed, also])
  await assert.rejects(client.watch().next(), { code: 'connection_failed' })
})

test('a loop that is slow leaves in the connection what it cannot take, and misses nothing by itself', async () => {
  const all = 15_000
  let written = 0
  const client = await streams({}, (response) => {
    const more = () => {
      while (written < all && response.write(granted(++written).replace('"o"', `"${'o'.repeat(1500)}"`)));
      if (written < all) response.once('drain', more)
    }
    more()
  })
  const events = client.watch()
  await events.next()
  let before = 0
  await eventually('a stream that is stuck', async () => {
    const stuck = written === before
    before = written
    if (!stuck) await sleep(200)
    return stuck
  })
  assert.ok(written < all, 'all was read ahead of the loop')
  let last = 1
  while (last < all) {
    const { value } = await events.next()
    assert.ok(value && value.kind === 'granted' && value.number === last + 1)
    last = value.number
  }
  await events.return()
})
