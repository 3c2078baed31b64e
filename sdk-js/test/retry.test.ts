// What the client does with outcomes, whatever carries its requests.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LockLostError, type LockserverError } from 'lockserver-client'
import { answer, problem, Script, silence, unknown, unsent } from './support/script.js'
import { eventually, seconds, sleep } from './support/wait.js'

const reason = new Error('changed my mind')
const queued = (more = {}) => answer(202, { position: 1, place_kept: 10, ...more })
const notHeld = (reason: string) => problem(409, 'not_held', { reason })

test('a lock comes and goes by whatever transport there is', async () => {
  const script = new Script()
  const client = script.client({ owner: 'me' })
  await client.withLock('seam', { note: 'x' }, (lock) => lock.renew(60))
  assert.deepEqual(
    script.seen.map(({ operation, request, fresh, background }) => ({ operation, request, fresh, background })),
    [
      ['acquire', { resource: 'seam', owner: 'me', id: script.seen[0]?.request.id, expire: 30, wait: 10, note: 'x' }],
      ['renew', { resource: 'seam', owner: 'me', id: script.seen[0]?.request.id, token: 1, expire: 60 }],
      ['release', { resource: 'seam', owner: 'me', token: 1 }],
    ].map(([operation, request]) => ({ operation, request, fresh: false, background: false })),
  )
  await client.close()
  assert.ok(script.closed)
})

test('the first retry comes at once, the next ones after pauses that double up to the longest; Retry-After is a minimum', async () => {
  const script = new Script((_, count) => (count <= 6 ? [unknown, unsent, problem(503, 'draining')][count % 3] : undefined))
  await script.client({}, { backoffFirst: 40, backoffMost: 100, backoffJitter: 0 }).acquire('x')
  const pauses = script.seen.slice(1).map(({ at }, i) => at - (script.seen[i]?.at as number))
  for (const [i, least] of [0, 40, 80, 100, 100, 100].entries()) {
    assert.ok((pauses[i] as number) >= least - 2, `pause ${i} took ${pauses[i]} ms`)
  }
  assert.deepEqual(
    script.seen.map(({ fresh }) => fresh),
    [false, true, true, true, true, true, true],
  )
  assert.equal(new Set(script.seen.map(({ request }) => request.id)).size, 1)

  const asked = new Script((_, count) => (count === 1 ? answer(503, { code: 'store_unavailable' }, 300) : undefined))
  await asked.client().acquire('x')
  assert.ok((asked.seen[1]?.at as number) - (asked.seen[0]?.at as number) >= 298)
})

test('what no retry can mend is thrown at once, and cancelled only if it may have taken effect', async () => {
  for (const [outcome, operations] of [
    [{ ...unsent, permanent: true }, ['acquire']],
    [{ ...unknown, permanent: true }, ['acquire', 'release']],
    [problem(400, 'invalid_request'), ['acquire']],
    [problem(500, 'internal'), ['acquire', 'release']],
  ] as const) {
    const script = new Script(({ operation }) => (operation === 'acquire' ? outcome : undefined))
    await assert.rejects(script.client().acquire('x', { timeout: 5 }))
    assert.deepEqual(script.operations, operations)
  }
})

test('the error of a call that ran out of time tells what went wrong before that', async () => {
  const script = new Script((_, count) => (count === 1 ? problem(503, 'draining') : silence))
  await assert.rejects(script.client({}, { silence: 150, cleanup: 50 }).acquire('told'), (error: LockserverError) => {
    assert.equal(error.message, 'acquire "told": no usable answer in time: memory answered 503 draining')
    assert.equal((error.cause as LockserverError).code, 'draining')
    return true
  })
})

test('a server that is silent is bounded, too; once queued, the longer bound holds', async () => {
  const figures = { silence: 200, silenceQueued: 500, hop: 20, cleanup: 50 }
  for (const [places, least] of [
    [0, 0.2],
    [2, 0.5],
  ] as const) {
    const script = new Script((_, count) => (count > places ? silence : sleep(20).then(() => queued())))
    const from = performance.now()
    await assert.rejects(script.client({}, figures).acquire('silent'), { code: 'connection_failed' })
    assert.ok(seconds(from) >= least - 0.01 && seconds(from) < 8, `took ${seconds(from)} s, and an answer may take 10`)
  }
})

test('an answer "still queued" that comes at once is not followed by another request at once', async () => {
  const script = new Script((_, count) => (count < 5 ? queued() : undefined))
  const from = performance.now()
  await script.client({}, { backoffFirst: 40, backoffJitter: 0, shortestHop: 5000 }).acquire('busy')
  assert.ok(seconds(from) >= 0.1, `took ${seconds(from)} s, of which the pauses are 280 ms`)
})

