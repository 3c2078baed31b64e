import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { LockserverClient, type LockserverClientOptions } from 'lockserver-client'
import { testing } from './support/clock.js'
import { Middle } from './support/middle.js'
import { frame, RawServer } from './support/raw.js'
import { secret, TestServer } from './support/server.js'
import { eventually, sleep } from './support/wait.js'

async function start(t: TestContext, options: LockserverClientOptions = {}) {
  const raw = await RawServer.start()
  const client = new LockserverClient({ addr: raw.addr, secret, dotenv: false, transport: 'session', ...options })
  t.after(async () => {
    await client.close()
    raw.close()
  })
  return { raw, client }
}

const granted = (seq: number, more = {}) => JSON.stringify({ seq, status: 200, token: seq, waited: 0, expires_in: null, ...more })

test('messages are put together however they are cut', async (t) => {
  const { raw, client } = await start(t)
  for (const cut of [1, 2, 3, 7, 130, 70_000]) {
    raw.on = async (requests, { socket }) => {
      socket.setNoDelay(true)
      // Each as a frame with a header of another length, or in fragments with a ping between them.
      const answers = requests.map(({ seq }, i) => granted(seq, { pad: 'ä'.repeat([0, 100, 40_000][i % 3] as number) }))
      const [first = ''] = answers
      const bytes = Buffer.concat([
        frame(1, first.slice(0, 5), { last: false }),
        frame(9, 'between'),
        frame(0, first.slice(5, 5), { last: false }),
        frame(0, first.slice(5)),
        ...answers.slice(1).map((answer) => frame(1, answer)),
      ])
      for (let at = 0; at < bytes.length; at += at < 400 ? cut : 70_000) {
        socket.write(bytes.subarray(at, at + (at < 400 ? cut : 70_000)))
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    await Promise.all(Array.from({ length: 6 }, (_, i) => client.acquire(`cut-${i}`)))
    raw.on = (requests, session) => session.grant(requests)
    await Promise.all(Array.from({ length: 6 }, (_, i) => client.release(`cut-${i}`)))
  }
  assert.equal(raw.sessions.length, 1)
  assert.deepEqual([...new Set(raw.last.pongs)], ['between'])
})

const nonsense: Record<string, Buffer> = {
  'a binary message': frame(2, '{}'),
  'a masked frame': Buffer.from([129, 130, 0, 0, 0, 0, 123, 125]),
  'a frame of an extension': Buffer.from([193, 2, 123, 125]),
  'an opcode that is none': frame(3, '{}'),
  'a ping in fragments': frame(9, '', { last: false }),
  'a ping that is too long': Buffer.concat([Buffer.from([137, 126, 0, 126]), Buffer.alloc(126)]),
  'a fragment of nothing': frame(0, '{}'),
  'a message within another': Buffer.concat([frame(1, '[', { last: false }), frame(1, '{}')]),
  'a message that is too large': Buffer.from([129, 127, 0, 0, 0, 1, 0, 0, 0, 0]),
  'what is no UTF-8': frame(1, Buffer.from([34, 255, 34])),
  'what is no JSON': frame(1, '{"seq":'),
  'what is no object': frame(1, '[1]'),
  'an answer to nothing': frame(1, '{}'),
  'the end of the session': frame(8, Buffer.from([3, 232])),
  'nothing more': Buffer.alloc(0),
}

test('whatever else comes ends the session, and what is unanswered is asked for again by its id', async (t) => {
  const { raw, client } = await start(t)
  for (const [what, bytes] of Object.entries(nonsense)) {
    const before = raw.sessions.length
    const first = client.acquire('answered')
    await first
    raw.on = (_, { socket }) => (bytes.length > 0 ? socket.write(bytes) : socket.end())
    const asked = raw.requests.length
    const waiting = client.acquire('asked-again', { timeout: 20 })
    await eventually(`it was asked for: ${what}`, () => raw.requests.length > asked)
    raw.on = (requests, session) => session.grant(requests)
    await waiting
    const ids = raw.requests.slice(asked).map(({ id }) => id)
    assert.ok(ids.length >= 2 && new Set(ids).size === 1, what)
    assert.ok(raw.sessions.length > Math.max(before, 1), what)
    await client.release('asked-again')
    await client.release('answered')
  }
})

test('members and events that this version does not know are ignored, as are answers that nobody waits for', async (t) => {
  const { raw, client } = await start(t)
  raw.on = (requests, session) => {
    session.send([{ event: 'draining' }, { event: 'shiny' }, { seq: 999_999, status: 200 }])
    for (const { seq } of requests) session.send(JSON.parse(granted(seq, { shiny: [] })))
  }
  await client.acquire('newer')
  assert.equal(raw.sessions.length, 1)
})

test('what is asked for in one turn goes out as one message, up to its largest', async (t) => {
  const { raw, client } = await start(t)
  await client.acquire('first')
  const all = Array.from({ length: 2500 }, (_, i) => client.acquire(`many-${i}`))
  await Promise.all(all)
  assert.deepEqual(
    raw.last.messages.slice(1).map(({ length }) => length),
    [1024, 1024, 452],
  )
  const before = raw.last.messages.length
  await Promise.all(Array.from({ length: 1000 }, (_, i) => client.acquire(`wide-${i}`, { note: '€'.repeat(340) })))
  const wide = raw.last.messages.slice(before)
  assert.equal(wide.flat().length, 1000)
  for (const requests of wide) assert.ok(Buffer.byteLength(JSON.stringify(requests)) <= 1024 * 1024)
  assert.ok(wide.length > 1)
})

test('what is given up in the turn in which it was asked for is never sent', async (t) => {
  const { raw, client } = await start(t)
  await client.acquire('first')
  const abort = new AbortController()
  const call = client.acquire('never', { signal: abort.signal })
  abort.abort()
  await assert.rejects(call, { name: 'AbortError' })
  await client.acquire('last')
  assert.deepEqual(
    raw.requests.map(({ resource }) => resource),
    ['first', 'last'],
  )
})

test('a connection that went dead without a word is noticed by its pings, and what waited is asked for again', async (t) => {
  const { raw, client } = await start(t, testing({ figures: { sessionPing: 60 } }))
  await client.acquire('first')
  raw.on = () => undefined
  const waiting = client.acquire('half-open')
  await eventually('another session', () => raw.sessions.length > 1 && raw.last.requests.length > 0)
  assert.ok((raw.sessions[0]?.pings ?? 0) >= 2)
  const [request] = raw.last.requests
  assert.equal(request?.id, raw.sessions[0]?.requests[1]?.id)
  raw.on = (requests, session) => session.grant(requests)
  if (request !== undefined) raw.last.grant([request])
  await waiting
})

test('a server that only answers pings lives: a wait without a limit goes on', async (t) => {
  const { raw, client } = await start(t, testing({ figures: { sessionPing: 40, silence: 200, silenceQueued: 200, answer: 200 } }))
  const held = await client.acquire('first', { timeout: 20 })
  let parked: Parameters<RawServer['on']>[0] = []
  raw.on = (requests) => {
    parked = requests
  }
  const { last } = raw
  last.socket.on('data', () => last.socket.write(frame(10, '')))
  const waiting = client.acquire('patient')
  await eventually('many pings', () => last.pings >= 12)
  assert.equal(raw.sessions.length, 1)
  last.grant(parked)
  await waiting
  raw.on = (requests, session) => session.grant(requests)
  await held.release()
})

test('however many wait, one session at a time is asked for', async (t) => {
  let now = 0
  let most = 0
  let asked = 0
  const http = createServer()
  http.on('upgrade', (_, socket) => {
    asked++
    most = Math.max(most, ++now)
    socket.on('error', () => undefined)
    setTimeout(() => {
      now--
      socket.destroy()
    }, 5)
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  const addr = `127.0.0.1:${(http.address() as AddressInfo).port}`
  const client = new LockserverClient({
    addr,
    secret,
    dotenv: false,
    ...testing({ figures: { backoffFirst: 10, backoffMost: 20 } }),
  })
  const calls = Array.from({ length: 1000 }, (_, i) => client.acquire(`storm-${i}`))
  const ended = Promise.all(calls.map((call) => assert.rejects(call, { code: 'connection_failed', message: /closed/ })))
  await eventually('a number of tries', () => asked >= 8)
  await client.close()
  await ended
  assert.equal(most, 1)
  t.after(() => http.close())
})

test('waits come back after a server that was killed, each once', async (t) => {
  const server = await TestServer.start('disk')
  t.after(() => server.close())
  const client = server.client({ transport: 'session' })
  const other = server.client()
  const held = await other.acquire('killed')
  let inside = 0
  const flows = Array.from({ length: 20 }, async () => {
    const lock = await client.acquire('killed')
    assert.equal(++inside, 1)
    await new Promise((resolve) => setImmediate(resolve))
    inside--
    return (await lock.release()) && lock.token
  })
  await server.waiters('killed', 20)
  await server.stop('SIGKILL')
  await server.start()
  await server.waiters('killed', 20)
  await held.release()
  const tokens = await Promise.all(flows)
  assert.equal(new Set(tokens).size, 20)
  assert.equal(await server.look('killed'), undefined)
})

test('cut all the time: each lock has one holder, and in the end none is left', async (t) => {
  const server = await TestServer.start()
  const middle = await Middle.start(server.addr)
  t.after(async () => {
    await server.close()
    await middle.close()
  })
  middle.upgrades = 'pass'
  const client = server.client({ transport: 'session', addr: middle.addr })
  const rooms = Array.from({ length: 8 }, (_, i) => ({ resource: `cuts-${i}`, inside: 0, visits: 0 }))
  const end = performance.now() + Number(process.env.SOAK_SECONDS ?? 3) * 1000
  const cuts = (async () => {
    for (; performance.now() < end; await sleep(100)) middle.cut()
  })()
  await Promise.all(
    Array.from({ length: 64 }, async (_, flow) => {
      const room = rooms[flow % rooms.length] as (typeof rooms)[0]
      do {
        const lock = await client.acquire(room.resource, { expire: 60, renew: true })
        assert.equal(++room.inside, 1)
        await new Promise((resolve) => setImmediate(resolve))
        room.visits++
        room.inside--
        // A release has 5 seconds, which a slow machine may spend on sessions that are cut under it.
        const again = (error: { code?: string }) => {
          assert.equal(error.code, 'connection_failed')
          return lock.release()
        }
        assert.equal(await lock.release().catch(again).catch(again), true)
      } while (performance.now() < end)
    }),
  )
  await cuts
  assert.ok(rooms.every(({ visits }) => visits >= 8))
  await eventually('nothing is held', async () => ((await server.call('GET', '/locks')).body.locks as unknown[]).length === 0)
  if (process.env.SOAK_SECONDS) console.log(`${rooms.reduce((sum, { visits }) => sum + visits, 0)} visits`)
})
