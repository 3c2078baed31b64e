// The conformance driver of the Node.js SDK; PROTOCOL.md says what it speaks. The same for both module formats of the package.
const { createInterface } = require('node:readline')
const { format, inspect } = require('node:util')
const leaks = require('./leaks.cjs')

/** The driver's own trouble. */
class Fault extends Error {}

/** What a body throws that was told to. */
class BodyError extends Error {
  constructor() {
    super('the body was told to fail')
    this.name = 'BodyError'
  }
}
const bodyPanic = 'the body was told to panic'

const lacks = { done: 'lock.signal aborts only on loss, as the contract says; a release is the caller\'s own doing' }

const clients = new Map()
const clocks = new Map()
const locks = new Map()
const leaving = new Map()
const pending = new Map()

function write(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}

exports.run = (sdk, name, version) => {
  leaks.watch()
  const lines = createInterface({ input: process.stdin })
  let ended = false
  lines.on('line', (line) => {
    const request = JSON.parse(line)
    if (request.op === 'end') {
      ended = true
      lines.close()
      process.stdin.destroy()
    }
    begin(sdk, name, version, request)
  })
  lines.on('close', () => {
    if (!ended) for (const client of clients.values()) client.close()
  })
}

async function begin(sdk, name, version, request) {
  const { id } = request
  const abort = new AbortController()
  pending.set(id, abort)
  try {
    write({ id, ok: (await perform(sdk, name, version, request, abort.signal)) ?? {} })
  } catch (error) {
    if (error instanceof Fault) write({ id, fault: error.message })
    else write({ id, error: describe(sdk, error, abort.signal) })
  } finally {
    pending.delete(id)
  }
}

function perform(sdk, name, version, request, signal) {
  switch (request.op) {
    case 'hello':
      return { protocol: 1, name, language: `JavaScript (Node ${process.version})`, version, names: 'exception', forms: ['withLock', 'using'], lacks }
    case 'client':
      return construct(sdk, request)
    case 'acquire':
      return acquire(request, signal)
    case 'scope':
      return scope(request, signal)
    case 'leave':
      get(leaving, request.lock, 'scope')(request.how)
      return
    case 'release':
      return release(request)
    case 'renew':
      return get(locks, request.lock, 'lock').renew(request.expire)
    case 'check':
      return check(sdk, get(locks, request.lock, 'lock'))
    case 'watch':
      return watch(get(locks, request.lock, 'lock'))
    case 'events':
      return events(request, signal)
    case 'cancel':
      pending.get(request.of)?.abort()
      return
    case 'close':
      return get(clients, request.client, 'client').close()
    case 'clock':
      get(clocks, request.client, 'client')(request)
      return
    case 'text':
      return { texts: texts(request.client === undefined ? get(locks, request.lock, 'lock') : get(clients, request.client, 'client')) }
    case 'env':
      return { env: Object.fromEntries(Object.entries(process.env).filter(([key]) => key.startsWith('LOCKSERVER_'))) }
    case 'leaks':
      return leaks.left().then((left) => ({ left }))
    case 'end':
      return
    default:
      throw new Fault(`unknown op ${request.op}`)
  }
}

function get(map, key, kind) {
  const value = map.get(key)
  if (value === undefined) throw new Fault(`no ${kind} ${key}`)
  return value
}

/** Those of the fields that the request has, under the names that the SDK has for them. */
function given(request, names) {
  return Object.fromEntries(
    Object.entries(names)
      .filter(([field]) => request[field] !== undefined)
      .map(([field, name]) => [name, request[field]]),
  )
}

function construct({ LockserverClient }, request) {
  const ahead = { monotonic: 0, wall: 0 }
  const clock = { monotonic: () => performance.now() + ahead.monotonic, wall: () => Date.now() + ahead.wall }
  const names = { hop: 'hop', connect: 'connect', answer: 'answer', release: 'cleanup', unanswered: 'silence', unanswered_queued: 'silenceQueued', ping: 'sessionPing', session_again: 'sessionAgain' }
  const figures = Object.fromEntries(Object.entries(given(request.test ?? {}, names)).map(([figure, seconds]) => [figure, seconds * 1000]))
  if (figures.answer !== undefined) figures.renewAttempt = figures.answer
  const client = new LockserverClient({
    ...given(request, { addr: 'addr', owner: 'owner', secret: 'secret', proxy: 'proxy', transport: 'transport' }),
    ...(request.dotenv === false && { dotenv: false }),
    [Symbol.for('lockserver-client.testing')]: { clock, figures },
  })
  clients.set(request.client, client)
  clocks.set(request.client, ({ monotonic, wall }) => {
    ahead.monotonic = monotonic * 1000
    ahead.wall = wall * 1000
  })
  return { owner: client.owner }
}

