import type { Clock } from './clock.js'
import type { Operation } from './contract.js'
import { HttpTransport } from './http.js'
import type { ServerAddress, Settings } from './settings.js'
import type { Attempt, Outcome, Route, Transport } from './transport.js'

/** Statuses with which another server may do better. */
const failing = [502, 503, 504]

/**
 * The servers of a cluster, any of which answers. One of them is asked, the first to begin with, until it fails, and then the next. Here,
 * and nowhere else, is chosen which.
 */
export class Servers {
  readonly all: readonly ServerAddress[]
  #now = 0

  constructor(all: readonly ServerAddress[]) {
    this.all = all
  }

  get current(): ServerAddress {
    return this.all[this.#now] as ServerAddress
  }

  /** Whose turn it is when the given one has failed. */
  after(one: ServerAddress): ServerAddress {
    return this.all[(this.all.indexOf(one) + 1) % this.all.length] as ServerAddress
  }

  /** This one answered, and is asked from now on. */
  stay(one: ServerAddress): void {
    this.#now = this.all.indexOf(one)
  }

  /** This one failed. */
  leave(one: ServerAddress): void {
    if (this.current === one) this.stay(this.after(one))
  }

  /** Leaves a server by which an attempt failed, and then says that there is another. */
  judge(one: ServerAddress, outcome: Outcome): Outcome {
    if (this.all.length === 1 || !failed(outcome)) return outcome
    this.leave(one)
    return { ...outcome, elsewhere: true }
  }
}

function failed(outcome: Outcome): boolean {
  if (outcome.kind === 'answer') return failing.includes(outcome.status)
  return !outcome.permanent && !outcome.aborted
}

/** HTTP with whichever server it is that is asked. */
export class HttpServers implements Transport {
  readonly addresses: number
  readonly #servers: Servers
  readonly #over: Map<ServerAddress, HttpTransport>

  constructor(servers: Servers, settings: Settings, connectTimeout: number, clock: Clock) {
    this.addresses = servers.all.length
    this.#servers = servers
    this.#over = new Map(
      servers.all.map((address) => [address, new HttpTransport({ ...settings, address }, connectTimeout, clock)]),
    )
  }

  send(operation: Operation, request: object, bound: number, route?: Route): Attempt {
    const one = this.#servers.current
    const attempt = (this.#over.get(one) as HttpTransport).send(operation, request, bound, route)
    if (this.addresses === 1) return attempt
    return {
      outcome: attempt.outcome.then((outcome) => this.#servers.judge(one, outcome)),
      get sent() {
        return attempt.sent
      },
      abort: () => attempt.abort(),
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#over.values()].map((over) => over.close()))
  }
}