test('a refusal does not settle an earlier attempt that got no answer: its id is cancelled', async () => {
  for (const [first, operations] of [
    [unknown, ['acquire', 'acquire', 'release']],
    [unsent, ['acquire', 'acquire']],
    [problem(503, 'store_unavailable'), ['acquire', 'acquire', 'release']],
    [problem(503, 'draining'), ['acquire', 'acquire', 'release']],
  ] as const) {
    const script = new Script(({ operation }, count) => {
      if (operation === 'acquire') return count === 1 ? first : problem(409, 'locked')
      return undefined
    })
    assert.equal(await script.client().acquire('refused-late', false), null)
    assert.deepEqual(script.operations, operations)
    assert.equal(script.seen.at(-1)?.request.id, script.seen[0]?.request.id)
  }
})

test('an id that was used up, and a grant that is too old when it comes, are followed by another id', async () => {
  const used = new Script((_, count) => (count === 1 ? problem(409, 'id_used') : undefined))
  await used.client().acquire('x')
  assert.notEqual(used.seen[0]?.request.id, used.seen[1]?.request.id)

  const stale = new Script((_, count) => {
    if (count === 1) stale.clock.ahead.monotonic += 60_000
    return undefined
  })
  const lock = await stale.client().acquire('stale', { expire: 60 })
  assert.deepEqual(stale.operations, ['acquire', 'release', 'acquire'])
  assert.equal(stale.seen[1]?.request.id, stale.seen[0]?.request.id)
  assert.notEqual(stale.seen[2]?.request.id, stale.seen[0]?.request.id)
  lock.check()
})

test('aborted before the call: nothing is sent', async () => {
  const script = new Script()
  const client = script.client()
  await assert.rejects(client.acquire('before', { signal: AbortSignal.abort(reason) }), (error) => error === reason)
  await assert.rejects(client.acquire('before', { signal: AbortSignal.abort() }), { name: 'AbortError' })
  assert.equal(script.seen.length, 0)
})

test('aborted between retries: rejects at once', async () => {
  const abort = new AbortController()
  const script = new Script(({ operation }) => {
    if (operation === 'acquire') setTimeout(() => abort.abort(reason), 20)
    return operation === 'acquire' ? { ...unsent, retryAfter: 20_000 } : undefined
  })
  const from = performance.now()
  await assert.rejects(script.client().acquire('resting', { signal: abort.signal }), (error) => error === reason)
  assert.ok(seconds(from) < 10, `took ${seconds(from)} s, and the rest 20`)
  assert.deepEqual(script.operations, ['acquire'])
})

test('aborted where nothing answers: rejects soon, and the attempt is ended when the cancel is', async () => {
  const abort = new AbortController()
  const script = new Script(() => silence)
  const client = script.client({}, { cleanup: 600, abandon: 10 })
  const call = client.acquire('silent', { signal: abort.signal })
  abort.abort(reason)
  await assert.rejects(call, (error) => error === reason)
  assert.equal(script.seen[0]?.aborted, false, 'the server may still answer it before it hears of the cancel')
  await client.close()
  assert.equal(script.seen[0]?.aborted, true)
})

test('a grant that was taken in while the client is closed is given back', async () => {
  const script = new Script()
  const client = script.client()
  let closing: Promise<void> | undefined
  script.handle = ({ operation }) => {
    // The clock is next read when the grant has been taken in and its lease is judged.
    script.clock.onReading = () => {
      closing ??= client.close()
    }
    return operation === 'acquire' ? sleep(5).then(() => undefined) : undefined
  }
  await assert.rejects(client.acquire('x', { expire: 30 }), { code: 'connection_failed', message: /closed/ })
  await closing
  assert.deepEqual(script.operations, ['acquire', 'release'])
})

test('not_held after an attempt that may have released counts as released, unless its reason or that attempt says otherwise', async () => {
  for (const [first, reason, released] of [
    [unknown, 'unknown', true],
    [unknown, 'other_holder', true],
    [unknown, 'evicted', false],
    [unknown, 'expired', false],
    [problem(503, 'store_unavailable'), 'unknown', true],
    [problem(503, 'draining'), 'unknown', false],
    [unsent, 'unknown', false],
  ] as const) {
    const script = new Script()
    const lock = await script.client().acquire('x', { expire: 60 })
    script.handle = (_, count) => (count === 2 ? first : notHeld(reason))
    assert.equal(await lock.release(), released, reason)
    assert.equal(script.seen.length, 3)
    assert.equal(lock.lost, !released)
    assert.equal(lock.signal.aborted, !released)
  }
})

