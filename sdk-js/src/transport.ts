import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { buildConnector, Client, type Dispatcher, Pool } from 'undici'
import { type Answer, parseRetryAfter } from './answer.js'
import { type Clock, type Instant, read } from './clock.js'
import type { ServerAddress, TlsOptions } from './settings.js'
import { version } from './version.js'

/** Which connection a request takes. */
export interface Route {
  /** One of its own and not one that stands: a retry must not meet another dead connection. */
  fresh?: boolean
  /** One that does not keep the process alive. */
  background?: boolean
}

/** No answer came to a request. */
export class NoAnswer extends Error {
  /** Whether the server may have seen the request. */
  readonly sent: boolean
  /** Whether no other try can do better, because the server's certificate is not trusted. */
  readonly hopeless: boolean
  constructor(message: string, sent: boolean, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'NoAnswer'
    this.sent = sent
    this.hopeless = cause instanceof Error && distrusted.has(cause)
  }
}

export interface TransportOptions {
  address: ServerAddress
  secret: string
  tls: TlsOptions | undefined
  connectTimeout: number
  clock: Clock
}

/** The errors of connections that ended because the server's certificate did not hold. */
const distrusted = new WeakSet<Error>()

/** More than any answer of a lock server. */
const largestAnswer = 1 << 20
/** Below the idle time of the usual servers and proxies, so that a connection is not closed under a request. */
const idleTimeout = 30_000

/**
 * Carries requests to the server over HTTP/1.1. As many connections as there are requests in flight, so a parked wait
 * never holds up a release; idle ones are kept for reuse and do not keep the process alive.
 */
export class Transport {
  readonly #origin: string
  readonly #prefix: string
  readonly #headers: string[]
  readonly #clock: Clock
  readonly #options: Client.Options
  readonly #detachedOptions: Client.Options
  readonly #live = new Set<Dispatcher>()
  #pool: Pool | undefined
  #backgroundPool: Pool | undefined
  #closed = false

