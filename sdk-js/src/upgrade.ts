import { createHash, randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { Client, type Dispatcher } from 'undici'
import { SESSION } from './contract.js'
import { connector, decode, explain, parseRetryAfter } from './http.js'
import type { SessionOptions } from './session.js'
import type { Reach } from './settings.js'
import type { Answer, Failure } from './transport.js'
import { version } from './version.js'
import { after } from './waiting.js'

/** The largest answer to an upgrade that is read. */
const largest = 1024 * 1024

/** What became of asking for a session. */
export type Upgraded = { kind: 'session'; socket: Socket } | Refused | Failure | Unready

/** There is no lock server with sessions at the other end, or something between that keeps them away. */
export interface Refused {
  readonly kind: 'refused'
  readonly reason: string
  readonly status?: number
}

/** A lock server's word that there is no session now. */
export type Unready = Omit<Answer, 'sent'>

/** Asks for a session. What ends it early is `abort`. */
export class Upgrade implements Dispatcher.DispatchHandler {
  readonly result: Promise<Upgraded>
  readonly #peer: string
  readonly #secret: string
  readonly #key = randomBytes(16).toString('base64')
  readonly #client: Client
  readonly #stopTimer: () => void
  #resolve!: (upgraded: Upgraded) => void
  #status = 0
  #retryAfter = 0
  #chunks: Buffer[] = []
  #size = 0

  constructor(reach: Reach, { peer, figures }: SessionOptions) {
    const { address, secret } = reach
    this.#peer = peer
    this.#secret = secret
    this.result = new Promise((resolve) => {
      this.#resolve = resolve
    })
    const bound = figures.connect + figures.answer
    this.#stopTimer = after(bound, () => this.abort(`no session with ${peer} within ${bound / 1000} s`), true)
    this.#client = new Client(address.origin, {
      connect: connector(reach, figures.connect, true),
      headersTimeout: 0,
      bodyTimeout: 0,
    })
    const headers = {
      'sec-websocket-key': this.#key,
      'sec-websocket-protocol': SESSION.subprotocol,
      'sec-websocket-version': '13',
      'user-agent': `lockserver-client-js/${version}`,
      'x-lockserver-secret': secret,
    }
    this.#client.dispatch({ path: address.prefix + SESSION.path, method: 'GET', upgrade: 'websocket', headers }, this)
  }

  abort(reason: string): void {
    this.#end({ kind: 'unsent', permanent: false, reason })
  }

  onRequestStart(): void {}

  onRequestUpgrade(_: unknown, status: number, headers: Record<string, string | string[] | undefined>, stream: unknown): void {
    const socket = stream as Socket
    // What connects in the background keeps nothing alive; a session does, while somebody waits.
    Reflect.deleteProperty(socket, 'ref')
    const accept = createHash('sha1').update(`${this.#key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
    const agreed = headers['sec-websocket-accept'] === accept && headers['sec-websocket-protocol'] === SESSION.subprotocol
    if (status === 101 && agreed) {
      this.#end({ kind: 'session', socket })
      return
    }
    socket.on('error', () => undefined).destroy()
    this.#end({ kind: 'refused', status, reason: `${this.#peer} does not answer as a WebSocket of a lockserver does` })
  }

  onResponseStart(_: unknown, status: number, headers: Record<string, string | string[] | undefined>): void {
    this.#status = status
    this.#retryAfter = parseRetryAfter(headers['retry-after'])
  }

  onResponseData(_: unknown, chunk: Buffer): void {
    this.#size += chunk.length
    if (this.#size <= largest) this.#chunks.push(chunk)
    else this.#end(this.#refused())
  }

  onResponseEnd(): void {
    const body = decode(this.#chunks, this.#secret)
    const status = this.#status
    const code = body?.code
    const ours = (status === 401 || status === 429 || status === 503) && typeof code === 'string' && code !== ''
    this.#end(
      ours
        ? { kind: 'answer', peer: this.#peer, status, code, body: body as Answer['body'], retryAfter: this.#retryAfter }
        : this.#refused(),
    )
  }

  onResponseError(_: unknown, error: Error): void {
    this.#end({ kind: 'unsent', ...explain(error, this.#peer) })
  }

  #refused(): Refused {
    const status = this.#status
    return { kind: 'refused', status, reason: `${this.#peer} answered ${status} to the request for a session` }
  }

  #end(upgraded: Upgraded): void {
    this.#stopTimer()
    this.#resolve(upgraded)
    if (upgraded.kind === 'session') this.#client.close().catch(() => undefined)
    else this.#client.destroy().catch(() => undefined)
  }
}
