import { randomUUID } from 'node:crypto'
import { type Answer, type Grant, grantIn, isTransient } from './answer.js'
import { backoff, lastAnswerGrace, timerDelay } from './bounds.js'
import { type Core, cancel, closedError, unreachable } from './core.js'
import { errorFrom, LockedError, LockTimeoutError } from './errors.js'
import { Lease } from './lease.js'
import type { AcquireRequest } from './request.js'
import { allowListeners } from './signal.js'
import { type Exchange, NoAnswer } from './transport.js'

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
  #exchange: Exchange | undefined
  /** Whether the server may hold something under the id: a place in the queue, or a grant whose answer was lost. */
  #unsettled = false
  #queued = false
  #stopped: { reason: unknown } | undefined
  #wake: (() => void) | undefined

  constructor(core: Core, request: AcquireRequest) {
    this.#core = core
    this.#request = request
    this.#doing = `acquire ${JSON.stringify(request.resource)}`
  }

  /** Ends the call, which then rejects with `reason` and leaves nothing held. */
  giveUp(reason: unknown): void {
    this.#stopped ??= { reason }
    this.#exchange?.detach()
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
    let trouble: Error | undefined
    for (;;) {
      const begun = performance.now()
      const left = (limit ?? answeredAt + this.#silence()) - begun
      const wait = blocking ? Math.ceil(Math.min(limit === undefined ? bounds.hop : Math.max(left, 0), bounds.hop)) : 0
      const { answer, failure } = await this.#hop(wait, this.#bound(wait, left), fresh)
      if (failure?.hopeless) throw unreachable(this.#core, this.#doing, failure)
      const now = performance.now()
      fresh = failure !== undefined
      if (answer !== undefined && !isTransient(answer)) {
        answeredAt = now
        const outcome = await this.#take(answer)
        if (outcome !== undefined) return outcome
        // A 202 ends a hop as it should, unless it came at once: then the next one must not follow at once, too.
        failures = answer.status === 202 && now - begun >= Math.min(wait, shortestHop) ? 0 : failures + 1
      } else {
        failures++
      }
      this.#throwIfStopped()
      const end = limit ?? answeredAt + this.#silence()
      // That the last try ran out of time says less than what went wrong before.
      const late = failure !== undefined && failure.cause === undefined && end - now < shortestTry
      if (!late || trouble === undefined) {
        trouble = failure ?? (answer === undefined || answer.status === 202 ? undefined : errorFrom(answer, this.#doing))
      }
      if (failures > 0) await this.#rest(Math.min(backoff(failures, answer?.retryAfter), end - performance.now()))
      this.#throwIfStopped()
      if (end - performance.now() >= shortestTry) continue
      if (limit === undefined) throw unreachable(this.#core, this.#doing, trouble)
      throw new LockTimeoutError(`${this.#doing}: not granted within ${(timeout ?? 0) / 1000} s`, trouble && { cause: trouble })
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

  async #hop(wait: number, bound: number, fresh: boolean): Promise<{ answer?: Answer; failure?: NoAnswer }> {
    this.#throwIfStopped()
    const { resource, expire, fields } = this.#request
    const body = { resource, owner: this.#core.owner, id: this.#id, expire, wait: wait / 1000, ...fields }
    const exchange = this.#core.transport.send('/acquire', body, timerDelay(bound), { fresh })
    this.#exchange = exchange
    try {
      const answer = await exchange.answer
      this.#unsettled ||= isTransient(answer)
      if (answer.status < 300 && answer.status !== 202 && grantIn(answer) === undefined) {
        throw new NoAnswer(`an answer with status ${answer.status} but no grant: is there a lock server at this address?`, true)
      }
      return { answer }
    } catch (error) {
      this.#unsettled ||= exchange.sent
      this.#throwIfStopped()
      if (!(error instanceof NoAnswer)) throw error
      return { failure: error }
    }
  }

  /** What an answer means: a grant, a refusal, an error; or undefined, to go on. */
  async #take(answer: Answer): Promise<Acquired | LockedError | undefined> {
    if (answer.status === 200) {
      this.#unsettled = true
      this.#throwIfStopped()
      const grant = grantIn(answer) as Grant
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
      return new LockedError(`${this.#doing}: others hold it`, { status: 202 })
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

  #cancel(exchange?: Exchange): Promise<void> {
    const cancelled = cancel(this.#core, this.#request.resource, this.#id, exchange)
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
    const exchange = this.#exchange
    if (exchange !== undefined && !exchange.sent) exchange.abort()
    if (!this.#unsettled) return
    const cancelled = this.#cancel(exchange)
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