  constructor({ address, secret, tls, connectTimeout, clock }: TransportOptions) {
    this.#origin = address.origin
    this.#prefix = address.prefix
    this.#headers = [
      ...['content-type', 'application/json'],
      ...['user-agent', `lockserver-client-js/${version}`],
      ...['x-lockserver-secret', secret],
    ]
    this.#clock = clock
    this.#options = {
      connect: connector({ timeout: connectTimeout, ...tls }),
      keepAliveTimeout: idleTimeout,
      // Every request brings a bound of its own, exact to the millisecond.
      headersTimeout: 0,
      bodyTimeout: 0,
    }
    this.#detachedOptions = { ...this.#options, connect: detached(this.#options.connect as buildConnector.connector) }
  }

  /** Sends a request. It ends by itself within `bound` milliseconds. */
  send(path: string, body: object, bound: number, { fresh = false, background = false }: Route = {}): Exchange {
    const exchange = new Exchange(this.#clock, bound, !background)
    // A closed transport still carries the release of a lock that outlives its client, but keeps no connection.
    const single = fresh || this.#closed
    const dispatcher = single ? this.#single(background) : this.#pooled(background)
    dispatcher.dispatch(
      { path: this.#prefix + path, method: 'POST', headers: this.#headers, body: JSON.stringify(body) },
      exchange,
    )
    if (single) {
      const done = () => this.#live.delete(dispatcher)
      dispatcher.close().then(done, done)
    }
    return exchange
  }

  /** Ends every connection; what is still in flight fails. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#live].map((dispatcher) => dispatcher.destroy()))
    this.#live.clear()
  }

  #pooled(background: boolean): Dispatcher {
    if (!background) this.#pool ??= this.#keep(new Pool(this.#origin, this.#options))
    else this.#backgroundPool ??= this.#keep(new Pool(this.#origin, this.#detachedOptions))
    return (background ? this.#backgroundPool : this.#pool) as Pool
  }

  #single(background: boolean): Dispatcher {
    return this.#keep(new Client(this.#origin, background ? this.#detachedOptions : this.#options))
  }

  #keep<D extends Dispatcher>(dispatcher: D): D {
    this.#live.add(dispatcher)
    return dispatcher
  }
}

/** What undici's connectors are, its types apart: they return the socket that they connect. */
type Connector = (target: buildConnector.Options, callback: buildConnector.Callback) => Socket

/** Connects, and notes the errors that come of the server's certificate. */
function connector(options: buildConnector.BuildOptions): buildConnector.connector {
  const connect = buildConnector(options) as Connector
  const noting: Connector = (target, callback) => {
    const socket = connect(target, (...outcome) => {
      const [error] = outcome
      if (error !== null && (socket as Partial<TLSSocket>).authorizationError) distrusted.add(error)
      callback(...outcome)
    })
    return socket
  }
  return noting
}

/** Connects with sockets that never keep the process alive, whatever the HTTP client thinks of them. */
function detached(connect: buildConnector.connector): buildConnector.connector {
  const detaching: Connector = (...args) => {
    const socket = (connect as Connector)(...args)
    socket.unref()
    socket.ref = () => socket
    return socket
  }
  return detaching
}

/** One request and its answer. */
export class Exchange implements Dispatcher.DispatchHandler {
  /** The answer, or a rejection with {@link NoAnswer}. */
  readonly answer: Promise<Answer>
  readonly #clock: Clock
  readonly #timer: NodeJS.Timeout
  #resolve!: (answer: Answer) => void
  #reject!: (error: NoAnswer) => void
  #controller: Dispatcher.DispatchController | undefined
  #sent: Instant | undefined
  #ended = false
  #aborted = false
  #status = 0
  #retryAfter = 0
  #chunks: Buffer[] = []
  #size = 0

  constructor(clock: Clock, bound: number, keepsAlive: boolean) {
    this.#clock = clock
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#timer = setTimeout(() => this.abort(`no answer within ${Math.round(bound)} ms`), bound)
    if (!keepsAlive) this.#timer.unref()
  }

  /** Whether the server may have seen the request. */
  get sent(): boolean {
    return this.#sent !== undefined
  }

  /** Ends the request: if it was sent, its connection is closed; if not, it never will be. */
  abort(why = 'given up'): void {
    if (this.#aborted) return
    this.#aborted = true
    this.#fail(why)
    this.#controller?.abort(new Error(why))
  }

  /** Stops waiting for the answer, and leaves the request where it is. */
  detach(): void {
    this.#fail('given up')
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
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#size += chunk.length
    if (this.#size > largestAnswer) this.abort(`the answer is larger than ${largestAnswer} bytes`)
    else this.#chunks.push(chunk)
  }

  onResponseEnd(): void {
    this.#controller = undefined
    if (this.#ended) return
    const body = decode(this.#chunks)
    if (body === undefined && this.#status < 300) {
      this.#fail(`the answer with status ${this.#status} is not JSON: is there a lock server at this address?`)
      return
    }
    const code = typeof body?.code === 'string' ? body.code : undefined
    this.#end()
    this.#resolve({
      status: this.#status,
      code: this.#status >= 400 ? code : undefined,
      body: body ?? {},
      retryAfter: this.#retryAfter,
      sent: this.#sent as Instant,
    })
  }

  onResponseError(_: unknown, error: Error & { code?: string }): void {
    this.#controller = undefined
    // Where a name has several addresses, the error for all of them together has a code but no message.
    this.#fail(error.message || error.code || 'the connection failed', error)
  }

  #fail(why: string, cause?: unknown): void {
    if (this.#ended) return
    this.#end()
    this.#reject(new NoAnswer(why, this.sent, cause))
  }

  #end(): void {
    this.#ended = true
    clearTimeout(this.#timer)
  }
}

function decode(chunks: Buffer[]): Record<string, unknown> | undefined {
  const text = chunks.length === 1 ? (chunks[0] as Buffer).toString() : Buffer.concat(chunks).toString()
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
