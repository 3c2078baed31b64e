import type { Instant } from './clock.js'
import type { Operation } from './contract.js'
import type { Attempt, Failure, Outcome, Route } from './transport.js'
import { after } from './waiting.js'

/** A request that is sent on a session, or in its place over HTTP. */
export class Request implements Attempt {
  readonly outcome: Promise<Outcome>
  readonly operation: Operation
  readonly body: object
  /** Milliseconds. */
  readonly bound: number
  readonly route: Route
  /** Its name on the session, once it was sent there. */
  seq = 0
  /** When it was handed to the connection. */
  sentAt: Instant | undefined
  /** The same by `performance.now()`. */
  handedAt = 0
  ended = false
  /** Takes it from wherever it waits, when it ends by itself. `late`: by its bound. */
  leave: (late: boolean) => void = () => undefined
  /** Looks at its outcome before anybody else does. */
  judge: (outcome: Outcome) => Outcome = (outcome) => outcome
  #resolve!: (outcome: Outcome) => void
  #stopTimer: () => void
  #relayed: Attempt | undefined

  /** `reason` is asked for in case that the bound runs out. */
  constructor(operation: Operation, body: object, bound: number, route: Route, reason: (request: Request) => string) {
    this.operation = operation
    this.body = body
    this.bound = bound
    this.route = route
    this.outcome = new Promise((resolve) => {
      this.#resolve = resolve
    })
    this.#stopTimer = after(bound, () => this.#stop({ reason: reason(this), late: true }), route.background)
  }

  get sent(): boolean {
    return this.#relayed?.sent ?? this.sentAt !== undefined
  }

  abort(): void {
    if (this.#relayed !== undefined) this.#relayed.abort()
    else this.#stop({ reason: 'given up', aborted: true })
  }

  /** From now on the session is what shows that the server lives: the bound was for getting there. */
  unbound(): void {
    this.#stopTimer()
  }

  /** Another transport carries it. */
  relay(attempt: Attempt): void {
    this.#relayed = attempt
    this.#stopTimer()
    attempt.outcome.then((outcome) => this.end(outcome))
  }

  end(outcome: Outcome): void {
    if (this.ended) return
    this.ended = true
    this.#stopTimer()
    this.#resolve(this.judge(outcome))
  }

  fail(why: Partial<Failure> & { reason: string }): void {
    this.end({ permanent: false, ...why, kind: this.sent ? 'unknown' : 'unsent' })
  }

  #stop(why: Partial<Failure> & { reason: string }): void {
    if (this.ended) return
    this.fail(why)
    this.leave(why.late === true)
  }
}
