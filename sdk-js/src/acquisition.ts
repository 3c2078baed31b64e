import { randomUUID } from 'node:crypto'
import { backoff, lastAnswerGrace, timerDelay } from './bounds.js'
import { OPERATIONS } from './contract.js'
import { type Core, cancel, closedError, troubleOf, unreachable, usableOutcome } from './core.js'
import { errorFrom, LockedError, type LockserverError, LockTimeoutError, type Rivals, rivals } from './errors.js'
import { Lease } from './lease.js'
import { type Grant, grantIn, isTransient } from './operations.js'
import type { AcquireRequest } from './request.js'
import { allowListeners } from './signal.js'
import type { Answer, Attempt, Outcome } from './transport.js'

/** Milliseconds below which an answer "still queued" has not waited for anything. */
const shortestHop = 50

/** Milliseconds below which there is no use in another try. */
const shortestTry = 2

/** A lock that was granted and whose lease has not run out. */
export interface Acquired {
  readonly id: string
  readonly grant: Grant
  readonly lease: Lease
}

/**
 * One call to acquire, from the first request to the grant. It waits on the server, hop after hop, under one id, so that
 * a lost connection loses neither the place in the queue nor the lock.
 */
export class Acquisition {
  readonly #core: Core
  readonly #request: AcquireRequest
  readonly #doing: string
  #id = randomUUID()
  #attempt: Attempt | undefined
  /** Whether the server may hold something under the id: a place in the queue, or a grant whose answer was lost. */
  #unsettled = false
  #queued = false
  #stopped: { reason: unknown } | undefined
  #wake: (() => void) | undefined
  /** What stood in the way last. */
  #obstacle = ''
  #holders: Record<string, unknown> = {}

  constructor(core: Core, request: AcquireRequest) {
    this.#core = core
    this.#request = request
    this.#doing = `acquire ${JSON.stringify(request.resource)}`
  }

  /** Ends the call, which then rejects with `reason` and leaves nothing held. */
  giveUp(reason: unknown): void {
    this.#stopped ??= { reason }
    this.#wake?.()
  }

