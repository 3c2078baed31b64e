import type { Socket } from 'node:net'
import { backoff } from './backoff.js'
import { now, read } from './clock.js'
import type { Operation } from './contract.js'
import { Request } from './request.js'
import { HttpServers, type Servers } from './servers.js'
import { Session, type SessionOptions } from './session.js'
import type { ServerAddress, Settings } from './settings.js'
import type { Attempt, Carrier, Failure, Outcome, Route, Transport } from './transport.js'
import { type Unready, Upgrade, type Upgraded } from './upgrade.js'
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
  readonly addresses: number
  readonly #servers: Servers
  readonly #settings: Settings
  readonly #options: Omit<SessionOptions, 'peer'>
  readonly #listener: SessionListener
  /** What goes on is always carried by HTTP; all else only where sessions are refused. */
  readonly #http: HttpServers
  #session: Session | undefined
  /** Where it is. */
  #at: ServerAddress | undefined
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

  constructor(settings: Settings, servers: Servers, options: Omit<SessionOptions, 'peer' | 'secret'>, listener: SessionListener) {
    this.addresses = servers.all.length
    this.#servers = servers
    this.#settings = settings
    this.#options = { ...options, secret: settings.secret }
    this.#listener = listener
    this.#http = new HttpServers(servers, settings, options.figures.connect, options.clock)
  }

  get wholeWaits(): boolean {
    return this.#refusedUntil === undefined
  }

  get carrier(): Carrier | undefined {
    return this.#session
  }

  send(operation: Operation, body: object, bound: number, route: Route = {}): Attempt {
    if (route.follower !== undefined) return this.#http.send(operation, body, bound, route)
    if (this.#refusedUntil !== undefined) {
      // Meanwhile HTTP goes on.
      if (now() >= this.#refusedUntil) this.#dial()
      return this.#overHttp(operation, body, bound, route)
    }
    const request = new Request(operation, body, bound, route, (late) => this.#lateness(late))
    if (this.#session !== undefined) this.#ride(this.#session, request)
    else {
      this.#wanting.add(request)
      request.leave = () => this.#wanting.delete(request)
      this.#dial()
    }
    return request
  }

  async close(): Promise<void> {
    this.#closed = true
    const upgrade = this.#upgrade
    this.#upgrade = undefined
    upgrade?.abort('given up')
    await Promise.all([this.#session?.finish(), this.#http.close()])
  }

  #lateness(request: Request): string {
    const within = `within ${Number((request.bound / 1000).toPrecision(3))} s`
    const { peer } = this.#servers.current
    if (request.sent) return `no answer from ${peer} ${within}`
    return this.#trouble || `no session with ${peer} ${within}`
  }

  /** HTTP holds no request for longer than a hop. */
  #overHttp(operation: Operation, body: { wait?: number }, bound: number, { unbounded, ...route }: Route): Attempt {
    const { hop, answer } = this.#options.figures
    const cut = body.wait !== undefined && body.wait * 1000 > hop
    const http = this.#http
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
    this.#round().then(([upgraded, one]) => {
      this.#dialling = false
      this.#upgrade = undefined
      this.#take(upgraded, one)
    })
  }

  /**
   * Asks one server after the other, until one gives a session, or says what no other would say differently. If none does, a refusal
   * is what comes of it before an answer, and an answer before a failure.
   */
  async #round(): Promise<[Upgraded, ServerAddress]> {
    let one = this.#servers.current
    let last: Upgraded | undefined
    for (let left = this.addresses; ; one = this.#servers.after(one)) {
      const upgrade = new Upgrade({ ...this.#settings, address: one }, { ...this.#options, peer: one.peer })
      this.#upgrade = upgrade
      const upgraded = await upgrade.result
      if (upgraded.kind === 'session') this.#servers.stay(one)
      if (upgraded.kind === 'session' || upgrade !== this.#upgrade) return [upgraded, one]
      const refused = upgraded.kind === 'refused'
      if (!refused && !this.#servers.judge(one, this.#asOutcome(upgraded)).elsewhere) return [upgraded, one]
      last = worst(last, upgraded)
      if (--left === 0) return [last, one]
    }
  }

  #asOutcome(upgraded: Failure | Unready): Outcome {
    return upgraded.kind === 'answer' ? { ...upgraded, sent: read(this.#options.clock) } : upgraded
  }

  /** Sends over a session. If its server fails and there is another, it gets no new requests, and ends with the last answer. */
  #ride(session: Session, request: Request): void {
    const one = this.#at as ServerAddress
    request.judge = (outcome) => {
      const judged = this.#servers.judge(one, outcome)
      if (judged.elsewhere && this.#session === session) {
        this.#session = undefined
        session.retire()
      }
      return judged
    }
    session.send(request)
  }

  #take(upgraded: Upgraded, one: ServerAddress): void {
    const wanting = [...this.#wanting]
    this.#wanting.clear()
    if (this.#refusedUntil !== undefined) this.#standIn()
    switch (upgraded.kind) {
      case 'session':
        this.#refusedUntil = undefined
        this.#trouble = ''
        this.#at = one
        this.#session = this.#begin(upgraded.socket, one)
        for (const request of wanting) this.#ride(this.#session, request)
        this.#listener.began()
        // After the last requests of a closed client nothing stays.
        if (this.#closed) this.#session.finish()
        return
      case 'refused':
        if (this.#settings.transport === 'session') {
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
        this.#trouble = `${upgraded.peer} answered ${status} ${upgraded.code}`
        for (const request of wanting) request.end(this.#asOutcome(upgraded))
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

  #begin(socket: Socket, one: ServerAddress): Session {
    const session = new Session({ ...this.#options, peer: one.peer }, socket, {
      lost: (event) => this.#listener.lost(event),
      ended: (answered) => {
        if (this.#session !== session) return // its successor is there already, or on its way
        this.#session = undefined
        this.#servers.leave(one)
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

/** Which of two servers that gave no session is to be told of. */
function worst(before: Upgraded | undefined, upgraded: Upgraded): Upgraded {
  if (upgraded.kind === 'answer' && before?.kind === 'answer') {
    return { ...upgraded, retryAfter: Math.max(upgraded.retryAfter, before.retryAfter) }
  }
  const rank = (one: Upgraded | undefined) => ['unsent', 'unknown', 'answer', 'refused'].indexOf(one?.kind ?? '')
  return before === undefined || rank(upgraded) >= rank(before) ? upgraded : before
}