const options = { blocking: 'blocking', expire: 'expire', renew: 'renew', timeout: 'timeout', mode: 'mode', limit: 'limit', note: 'note' }

async function acquire(request, signal) {
  const client = get(clients, request.client, 'client')
  const lock =
    request.form === 'original'
      ? await client.acquire(...positional(request))
      : await client.acquire(request.resource, { ...given(request, options), signal })
  if (!lock) return { granted: false }
  locks.set(request.lock, lock)
  return { granted: true, token: lock.token }
}

function positional({ resource, blocking, expire }) {
  if (expire !== undefined) return [resource, blocking, expire]
  return blocking === undefined ? [resource] : [resource, blocking]
}

async function scope(request, signal) {
  const client = get(clients, request.client, 'client')
  const left = new Promise((resolve) => leaving.set(request.lock, resolve))
  const body = async (lock) => {
    locks.set(request.lock, lock)
    const { signal } = lock
    const told = () => write({ id: request.id, event: 'told', code: signal.reason.code })
    signal.addEventListener('abort', told)
    write({ id: request.id, event: 'entered', token: lock.token })
    const how = await left
    signal.removeEventListener('abort', told) // whatever comes now, there is no body any more to be told
    if (how === 'raise') throw new BodyError()
    if (how === 'panic') throw bodyPanic
  }
  const chosen = { ...given(request, options), signal }
  if (request.form === 'using') await using(() => client.lock(request.resource, chosen), body)
  else await client.withLock(request.resource, chosen, body)
  return { ended: true }
}

/** `{ await using lock = await enter(); await body(lock) }`, spelled out for versions of Node that cannot read it. */
async function using(enter, body) {
  const lock = await enter()
  let failed = false
  let failure
  try {
    await body(lock)
  } catch (error) {
    failed = true
    failure = error
  }
  try {
    await lock[Symbol.asyncDispose]()
  } catch (error) {
    if (!failed) throw error
    // The language puts both into one; the body's own is its `suppressed`.
    throw Object.assign(new Error('An error was suppressed during disposal'), { name: 'SuppressedError', error, suppressed: failure })
  }
  if (failed) throw failure
}

async function release(request) {
  if (request.lock !== undefined) return { released: await get(locks, request.lock, 'lock').release() }
  await get(clients, request.client, 'client').release(request.resource)
  return { released: true }
}

function check(sdk, lock) {
  let thrown
  try {
    lock.check()
  } catch (error) {
    thrown = error
  }
  const said = { check: thrown !== undefined, lost: lock.lost, signal: lock.signal.aborted }
  if (new Set(Object.values(said)).size > 1) throw new Fault(`not of one mind: ${JSON.stringify(said)}`)
  return thrown === undefined ? { lost: false } : { lost: true, error: describe(sdk, thrown) }
}

function watch(lock) {
  const { signal } = lock
  if (signal.aborted) return { lost: true }
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve({ lost: true })))
}

async function events({ client, prefix, count }, signal) {
  const got = []
  for await (const event of get(clients, client, 'client').watch(prefix, { signal })) {
    const { kind, resource, owner, token, missed } = event
    got.push(kind === 'gap' ? { kind, missed } : { kind, resource, owner, ...(token !== null && { token }) })
    if (got.length === count) break
  }
  return { events: got }
}

function texts(object) {
  const names = [...Object.getOwnPropertyNames(object), ...Object.getOwnPropertyNames(Object.getPrototypeOf(object))]
  return [
    String(object),
    JSON.stringify(object),
    inspect(object),
    inspect(object, { showHidden: true, depth: null, getters: true }),
    inspect({ nested: object }, { showHidden: true, depth: null, customInspect: false }),
    format('%s %o %O %j', object, object, object, object),
    ...names.map((name) => `${name}: ${inspect(object[name], { showHidden: true, depth: 4 })}`),
  ]
}

function describe({ LockserverError }, error, signal) {
  if (error === bodyPanic) return { code: null, class: 'string', base: false, message: error, body: true }
  if (error?.name === 'SuppressedError') {
    const both = describe({ LockserverError }, error.suppressed, signal)
    return { ...both, message: `${both.message} (and on leaving: ${error.error.message})` }
  }
  const described = {
    code: typeof error.code === 'string' ? error.code : null,
    class: error.name,
    base: error instanceof LockserverError,
    message: whole(error),
  }
  if (error.name === 'AbortError' || error.name === 'TimeoutError') described.is = [error.name]
  if (signal?.aborted && error === signal.reason) described.cancelled = true
  if (error instanceof BodyError) described.body = true
  if (error.holders !== undefined) described.holders = error.holders.map(({ owner }) => owner)
  return described
}

/** The message with those of its causes. */
function whole(error) {
  return error.cause instanceof Error ? `${error.message}: ${whole(error.cause)}` : error.message
}
