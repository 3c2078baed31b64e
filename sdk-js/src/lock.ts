import type { Acquired } from './acquisition.js'
import { backoff, timerDelay } from './bounds.js'
import { OPERATIONS } from './contract.js'
import { type Core, closedError, persist, send, troubleOf, withinRelease } from './core.js'
import { errorFrom, LockLostError, type LockserverError, NotHeldError } from './errors.js'
import type { Lease } from './lease.js'
import { grantIn } from './operations.js'
import { type AcquireRequest, type LockMode, usableLease } from './request.js'
import { allowListeners, watchedSignal } from './signal.js'
import type { Outcome } from './transport.js'

/** What a lock needs of the client that made it. */
export interface LockHome extends Core {
  /** Called once, when the lock is released or lost. */
  forget(lock: Lock): void
}

type State = 'held' | 'releasing' | 'released' | 'lost'

/** Milliseconds for all tries to renew a lock that has no lease. */
const renewInAll = 30_000

/**
 * A lock that this client was granted. It is truthy, so code that treats the result of `acquire` as a boolean goes on to
 * work. It may be used with `await using`.
 */
export class Lock implements AsyncDisposable {
  /** What is locked. */
  readonly resource: string
  /** The client's label, under which the server lists the lock. */
  readonly owner: string
  /** The client's own name for this acquisition. */
  readonly id: string
  /**
   * The fencing token: an integer that is larger with every grant of the resource. Hand it to whatever the lock protects
   * and let that refuse smaller ones; then a holder that was paused past its lease can do no harm.
   */
  readonly token: number
  /** `exclusive` or `shared`; null for a semaphore. */
  readonly mode: LockMode | null
  /** The permits of a semaphore; null otherwise. */
  readonly limit: number | null

  readonly #home: LockHome
  readonly #lease: Lease
  /** The lease's length in milliseconds; undefined without one. */
  readonly #length: number | undefined
  #state: State = 'held'
  #renewing: boolean
  #renewAt: number
  #renewFailures = 0
  #renewal: Promise<void> | undefined
  #release: Promise<boolean> | undefined
  readonly #releaseTries = { unsettled: false }
  #timer: NodeJS.Timeout | undefined
  #controller: AbortController | undefined
  #loss: LockLostError | undefined
  /** Whether it was the server that said so. */
  #lossCertain = false

  private constructor(home: LockHome, request: AcquireRequest, { id, grant, lease }: Acquired) {
    this.resource = request.resource
    this.owner = home.owner
    this.id = id
    this.token = grant.token
    this.mode = request.fields.limit === undefined ? (request.fields.mode ?? 'exclusive') : null
    this.limit = request.fields.limit ?? null
    this.#home = home
    this.#lease = lease
    this.#length = request.expire === undefined ? undefined : request.expire * 1000
    this.#renewing = request.renew
    this.#renewAt = this.#nextRenewal()
    this.#schedule()
  }

  /** @internal */
  static of(home: LockHome, request: AcquireRequest, acquired: Acquired): Lock {
    return new Lock(home, request, acquired)
  }

