import { backoff } from './backoff.js'
import { now } from './clock.js'
import { OPERATIONS, type Operation, VERDICTS, type Verdict, WITHOUT_CODE } from './contract.js'
import type { Core } from './core.js'
import { ConnectionFailedError, errorFrom, type LockserverError, NotHeldError } from './errors.js'
import { type Call, read } from './operations.js'
import type { Attempt, Failure, Outcome } from './transport.js'
import { Stop } from './waiting.js'

/** How an operation is sent until it has its answer. */
export interface Plan<Reply> {
  /** What is done, for messages. */
  doing: string
  /** Milliseconds that are left, asked anew before each attempt. The first is made in any case. */
  left(): number
  /** What is sent next. */
  call(): Call<Reply>
  /** The bound of the attempt, of the milliseconds that are left. */
  bound(left: number): number
  /** Ends the call. The attempt that is on its way goes on. */
  stop?: Stop
  /** Where is noted what became of the attempts. */
  tries?: Tries | undefined
  /** What it may take depends on whether the server shows that it lives, if the transport can tell. */
  unbounded?: boolean
  /** It is sent again only while it certainly never arrived. */
  once?: boolean | undefined
  /** It is one attempt, made at each server until one answers. */
  single?: boolean
  /** It runs in the background, and what is raised elsewhere is retried too, with pauses of at most so many milliseconds. */
  stubborn?: number
  /** The error of a call that ran out of time; absent: connection_failed. */
  expired?: ((obstacle: string, trouble: Error | undefined) => Error) | undefined
}

/** What is known of the attempts of one request, over all calls that send it. */
export interface Tries {
  /** Whether the server may know of one, or hear of it yet. */
  unsettled: boolean
  /** The last one. */
  attempt?: Attempt
}

/** Sends one operation until an answer decides. Here, and nowhere else, is decided whether to send again. */
export class Retry<Reply extends { kind: string }> {
  /** When the last answer came, or this began. */
  heard = now()
  /** Milliseconds that the attempt took which had the last answer. */
  lasted = 0
  /** Whether the server showed that it lived while it had a request of this. */
  parked = false
  readonly #core: Core
  readonly #plan: Plan<Reply>
  readonly #stop: Stop | undefined
  readonly #tries: Tries
  #sentAt = 0
  #failures = 0
  #fresh = false
  /** Attempts since the last pause, each at another server, */
  #round = 0
  /** and the longest that one of them asks to wait. */
  #longest = 0
  #retryAfter = 0
  #pause = 0
  #obstacle = ''
  #trouble: Error | undefined

  constructor(core: Core, plan: Plan<Reply>) {
    this.#core = core
    this.#plan = plan
    this.#stop = plan.stop
    this.#tries = plan.tries ?? { unsettled: false }
  }

