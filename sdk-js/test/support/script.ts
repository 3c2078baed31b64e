import { LockserverClient, type LockserverClientOptions } from 'lockserver-client'
import { TestClock, testing } from './clock.js'

/** What became of an attempt, as the transports of the package tell it. */
export type Outcome = Record<string, unknown>

export interface Sent {
  operation: string
  request: Record<string, unknown>
  /** Milliseconds. */
  bound: number
  fresh: boolean
  background: boolean
  /** Whether it was ended before it had its outcome. */
  aborted: boolean
  at: number
}

type Handle = (sent: Sent, count: number) => Outcome | undefined | Promise<Outcome | undefined>

/** A success, or with a code a problem. */
export const answer = (status: number, body: Record<string, unknown> = {}, retryAfter = 0): Outcome => ({
  kind: 'answer',
  status,
  ...(typeof body.code === 'string' && { code: body.code }),
  body,
  retryAfter,
})
export const problem = (status: number, code: string, more = {}) => answer(status, { code, ...more })
export const unknown: Outcome = { kind: 'unknown', permanent: false, reason: 'connection closed by memory' }
export const unsent: Outcome = { kind: 'unsent', permanent: false, reason: 'connection refused by memory' }
/** Never has an outcome of its own: it ends with its bound, or by being aborted. */
export const silence = new Promise<Outcome>(() => undefined)

/** A transport without a network: what becomes of each attempt is what the script says, or else what a free lock would be. */
export class Script {
  readonly addresses = 1
  readonly seen: Sent[] = []
  readonly clock = new TestClock()
  handle: Handle
  closed = false
  #tokens = 0
  readonly #leases = new Map<number, unknown>()

  constructor(handle: Handle = () => undefined) {
    this.handle = handle
  }

  client(options: LockserverClientOptions = {}, figures: Record<string, number> = {}): LockserverClient {
    const { clock } = this
    return new LockserverClient({ secret: 's', dotenv: false, ...options, ...testing({ transport: this, clock, figures }) })
  }

  /** The operations, in their order. */
  get operations(): string[] {
    return this.seen.map(({ operation }) => operation)
  }

  send(operation: { name: string }, request: object, bound: number, route: { fresh?: boolean; background?: boolean } = {}) {
    const { fresh = false, background = false } = route
    const at = performance.now()
    const read = JSON.parse(JSON.stringify(request)) as Record<string, unknown>
    const sent: Sent = { operation: operation.name, request: read, bound, fresh, background, aborted: false, at }
    this.seen.push(sent)
    const instant = { monotonic: this.clock.monotonic(), wall: this.clock.wall() }
    let timer: NodeJS.Timeout | undefined
    let end!: (outcome: Outcome) => void
    const ended = new Promise<Outcome>((resolve) => {
      end = resolve
      const late = { kind: 'unknown', permanent: false, late: true, reason: `no answer from memory within ${bound / 1000} s` }
      timer = setTimeout(resolve, Math.min(bound, 2 ** 31 - 1), late)
    })
    const handled = Promise.resolve(this.handle(sent, this.seen.length)).then((outcome) => outcome ?? this.#free(sent))
    const outcome = Promise.race([handled, ended]).then((outcome) => {
      clearTimeout(timer)
      return { ...outcome, peer: 'memory', sent: instant }
    })
    const abort = () => {
      sent.aborted = true
      end({ kind: 'unknown', permanent: false, reason: 'given up' })
    }
    return { outcome, sent: true, abort }
  }

  async close(): Promise<void> {
    this.closed = true
  }

  #free({ operation, request }: Sent): Outcome {
    if (operation === 'release') return answer(200, { outcome: 'released' })
    const token = operation === 'acquire' ? ++this.#tokens : (request.token as number)
    const lease = request.expire ?? this.#leases.get(token) ?? null
    this.#leases.set(token, lease)
    return answer(200, { token, waited: 0, expires_in: lease })
  }
}
