import type { Socket } from 'node:net'
import { backoff } from './backoff.js'
import { now, read } from './clock.js'
import type { Operation } from './contract.js'
import { HttpTransport } from './http.js'
import { Request } from './request.js'
import { Session, type SessionOptions } from './session.js'
import type { Settings } from './settings.js'
import type { Attempt, Carrier, Failure, Route, Transport } from './transport.js'
import { Upgrade, type Upgraded } from './upgrade.js'
import { after } from './waiting.js'

/** Who hears of sessions. */
export interface SessionListener {
  /** The server says that a lock is lost. */
  lost(event: Record<string, unknown>): void
  /** There is a new session. */
  began(): void
}

/**
 * Carries requests over one session, which is asked for when it is first needed and again after it has ended. If it is not
 * the only transport that is wanted, HTTP takes its place where sessions are refused.
 */
export class SessionTransport implements Transport {
  readonly peer: string
  readonly #settings: Settings
  readonly #options: SessionOptions
  readonly #listener: SessionListener
  readonly #http: HttpTransport | undefined
  #session: Session | undefined
  #upgrade: Upgrade | undefined
  /** Whether an upgrade is under way, or will be after a pause. */
  #dialling = false
  /** Requests for which there is no session yet. */
  readonly #wanting = new Set<Request>()
  /** Tries that failed since the last session that had an answer. */
  #failures = 0
  /** When the next try may be made. */
  #nextDial = 0
  /** Where sessions are refused: when one is asked for again. */
  #refusedUntil: number | undefined
  #trouble = ''
  #closed = false

  constructor(settings: Settings, options: Omit<SessionOptions, 'peer' | 'secret'>, listener: SessionListener) {
    this.peer = settings.address.origin.replace(/^https?:\/\//, '')
    this.#settings = settings
    this.#options = { ...options, peer: this.peer, secret: settings.secret }
    this.#listener = listener
    if (settings.transport === 'auto') this.#http = new HttpTransport(settings, options.figures.connect, options.clock)
  }

  get wholeWaits(): boolean {
    return this.#refusedUntil === undefined
  }

  get carrier(): Carrier | undefined {
    return this.#session
  }

  send(operation: Operation, body: object, bound: number, route: Route = {}): Attempt {
    if (this.#refusedUntil !== undefined) {
      // Meanwhile HTTP goes on.
      if (now() >= this.#refusedUntil) this.#dial()
      return this.#overHttp(operation, body, bound, route)
    }
    const request = new Request(operation, body, bound, route, (late) => this.#lateness(late))
    if (this.#session !== undefined) this.#session.send(request)
    else {
      this.#wanting.add(request)
      request.leave = () => this.#wanting.delete(request)
      this.#dial()
    }
    return request
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#upgrade?.abort('given up')
    await Promise.all([this.#session?.finish(), this.#http?.close()])
  }

  #lateness(request: Request): string {
    const within = `within ${Number((request.bound / 1000).toPrecision(3))} s`
    if (request.sent) return `no answer from ${this.peer} ${within}`
    return this.#trouble || `no session with ${this.peer} ${within}`
  }

  /** HTTP holds no request for longer than a hop. */
  #overHttp(operation: Operation, body: { wait?: number }, bound: number, { unbounded, ...route }: Route): Attempt {
    const { hop, answer } = this.#options.figures
    const cut = body.wait !== undefined && body.wait * 1000 > hop
    const http = this.#http as HttpTransport
    return cut
      ? http.send(operation, { ...body, wait: hop / 1000 }, Math.min(bound, hop + answer), route)
      : http.send(operation, body, bound, route)
  }

  #dial(): void {
    if (this.#dialling) return
    this.#dialling = true
    const pause = this.#nextDial - now()
    if (pause <= 0) this.#ask()
    else after(pause, () => this.#ask(), true)
  }

  #ask(): void {
    if (this.#wanting.size === 0 && this.#refusedUntil === undefined) {
      this.#dialling = false // whoever wanted it has gone
      return
    }
    this.#upgrade = new Upgrade(this.#settings, this.#options)
    this.#upgrade.result.then((upgraded) => {
      this.#dialling = false
      this.#upgrade = undefined
      this.#take(upgraded)
    })
  }

  #take(upgraded: Upgraded): void {
    const wanting = [...this.#wanting]
    this.#wanting.clear()
    if (this.#refusedUntil !== undefined) this.#standIn()
    switch (upgraded.kind) {
      case 'session':
        this.#refusedUntil = undefined
        this.#trouble = ''
        this.#session = this.#begin(upgraded.socket)
        for (const request of wanting) this.#session.send(request)
        this.#listener.began()
        // After the last requests of a closed client nothing stays.
        if (this.#closed) this.#session.finish()
        return
      case 'refused':
        if (this.#http === undefined) {
          this.#fail(wanting, { ...upgraded, kind: 'unsent', permanent: true })
          return
        }
        this.#standIn()
        for (const request of wanting) {
          request.relay(this.#overHttp(request.operation, request.body, request.bound, request.route))
        }
        return
      case 'answer': {
        const { status, retryAfter } = upgraded
        if (status === 503) this.#setback(retryAfter)
        this.#trouble = `${this.peer} answered ${status} ${upgraded.code}`
        const sent = read(this.#options.clock)
        for (const request of wanting) request.end({ ...upgraded, sent })
        return
      }
      default:
        if (!upgraded.permanent) this.#setback(0)
        this.#fail(wanting, upgraded)
    }
  }

  /** HTTP carries everything for a while. */
  #standIn(): void {
    this.#refusedUntil = now() + this.#options.figures.sessionAgain
  }

  #begin(socket: Socket): Session {
    const session = new Session(this.#options, socket, {
      lost: (event) => this.#listener.lost(event),
      ended: (answered) => {
        if (this.#session === session) this.#session = undefined
        if (answered) this.#failures = 0
        this.#setback(0)
      },
    })
    return session
  }

  /** One back-off for the whole client: however many wait, one asks at a time, with pauses that grow. */
  #setback(atLeast: number): void {
    this.#failures++
    this.#nextDial = now() + Math.max(backoff(this.#failures, this.#options.figures), atLeast)
  }

  #fail(wanting: Request[], failure: Failure): void {
    this.#trouble = failure.reason
    for (const request of wanting) request.end(failure)
  }
}