  /** The reply, or the error of a code that its caller knows what to do with. It can be run again: pauses and limits go on. */
  async run(): Promise<Reply | LockserverError> {
    for (;;) {
      if (this.#sentAt > 0) await this.#rest()
      this.#stop?.throwIfStopped()
      const call = this.#plan.call()
      let outcome = await this.#send(call)
      this.#retryAfter = outcome.retryAfter ?? 0
      if (outcome.kind === 'answer' && outcome.code === undefined) {
        const reply = read(call, outcome)
        if (reply.kind !== 'unknown') return this.#answered(reply as Reply)
        outcome = reply as Failure
      }
      const error = this.#judge(outcome, call.operation)
      if (error !== undefined) return this.#answered(error)
    }
  }

  /** The last reply brought the call no further: the next attempt is a retry. */
  setback(obstacle: string, trouble?: Error): void {
    this.#obstacle = obstacle
    this.#trouble = trouble
    this.#pause = Math.max(backoff(++this.#failures, this.#core.figures), this.#retryAfter)
  }

  /** The last reply was all that could be hoped for yet. */
  progress(obstacle: string): void {
    this.#obstacle = obstacle
    this.#trouble = undefined
    this.#failures = 0
    this.#pause = 0
  }

  async #rest(): Promise<void> {
    const { left, stubborn = Number.POSITIVE_INFINITY, single = false, doing } = this.#plan
    const pause = Math.min(this.#pause, stubborn, left())
    if (pause > 0) await (this.#stop ?? new Stop()).pause(pause, stubborn !== Number.POSITIVE_INFINITY)
    this.#stop?.throwIfStopped()
    if (left() >= this.#core.figures.shortestAttempt || (single && this.#round > 0)) return
    const why = this.#obstacle && `: ${this.#obstacle}`
    const timedOut = new ConnectionFailedError(`${doing}: no usable answer in time${why}`, { cause: this.#trouble })
    throw this.#plan.expired?.(this.#obstacle, this.#trouble) ?? timedOut
  }

  #send({ operation, request, follower }: Call<Reply>): Promise<Outcome> {
    const { left, bound, stubborn, stop, unbounded = false } = this.#plan
    const route = { fresh: this.#fresh, background: stubborn !== undefined, unbounded, follower }
    const attempt = this.#core.transport.send(operation, request, bound(Math.max(left(), 1)), route)
    this.#tries.attempt = attempt
    this.#sentAt = now()
    if (stop === undefined) return attempt.outcome
    return stop.race(attempt.outcome, () => {
      if (attempt.sent) this.#tries.unsettled = true
      else attempt.abort()
    })
  }

  #answered<T>(reply: T): T {
    this.heard = now()
    this.lasted = this.heard - this.#sentAt
    this.#fresh = false
    this.#round = this.#longest = 0
    return reply
  }

  /** Decides what becomes of a call after anything but a success: returns an error to handle, throws one, or notes a setback. */
  #judge(outcome: Outcome, operation: Operation): LockserverError | undefined {
    // A server that drains has released nothing; who waits may yet be granted the lock by its last moments.
    const draining = outcome.kind === 'answer' && outcome.code === 'draining' && operation !== OPERATIONS.acquire
    const refused = draining || (outcome.kind === 'answer' && outcome.status < 500)
    if (outcome.kind !== 'unsent' && !refused) this.#tries.unsettled = true
    if (outcome.kind !== 'answer' && outcome.heard !== undefined) {
      this.parked = true
      this.heard = Math.max(this.heard, outcome.heard)
    }
    const { doing, stubborn, once } = this.#plan
    const { error, obstacle } = describe(outcome, doing)
    const verdict = verdictOn(outcome)
    if (verdict === 'handle' && (stubborn === undefined || error instanceof NotHeldError)) return error
    if (stubborn === undefined && (verdict === 'raise' || (once && outcome.kind !== 'unsent'))) throw error
    // That the last attempt ran out of time says less than what went wrong before.
    const late = outcome.kind !== 'answer' && outcome.late && this.#plan.left() < this.#core.figures.shortestAttempt
    if (late && this.#obstacle !== '') this.#fail(outcome, this.#obstacle, this.#trouble)
    else this.#fail(outcome, obstacle, error)
    if (outcome.kind !== 'answer' && outcome.again) this.#pause = 0
    this.#fresh = true
    return undefined
  }

  /** A setback if every server was asked; until then the next one is, at once. */
  #fail({ elsewhere }: Outcome, obstacle: string, trouble: Error | undefined): void {
    this.#longest = Math.max(this.#longest, this.#retryAfter)
    this.#retryAfter = this.#longest
    if (elsewhere && ++this.#round < this.#core.transport.addresses) {
      this.#obstacle = obstacle
      this.#trouble = trouble
      this.#pause = 0
      return
    }
    this.#round = this.#longest = 0
    this.setback(obstacle, trouble)
  }
}

function verdictOn(outcome: Outcome): Verdict {
  if (outcome.kind !== 'answer') return outcome.permanent ? 'raise' : 'retry'
  const { code = '', status } = outcome
  return (Object.hasOwn(VERDICTS, code) ? VERDICTS[code] : WITHOUT_CODE[status]?.verdict) ?? 'raise'
}

function describe(outcome: Outcome, doing: string): { error: LockserverError; obstacle: string } {
  if (outcome.kind === 'answer') {
    return { error: errorFrom(outcome, doing), obstacle: `${outcome.peer} answered ${outcome.status} ${outcome.code}` }
  }
  const { reason, status, cause } = outcome
  return { error: new ConnectionFailedError(`${doing}: ${reason}`, { status, ...(cause && { cause }) }), obstacle: reason }
}

/** Sends what tidies up. All attempts end in time, each within half of what is left, so that one dead connection does not use it all up. */
export function cleanup<Reply extends { kind: string }>(
  core: Core,
  doing: string,
  call: Call<Reply>,
  { tries, once }: Pick<Plan<Reply>, 'tries' | 'once'> = {},
): Promise<Reply | LockserverError> {
  const end = now() + core.figures.cleanup
  const left = () => end - now()
  const bound = (left: number) => Math.max(left / 2, Math.min(left, 100))
  return new Retry(core, { doing, call: () => call, left, bound, tries, once }).run()
}
