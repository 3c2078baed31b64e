import { isUtf8 } from 'node:buffer'
import { request as connectPlain } from 'node:http'
import { request as connectSecure } from 'node:https'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { buildConnector, Client, type Dispatcher, Pool } from 'undici'
import { type Clock, type Instant, now, read } from './clock.js'
import { type Operation, WITHOUT_CODE } from './contract.js'
import type { Reach } from './settings.js'
import { EventReader, type Follower } from './stream.js'
import { type Attempt, type Failure, judge, type Outcome, type Route, stranger } from './transport.js'
import { version } from './version.js'
import { after } from './waiting.js'

/** Below the idle time of the usual servers and proxies, so that a connection is not closed under a request. */
const idleTimeout = 30_000

/**
 * HTTP/1.1 with one server. As many connections as there are requests in flight, so a parked wait never holds up a
 * release; idle ones are kept for reuse and do not keep the process alive.
 */
export class HttpTransport {
  readonly #peer: string
  readonly #origin: string
  readonly #prefix: string
  readonly #headers: string[]
  readonly #secret: string
  readonly #clock: Clock
  /** Connections that keep the process alive while they work, and those that never do. */
  readonly #lanes: Record<'front' | 'back', { options: Client.Options; pool?: Pool }>
  readonly #live = new Set<Dispatcher>()
  #closed = false