  /**
   * Aborts when the lock is lost, with a {@link LockLostError} as its reason; never on release. Hand it to what works
   * under the lock. Reading it, or its `aborted`, compares the clocks: after a pause of the process that outlasted the
   * lease it says so even if no timer has fired yet.
   */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      allowListeners(this.#controller.signal)
      watchedSignal(this.#controller.signal, () => this.#look())
      if (this.#loss !== undefined) this.#controller.abort(this.#loss)
    }
    this.#look()
    return this.#controller.signal
  }

  /** Whether the lock has been lost. Compares the clocks. A lock that was released in time was not lost. */
  get lost(): boolean {
    this.#look()
    return this.#loss !== undefined
  }

  /** Throws {@link LockLostError} if the lock has been lost. Compares the clocks, so it is right even before any timer fires. */
  check(): void {
    if (this.lost) throw this.#loss
  }

  /**
   * Renews the lease: it ends `expire` seconds from now, or as long from now as it was taken for. Never shortens it; does
   * nothing to a lock without a lease. Lost connections and 502, 503, 504 are retried for as long as the lease lasts (30
   * seconds without one).
   *
   * @param expire Seconds, up to ten years. Default: the length that the lease was taken with.
   * @throws {@link LockLostError} once the lock is lost; {@link NotHeldError} after a release; {@link InvalidRequestError}
   * for an `expire` that cannot be; {@link ConnectionFailedError} without a usable answer in time, and where the client is
   * closed.
   */
  async renew(expire?: number | null): Promise<void> {
    const doing = `renew ${JSON.stringify(this.resource)}`
    this.#assertHeld(doing)
    const seconds = expire == null ? undefined : usableLease(expire)
    if (this.#home.closing.aborted) throw closedError(doing)
    const end = performance.now() + renewInAll
    const left = () => {
      if (this.#home.closing.aborted) return 0
      const lease = this.#lease.left()
      return lease === Number.POSITIVE_INFINITY ? end - performance.now() : lease
    }
    try {
      await this.#confirm(seconds, (body) =>
        persist(this.#home, OPERATIONS.renew, body, doing, {
          left,
          attempt: (left) => this.#renewalBound(left),
          until: this.#home.closing,
        }),
      )
    } catch (error) {
      this.check()
      throw error
    }
  }

  /**
   * Releases the lock: true, or false where it was no longer held. May be called again, with the same result. Rejects with
   * {@link ConnectionFailedError} if the server gave no usable answer within 5 seconds; renewal has ended then all the same.
   */
  release(): Promise<boolean> {
    if (this.#state === 'held') this.#look()
    if (this.#state === 'released') return Promise.resolve(this.#loss === undefined)
    if (this.#loss !== undefined) {
      if (!this.#lossCertain) this.#free().catch(() => undefined)
      return Promise.resolve(false)
    }
    return this.#free()
  }

  /**
   * Leaves the scope of `await using`: releases, and throws {@link LockLostError} if the lock had been lost. The server's
   * answer decides; if it gives none, what was known at the end of the scope. That it is unreachable is no error here.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'released') return
    if (this.#state === 'held') this.#look()
    const loss = this.#loss
    if (loss !== undefined && this.#lossCertain) throw loss
    let released: boolean
    try {
      released = await this.#free()
    } catch {
      if (loss !== undefined) throw loss
      return
    }
    if (!released) throw this.#loss ?? this.#lostError('the server no longer holds it')
  }

  /** The client is closed: a lock that it renewed is lost from now on, another one lasts as long as its lease. @internal */
  orphan(): void {
    if (this.#renewing) this.#lose('its client was closed, which ended the renewal', false)
  }

  #assertHeld(doing: string): void {
    if (this.#state === 'held') this.#look()
    if (this.#loss !== undefined) throw this.#loss
    if (this.#state !== 'held') throw new NotHeldError(`${doing}: it was released`, { reason: 'released' })
  }

  /** Compares the clocks. */
  #look(): void {
    if (this.#state === 'held' && this.#lease.left() <= 0) this.#lose('its lease ran out before a renewal was confirmed', false)
  }

  #lose(why: string, certain: boolean, cause?: LockserverError): void {
    if (this.#state === 'released' || this.#lossCertain) return
    this.#lossCertain = certain
    if (this.#loss === undefined) {
      this.#loss = this.#lostError(why, cause)
      this.#home.forget(this)
    }
    this.#end('lost')
    this.#controller?.abort(this.#loss)
  }

  #lostError(why: string, cause?: LockserverError): LockLostError {
    return new LockLostError(
      `the lock on ${JSON.stringify(this.resource)} (token ${this.token}) is lost: ${why}`,
      cause && { cause },
    )
  }

  #end(state: 'released' | 'lost'): void {
    this.#state = state
    this.#renewing = false
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** Tells the server that the lock is free, once; resolves to whether it had still been held. */
  #free(): Promise<boolean> {
    this.#release ??= this.#sendRelease().catch((error) => {
      this.#release = undefined
      if (this.#state === 'releasing') {
        this.#state = 'held'
        this.#schedule()
      }
      throw error
    })
    this.#home.background(this.#release)
    return this.#release
  }

  async #sendRelease(): Promise<boolean> {
    if (this.#state === 'held') this.#state = 'releasing'
    this.#renewing = false
    clearTimeout(this.#timer)
    const { resource, owner, token } = this
    const doing = `release ${JSON.stringify(resource)}`
    const how = { ...withinRelease(performance.now() + this.#home.bounds.release), tries: this.#releaseTries }
    const answer = await persist(this.#home, OPERATIONS.release, { resource, owner, token }, doing, how)
    const refusal = answer.code === undefined ? undefined : errorFrom(answer, doing)
    if (refusal instanceof NotHeldError) {
      // A try before this one, which got no answer, is what ended it, unless the lease or the server's word speaks against that.
      const released = this.#releaseTries.unsettled && this.#loss === undefined && this.#lease.left() > 0 && !refusal.tellsLoss
      if (!released) {
        this.#lose(`the server says ${refusal.reason ?? 'not_held'}`, true, refusal)
        return false
      }
    } else if (refusal !== undefined) throw refusal
    this.#end('released')
    this.#home.forget(this)
    return true
  }

  /** Sends one renewal, and takes in what is answered. */
  async #confirm(seconds: number | undefined, request: (body: object) => Promise<Outcome>): Promise<void> {
    const { resource, owner, token } = this
    const answer = await request({ resource, owner, token, expire: seconds })
    this.#assertHeld(`renew ${JSON.stringify(resource)}`)
    if (answer.kind === 'answer' && answer.code === 'not_held') {
      const notHeld = errorFrom(answer, `renew ${JSON.stringify(resource)}`)
      this.#lose(`the server says ${(notHeld as NotHeldError).reason ?? 'not_held'}`, true, notHeld)
      throw this.#loss
    }
    if (answer.kind !== 'answer' || answer.code !== undefined) throw troubleOf(answer, `renew ${JSON.stringify(resource)}`)
    const grant = grantIn(answer)
    this.#lease.confirm(answer.sent, grant.waited, grant.expiresIn)
    this.#renewAt = this.#nextRenewal()
    this.#schedule()
  }

  /** Milliseconds for one try to renew, of those that are left. */
  #renewalBound(left: number): number {
    return timerDelay(Math.min(left, (this.#length ?? Number.POSITIVE_INFINITY) / 3, this.#home.bounds.answer))
  }

  #nextRenewal(): number {
    return this.#renewing && this.#length !== undefined ? performance.now() + this.#length / 3 : Number.POSITIVE_INFINITY
  }

  /** Sets the timer for whatever comes first: the renewal, the safe deadline, or the next look at the clocks. */
  #schedule(): void {
    const left = this.#lease.left()
    if (this.#state !== 'held' || left === Number.POSITIVE_INFINITY || this.#length === undefined) return
    clearTimeout(this.#timer)
    const renewal = this.#renewing ? this.#renewAt - performance.now() : Number.POSITIVE_INFINITY
    const next = Math.min(left, renewal, this.#length / 3)
    this.#timer = setTimeout(() => this.#tick(), timerDelay(Math.ceil(next)))
    this.#timer.unref()
  }

  #tick(): void {
    this.#look()
    if (this.#state !== 'held') return
    if (this.#renewing && this.#renewal === undefined && performance.now() >= this.#renewAt) {
      this.#renewal = this.#renewInBackground().finally(() => {
        this.#renewal = undefined
        this.#schedule()
      })
    }
    this.#schedule()
  }

  /** One try to renew. Whatever goes wrong short of `not_held` is tried again, until the safe deadline. */
  async #renewInBackground(): Promise<void> {
    const third = (this.#length as number) / 3
    const route = { background: true, fresh: this.#renewFailures > 0 }
    this.#renewAt = Number.POSITIVE_INFINITY
    try {
      await this.#confirm(undefined, (body) => {
        const bound = this.#renewalBound(Math.max(this.#lease.left(), 1))
        return send(this.#home, OPERATIONS.renew, body, bound, route)
      })
      this.#renewFailures = 0
    } catch {
      this.#renewFailures++
      this.#renewAt = performance.now() + Math.min(backoff(this.#renewFailures), third / 2)
    }
  }
}