test('a release that is called again counts as released, too, where one before it may have been the one', async () => {
  const script = new Script()
  const lock = await script.client({}, { cleanup: 100 }).acquire('called-again', { expire: 60 })
  script.handle = () => unknown
  await assert.rejects(lock.release(), { code: 'connection_failed' })
  script.handle = () => notHeld('unknown')
  assert.equal(await lock.release(), true)
  assert.equal(lock.lost, false)
})

test('a release that gets no answer ends in its bound, ends the renewal, and may be tried again', async () => {
  const script = new Script()
  // The renewal would come half-way through the bound.
  const lock = await script.client({}, { cleanup: 1000, renewPart: 60 }).acquire('bounded', { expire: 30, renew: true })
  script.handle = () => silence
  const from = performance.now()
  await assert.rejects(lock.release(), { name: 'ConnectionFailedError', code: 'connection_failed' })
  assert.ok(seconds(from) >= 0.99, `took ${seconds(from)} s`)
  assert.ok(script.seen.length > 2, 'it was tried more than once')
  script.handle = () => undefined
  await sleep(20) // a renewal would be overdue
  assert.ok(!script.operations.includes('renew'))
  lock.check()
  assert.equal(await lock.release(), true)
})

test('by owner alone, a release is sent again only while it surely never arrived', async () => {
  for (const [outcome, code] of [
    [unknown, 'connection_failed'],
    [problem(503, 'store_unavailable'), 'store_unavailable'],
    [problem(503, 'draining'), 'draining'],
    [unsent, undefined],
  ] as const) {
    const script = new Script((_, count) => (count === 1 ? outcome : undefined))
    const released = script.client().release('once')
    await (code === undefined ? released : assert.rejects(released, { code }))
    assert.equal(script.seen.length, code === undefined ? 2 : 1)
    const named = new Script((_, count) => (count === 1 ? outcome : undefined))
    await named.client().release('named', { token: 1 })
    assert.equal(named.seen.length, 2)
  }
})

test('a scope whose release gets no answer is no error by itself; with a lock that was lost, it is', async () => {
  const script = new Script()
  const client = script.client({}, { cleanup: 50 })
  const cut = () => {
    script.handle = () => unknown
    return 'done'
  }
  assert.equal(await client.withLock('unreachable', cut), 'done')
  script.handle = () => undefined
  const late = () => {
    script.clock.ahead.monotonic = 60_000
    return cut()
  }
  await assert.rejects(client.withLock('unreachable', late), { code: 'lock_lost' })
})

test('whatever goes wrong with a renewal short of not_held is no loss before the deadline', async () => {
  const trouble = [unknown, problem(503, 'draining'), problem(401, 'unauthorized'), problem(409, 'locked'), answer(200)]
  const script = new Script(({ operation }) => (operation === 'renew' ? trouble.shift() : undefined))
  const lock = await script.client().acquire('trouble', { expire: 3, renew: true })
  await eventually('a second renewal', () => script.operations.filter((operation) => operation === 'renew').length === 7)
  const renewals = script.seen.filter(({ operation }) => operation === 'renew')
  assert.ok(renewals.every(({ background, bound }) => background && bound <= 1000))
  lock.check()
  script.handle = () => notHeld('evicted')
  // Not by an event: a held lock does not keep the process alive, and here there is nothing else.
  await eventually('it is told', () => lock.signal.aborted)
  assert.ok(lock.signal.reason instanceof LockLostError)
})

test('an attempt to renew has its bound, however long the lease', async () => {
  const script = new Script()
  const lock = await script.client({}, { renewAttempt: 50 }).acquire('long', { expire: 600 })
  script.handle = (_, count) => (count === 2 ? silence : undefined)
  await lock.renew()
  assert.deepEqual(script.operations, ['acquire', 'renew', 'renew'])
})

test('a renewal that rests between two attempts ends when its client is closed', async () => {
  const script = new Script()
  const client = script.client()
  const lock = await client.acquire('resting', { expire: 600 })
  script.handle = ({ operation }) => (operation === 'renew' ? { ...unknown, retryAfter: 300_000 } : undefined)
  const renewing = assert.rejects(lock.renew(), { code: 'connection_failed', message: /closed/ })
  await eventually('it rests', () => script.seen.length === 2)
  await client.close()
  await renewing
  assert.equal(await lock.release(), true)
})