  /** The grant; or, for a call that is not blocking, the refusal. Rejects with everything else. */
  async run(): Promise<Acquired | LockedError> {
    const { signal } = this.#request
    signal?.throwIfAborted()
    if (this.#core.closing.aborted) throw closedError(this.#doing)
    const onAbort = () => this.giveUp(signal?.reason)
    if (signal !== undefined) allowListeners(signal)
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      return await this.#hops()
    } catch (error) {
      await this.#abandon()
      throw error
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  async #hops(): Promise<Acquired | LockedError> {
    const { bounds } = this.#core
    const { blocking, timeout } = this.#request
    const limit = timeout === undefined ? undefined : performance.now() + timeout
    let answeredAt = performance.now()
    let failures = 0
    let fresh = false
    let trouble: LockserverError | undefined
    for (;;) {
      const begun = performance.now()
      const left = (limit ?? answeredAt + this.#silence()) - begun
      const wait = blocking ? Math.ceil(Math.min(limit === undefined ? bounds.hop : Math.max(left, 0), bounds.hop)) : 0
      const outcome = await this.#hop(wait, this.#bound(wait, left), fresh)
      const now = performance.now()
      fresh = outcome.kind !== 'answer'
      if (outcome.kind === 'answer' && !isTransient(outcome)) {
        answeredAt = now
        const taken = await this.#take(outcome)
        if (taken !== undefined) return taken
        // A 202 ends a hop as it should, unless it came at once: then the next one must not follow at once, too.
        failures = outcome.status === 202 && now - begun >= Math.min(wait, shortestHop) ? 0 : failures + 1
      } else {
        failures++
        this.#unsettled ||= outcome.kind !== 'unsent'
        if (outcome.kind !== 'answer' && outcome.permanent) throw troubleOf(outcome, this.#doing)
      }
      this.#throwIfStopped()
      const end = limit ?? answeredAt + this.#silence()
      // That the last try ran out of time says less than what went wrong before.
      const late = outcome.kind !== 'answer' && outcome.late && end - now < shortestTry
      if (!late || this.#obstacle === '') {
        trouble = outcome.kind === 'answer' && outcome.code === undefined ? undefined : troubleOf(outcome, this.#doing)
        this.#note(outcome)
      }
      if (failures > 0) await this.#rest(Math.min(backoff(failures, outcome.retryAfter), end - performance.now()))
      this.#throwIfStopped()
      if (end - performance.now() >= shortestTry) continue
      if (limit === undefined) throw unreachable(this.#doing, trouble)
      const why = this.#obstacle === '' ? '' : `: ${this.#obstacle}`
      throw new LockTimeoutError(
        `resource ${JSON.stringify(this.#request.resource)} was not granted within ${(timeout ?? 0) / 1000} s${why}`,
        { body: this.#holders, ...(trouble && { cause: trouble }) },
      )
    }
  }

  /** Notes what stands in the way. */
  #note(outcome: Outcome): void {
    if (outcome.kind !== 'answer') {
      this.#obstacle = outcome.reason
    } else if (Array.isArray(outcome.body.holders) && outcome.body.holders.length > 0) {
      this.#holders = outcome.body
      this.#obstacle = heldBy(rivals(outcome.body), this.#core.owner)
    } else if (isTransient(outcome)) {
      this.#obstacle = `${this.#core.transport.peer} answered ${outcome.status} ${outcome.code}`
    }
  }

  /** How long a call without a limit goes on without any answer. */
  #silence(): number {
    return this.#queued ? this.#core.bounds.unansweredQueued : this.#core.bounds.unanswered
  }

  /** How long one hop may take until its answer must be there, where so much is left of the whole call. */
  #bound(wait: number, left: number): number {
    const { timeout } = this.#request
    const bound = wait + this.#core.bounds.answer
    if (timeout === 0) return bound
    return Math.min(bound, timeout === undefined ? left : Math.max(left, 0) + lastAnswerGrace)
  }

  async #hop(wait: number, bound: number, fresh: boolean): Promise<Outcome> {
    this.#throwIfStopped()
    const { resource, expire, fields } = this.#request
    const body = { resource, owner: this.#core.owner, id: this.#id, expire, wait: wait / 1000, ...fields }
    const attempt = this.#core.transport.send(OPERATIONS.acquire, body, timerDelay(bound), { fresh })
    this.#attempt = attempt
    const stopped = new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    const outcome = await Promise.race([attempt.outcome, stopped])
    if (outcome === undefined) {
      this.#unsettled ||= attempt.sent
      this.#throwIfStopped()
    }
    return usableOutcome(this.#core, OPERATIONS.acquire, outcome as Outcome)
  }

  /** What an answer means: a grant, a refusal, an error; or undefined, to go on. */
  async #take(answer: Answer): Promise<Acquired | LockedError | undefined> {
    if (answer.status === 200) {
      this.#unsettled = true
      this.#throwIfStopped()
      const grant = grantIn(answer)
      const lease = new Lease(this.#core.clock)
      lease.confirm(answer.sent, grant.waited, grant.expiresIn)
      if (lease.left() > 0) return { id: this.#id, grant, lease }
      await this.#cancel()
      this.#renewId()
      return undefined
    }
    if (answer.status === 202) {
      this.#unsettled = true
      this.#queued = true
      if (this.#request.blocking) return undefined
      await this.#cancel()
      return new LockedError(`${this.#doing}: others hold it`, { status: 202, body: answer.body })
    }
    if (answer.code === 'id_used') {
      this.#renewId()
      return undefined
    }
    if (answer.code === 'locked') {
      this.#queued = false
      if (this.#request.blocking) return undefined
      // The refusal does not settle an earlier try that got no answer: that one may still arrive.
      if (this.#unsettled) await this.#cancel()
      return errorFrom(answer, this.#doing) as LockedError
    }
    this.#unsettled ||= answer.status >= 500
    throw errorFrom(answer, this.#doing)
  }

  #cancel(attempt?: Attempt): Promise<void> {
    const cancelled = cancel(this.#core, this.#request.resource, this.#id, attempt)
    this.#core.background(cancelled)
    return cancelled
  }

  #renewId(): void {
    this.#id = randomUUID()
    this.#unsettled = false
    this.#queued = false
  }

  #throwIfStopped(): void {
    if (this.#stopped !== undefined) throw this.#stopped.reason
  }

  #rest(milliseconds: number): Promise<void> | undefined {
    if (milliseconds <= 0) return undefined
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timerDelay(milliseconds))
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** Takes back what the server may hold for this call. Waits a moment for its word, then goes on without it. */
  async #abandon(): Promise<void> {
    const attempt = this.#attempt
    if (attempt !== undefined && !attempt.sent) attempt.abort()
    if (!this.#unsettled) return
    const cancelled = this.#cancel(attempt)
    let timer: NodeJS.Timeout | undefined
    await Promise.race([
      cancelled,
      new Promise((resolve) => {
        timer = setTimeout(resolve, this.#core.bounds.abandon)
      }),
    ])
    clearTimeout(timer)
  }
}

/** Says in a few words who holds a resource that this owner asked for. */
function heldBy({ holders, holdersTotal }: Rivals, owner: string): string {
  const self = holders.find((holder) => holder.owner === owner)
  const holder = self ?? holders[0]
  const time = holder?.heldFor == null ? '' : ` for ${roughly(holder.heldFor)} s`
  const others = holdersTotal - 1
  const more = others > 0 ? ` and ${others} other${others > 1 ? 's' : ''}` : ''
  return `held by ${holder?.owner}${time}${self === undefined ? '' : ', which is this very client'}${more}`
}

function roughly(seconds: number): number {
  return seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds)
}