  constructor(reach: Reach, connectTimeout: number, clock: Clock) {
    const { address, secret } = reach
    this.#peer = address.peer
    this.#origin = address.origin
    this.#prefix = address.prefix
    this.#headers = [
      ...['content-type', 'application/json'],
      ...['user-agent', `lockserver-client-js/${version}`],
      ...['x-lockserver-secret', secret],
    ]
    this.#secret = secret
    this.#clock = clock
    const options = (background: boolean): Client.Options => ({
      connect: connector(reach, connectTimeout, background),
      keepAliveTimeout: idleTimeout,
      // Every request brings a bound of its own, exact to the millisecond.
      headersTimeout: 0,
      bodyTimeout: 0,
    })
    this.#lanes = { front: { options: options(false) }, back: { options: options(true) } }
  }

  send(
    operation: Operation,
    request: object,
    bound: number,
    { fresh = false, background = false, follower }: Route = {},
  ): Attempt {
    const exchange = new Exchange(this.#peer, this.#secret, operation, this.#clock, bound, background, follower)
    // A closed transport still carries the release of a lock that outlives its client, but keeps no connection.
    const single = fresh || this.#closed || follower !== undefined
    const lane = this.#lanes[background ? 'back' : 'front']
    if (!single) lane.pool ??= this.#keep(new Pool(this.#origin, lane.options))
    const dispatcher = single ? this.#keep(new Client(this.#origin, lane.options)) : (lane.pool as Pool)
    const { method, path } = operation
    const target = { path: this.#prefix + path, method: method as 'POST', headers: this.#headers }
    if (follower !== undefined) {
      target.path += `?${new URLSearchParams(request as Record<string, string>)}`
      target.headers = [...this.#headers, 'accept', 'text/event-stream', ...(follower.last && ['last-event-id', follower.last])]
    }
    dispatcher.dispatch(follower === undefined ? { ...target, body: JSON.stringify(request) } : target, exchange)
    if (single) {
      const done = () => this.#live.delete(dispatcher)
      dispatcher.close().then(done, done)
    }
    return exchange
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#live].map((dispatcher) => dispatcher.destroy()))
    this.#live.clear()
  }

  #keep<D extends Dispatcher>(dispatcher: D): D {
    this.#live.add(dispatcher)
    return dispatcher
  }
}

/** What undici's connectors are, its types apart: they return the socket that they connect. */
type Connector = (target: buildConnector.Options, callback: buildConnector.Callback) => Socket

/** The errors of connections that ended because the server's certificate did not hold. */
const distrusted = new WeakSet<Error>()

/** No tunnel stands. */
class ProxyError extends Error {
  readonly permanent: boolean
  constructor(message: string, permanent: boolean, cause?: Error) {
    super(message, cause && { cause })
    this.permanent = permanent
  }
}

/**
 * Connects, by way of a proxy or not, and notes the errors that come of the server's certificate. In the background the
 * sockets never keep the process alive, whatever the HTTP client thinks of them.
 */
export function connector(
  { tls, certificate, proxy }: Pick<Reach, 'tls' | 'certificate' | 'proxy'>,
  timeout: number,
  background: boolean,
): buildConnector.connector {
  let shown = certificate?.get()
  let connect = buildConnector({ timeout, ...tls, ...shown }) as Connector
  const detach = (socket: Socket) => {
    if (!background) return
    socket.unref()
    socket.ref = () => socket
  }
  const noting: Connector = (target, callback) => {
    if (certificate !== undefined && certificate.get() !== shown) {
      shown = certificate.get()
      connect = buildConnector({ timeout, ...tls, ...shown }) as Connector
    }
    const socket = connect(target, (...outcome) => {
      const [error] = outcome
      if (error !== null && (socket as Partial<TLSSocket>).authorizationError) distrusted.add(error)
      callback(...outcome)
    })
    // An alert that comes behind the handshake does not end the socket: the end that follows would be taken for the reason.
    socket.on('error', (error) => socket.destroy(error))
    detach(socket)
    return socket
  }
  if (proxy === undefined) return noting
  return (target, callback) => {
    tunnel(proxy, target, timeout, detach).then(
      (socket) => {
        if (target.protocol === 'https:') noting({ ...target, httpSocket: socket }, callback)
        else callback(null, socket)
      },
      (error: Error) => callback(error, null),
    )
  }
}

/** A connection to the target through a proxy's CONNECT. */
function tunnel(proxy: URL, target: buildConnector.Options, timeout: number, detach: (socket: Socket) => void): Promise<Socket> {
  const name = `the proxy ${proxy.host}`
  const host = target.hostname.includes(':') ? `[${target.hostname}]` : target.hostname
  const path = `${host}:${target.port || (target.protocol === 'https:' ? 443 : 80)}`
  const { username, password } = proxy
  const credentials = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')
  const headers = { host: path, ...((username || password) && { 'proxy-authorization': `Basic ${credentials}` }) }
  return new Promise((resolve, reject) => {
    const connect = proxy.protocol === 'https:' ? connectSecure : connectPlain
    const { hostname, port } = proxy
    const request = connect({
      ...{ method: 'CONNECT', host: hostname.replace(/^\[|\]$/g, ''), port, path, headers, timeout, agent: false },
    })
    let opened: Partial<TLSSocket> | undefined
    request.on('socket', (socket) => {
      opened = socket as TLSSocket
      detach(socket)
    })
    request.on('connect', ({ statusCode = 0 }, socket: Socket) => {
      socket.setTimeout(0)
      if (statusCode >= 200 && statusCode < 300) {
        resolve(socket.setNoDelay(true).setKeepAlive(true, 60_000))
        return
      }
      socket.destroy()
      const asks = statusCode === 407 ? ': it wants another user or password' : ''
      reject(new ProxyError(`${name} answered ${statusCode}${asks}`, WITHOUT_CODE[statusCode]?.verdict !== 'retry'))
    })
    request.on('timeout', () => request.destroy(new Error(`no tunnel within ${timeout / 1000} s`)))
    request.on('error', (error) => {
      if (opened?.authorizationError) distrusted.add(error)
      const { reason, permanent } = explain(error, name)
      reject(new ProxyError(reason, permanent, error))
    })
    request.end()
  })
}

/** One request and its answer. */
class Exchange implements Attempt, Dispatcher.DispatchHandler {
  readonly outcome: Promise<Outcome>
  readonly #peer: string
  readonly #secret: string
  readonly #operation: Operation
  readonly #clock: Clock
  readonly #follower: Follower | undefined
  readonly #background: boolean
  #stopTimer: () => void
  /** Of an answer that is a stream of events. */
  #events: EventReader | undefined
  #heard: number | undefined
  #resolve!: (outcome: Outcome) => void
  #controller: Dispatcher.DispatchController | undefined
  #sent: Instant | undefined
  #ended = false
  #aborted = false
  #status = 0
  #retryAfter = 0
  #chunks: Buffer[] = []
  #size = 0

  constructor(
    peer: string,
    secret: string,
    operation: Operation,
    clock: Clock,
    bound: number,
    background: boolean,
    follower: Follower | undefined,
  ) {
    this.#peer = peer
    this.#secret = secret
    this.#operation = operation
    this.#clock = clock
    this.outcome = new Promise((resolve) => {
      this.#resolve = resolve
    })
    this.#background = background
    this.#follower = follower
    this.#stopTimer = this.#within(bound, 'no answer')
  }

  get sent(): boolean {
    return this.#sent !== undefined
  }

  abort(): void {
    this.#stop({ reason: 'given up', aborted: true })
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#aborted) {
      controller.abort(new Error('given up before it was sent'))
      return
    }
    this.#sent = read(this.#clock)
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: Record<string, string | string[]>): void {
    this.#status = status
    this.#retryAfter = parseRetryAfter(headers['retry-after'])
    if (this.#follower === undefined || status !== 200 || !isEvents(headers['content-type'])) return
    this.#events = new EventReader(this.#follower)
    this.#follower.begun()
    this.#listen(this.#follower)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#events !== undefined) {
      this.#follow(controller, this.#events, this.#follower as Follower, chunk)
      return
    }
    this.#size += chunk.length
    if (this.#size > this.#operation.answerMax) {
      this.#end(this.#judge(`with more than ${this.#operation.answerMax} bytes`))
      this.abort()
    } else this.#chunks.push(chunk)
  }

  onResponseEnd(): void {
    this.#controller = undefined
    if (this.#events !== undefined) this.#fail({ reason: `the stream of events was closed by ${this.#peer}` })
    else if (!this.#ended) this.#end(this.#judge())
  }

  onResponseError(_: unknown, error: Error): void {
    this.#controller = undefined
    this.#fail(explain(error, this.#peer))
  }

  #follow(controller: Dispatcher.DispatchController, events: EventReader, follower: Follower, chunk: Buffer): void {
    this.#listen(follower)
    const wrong = events.read(chunk)
    if (wrong !== undefined) this.#stop({ reason: `${this.#peer} sent ${wrong}`, permanent: true })
    if (!follower.full || this.#ended) return
    this.#stopTimer()
    controller.pause()
    follower.resume = () => {
      follower.resume = () => {}
      if (this.#ended) return
      this.#listen(follower)
      controller.resume()
    }
  }

  /** What bounds a stream is that something comes again and again. */
  #listen({ silence }: Follower): void {
    this.#heard = now()
    this.#stopTimer()
    this.#stopTimer = this.#within(silence, 'nothing')
  }

  #within(bound: number, what: string): () => void {
    const reason = `${what} from ${this.#peer} within ${Number((bound / 1000).toPrecision(3))} s`
    return after(bound, () => this.#stop({ reason, late: true }), this.#background)
  }

  /** What the answer means; `tooLarge` is there where its body does not count. */
  #judge(tooLarge?: string): Outcome {
    const status = this.#status
    const retryAfter = this.#retryAfter
    const sent = this.#sent as Instant
    if (tooLarge !== undefined && this.#operation.answers.includes(status)) return stranger(this.#peer, status, tooLarge)
    const body = tooLarge === undefined ? decode(this.#chunks, status < 400 ? undefined : this.#secret) : undefined
    return judge(this.#operation, this.#peer, { status, body, retryAfter, sent })
  }

  #stop(why: Partial<Failure> & { reason: string }): void {
    if (this.#aborted) return
    this.#aborted = true
    this.#fail(why)
    this.#controller?.abort(new Error(why.reason))
  }

  #fail(why: Partial<Failure> & { reason: string }): void {
    const heard = this.#heard === undefined ? {} : { heard: this.#heard }
    this.#end({ permanent: false, ...why, ...heard, kind: this.sent ? 'unknown' : 'unsent' })
  }

  #end(outcome: Outcome): void {
    if (this.#ended) return
    this.#ended = true
    this.#stopTimer()
    this.#resolve(outcome)
  }
}

/** The JSON object that a body is, without the secret if that is given: no error shows it, even if the other side echoes it. */
export function decode(chunks: Buffer[], secret?: string): Record<string, unknown> | undefined {
  const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
  if (!isUtf8(bytes)) return undefined
  try {
    const hide = (member: string, value: unknown) =>
      typeof value === 'string' && member !== 'code' && member !== 'reason' ? value.replaceAll(secret as string, '…') : value
    const value: unknown = JSON.parse(bytes.toString(), secret === undefined ? undefined : hide)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

function isEvents(type: string | string[] | undefined): boolean {
  return (
    String(type ?? '')
      .split(';')[0]
      ?.trim()
      .toLowerCase() === 'text/event-stream'
  )
}

/** `Retry-After` in milliseconds, from seconds or a date; 0 where there is none. */
export function parseRetryAfter(value: string | string[] | undefined): number {
  const first = Array.isArray(value) ? value[0] : value
  if (first === undefined) return 0
  const wait = /^\d+(\.\d+)?$/.test(first.trim()) ? Number(first) * 1000 : Date.parse(first) - Date.now()
  return Number.isFinite(wait) && wait > 0 ? wait : 0
}

/** What the codes of connections that fail mean, and whether every other attempt would fail as well. */
const failures: [RegExp, boolean, string][] = [
  [/SSL.*(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG)/, true, 'PEER does not speak TLS: is it an http:// address?'],
  [/SSL.*(UNSUPPORTED_PROTOCOL|ALERT_PROTOCOL_VERSION)/, true, 'PEER and this client have no version of TLS in common'],
  [
    /ALERT_(BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_(REVOKED|EXPIRED|UNKNOWN|REQUIRED)|UNKNOWN_CA|ACCESS_DENIED)/,
    ...([true, "PEER does not accept this client's certificate, or wants one: ALERT"] as const),
  ],
  [/^(EINVAL|EAFNOSUPPORT)$/, true, 'PEER cannot be connected to'],
  [/^ECONNREFUSED$/, false, 'connection refused by PEER'],
  [/^(ECONNRESET|EPIPE|UND_ERR_SOCKET)$/, false, 'connection closed by PEER'],
  [/^(ENOTFOUND|EAI_AGAIN)$/, false, 'the host of PEER was not found'],
  [/^(HTTPParserError|HPE_.*)$/, false, 'PEER does not speak HTTP'],
  [/^UND_ERR_CONNECT_TIMEOUT$/, false, 'PEER could not be connected to in time'],
]

/** What an error of a connection means. */
export function explain(cause: NodeJS.ErrnoException, peer: string): { reason: string; permanent: boolean; cause: Error } {
  // What was not understood may be an echo of the request, with the secret in it.
  for (const bytes of ['data', 'rawPacket']) Reflect.deleteProperty(cause, bytes)
  const { name, message, code = name } = cause
  if (cause instanceof ProxyError) return { reason: message, permanent: cause.permanent, cause }
  if (distrusted.has(cause)) return { reason: `the certificate of ${peer} is not trusted: ${message}`, permanent: true, cause }
  // A connection that fails while it is written to has the words of OpenSSL's code in its message.
  const what = code === 'EPROTO' ? message.toUpperCase().replaceAll(' ', '_') : code
  const [, permanent, text] = failures.find(([codes]) => codes.test(what)) ?? []
  const alert = what
    .replace(/^.*ALERT_/, '')
    .replace(/:.*/, '')
    .replaceAll('_', ' ')
    .toLowerCase()
  const reason = text?.replace('PEER', peer).replace('ALERT', alert) ?? `${message.split('\n')[0] || code} (${peer})`
  return { reason, permanent: permanent ?? false, cause }
}
