import type { Acquired } from './acquisition.js'
import type { Core } from './core.js'
import { LockserverError, NotHeldError } from './errors.js'
import { Keeper } from './keeper.js'
import { release } from './operations.js'
import { type AcquireCall, type LockMode, usableLease } from './options.js'
import { cleanup, type Tries } from './retry.js'

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

  /** Whether somebody with the handle has asked for its release. @internal */
  asked = false

  readonly #core: Core
  readonly #keeper: Keeper
  readonly #tries: Tries = { unsettled: false }
  #release: Promise<boolean> | undefined

  private constructor(core: Core, call: AcquireCall, acquired: Acquired, onEnd: (lock: Lock) => void) {
    const { resource, expire, renew, mode, limit } = call
    const { id, token } = acquired
    this.resource = resource
    this.owner = core.owner
    this.id = id
    this.token = token
    this.mode = limit === undefined ? (mode ?? 'exclusive') : null
    this.limit = limit ?? null
    this.#core = core
    this.#keeper = new Keeper(core, this, acquired, expire, renew, () => onEnd(this))
  }

  /** `onEnd` is called once, when the lock is released or lost. @internal */
  static of(core: Core, call: AcquireCall, acquired: Acquired, onEnd: (lock: Lock) => void): Lock {
    return new Lock(core, call, acquired, onEnd)
  }

  /**
   * Aborts when the lock is lost, with a {@link LockLostError} as its reason; never on release. Hand it to what works
   * under the lock. Reading it, or its `aborted`, compares the clocks: after a pause of the process that outlasted the
   * lease it says so even if no timer has fired yet.
   */
  get signal(): AbortSignal {
    return this.#keeper.signal
  }

  /** Whether the lock has been lost. Compares the clocks. A lock that was released in time was not lost. */
  get lost(): boolean {
    this.#keeper.look()
    return this.#keeper.loss !== undefined
  }

  /** Throws {@link LockLostError} if the lock has been lost. Compares the clocks, so it is right even before any timer fires. */
  check(): void {
    if (this.lost) throw this.#keeper.loss
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
    return this.#keeper.renew(expire == null ? undefined : usableLease(expire))
  }

  /**
   * Releases the lock: true, or false where it was no longer held. May be called again, with the same result. Rejects with
   * {@link ConnectionFailedError} if the server gave no usable answer within 5 seconds; renewal has ended then all the same.
   */
  release(): Promise<boolean> {
    this.asked = true
    const lost = this.lost
    if (this.#keeper.state === 'released') return Promise.resolve(!lost)
    if (!lost) return this.#free()
    if (!this.#keeper.lossCertain) this.#free().catch(() => undefined)
    return Promise.resolve(false)
  }

  /**
   * Leaves the scope of `await using`: releases, and throws {@link LockLostError} if the lock had been lost. The server's
   * answer decides; if it gives none, what was known at the end of the scope. That it is unreachable is no error here.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.asked = true
    if (this.#keeper.state === 'released') return
    this.#keeper.look()
    const { loss, lossCertain } = this.#keeper
    if (loss !== undefined && lossCertain) throw loss
    let released: boolean
    try {
      released = await this.#free()
    } catch {
      if (loss !== undefined) throw loss
      return
    }
    if (!released) throw this.#keeper.loss ?? this.#keeper.lostError('the server no longer holds it')
  }

  /** The server says, without being asked, that it is held no longer. @internal */
  gone(reason: string): void {
    this.#keeper.gone(reason)
  }

  /** There is a new session. @internal */
  takeOver(): void {
    this.#keeper.takeOver()
  }

  /** The client is closed. @internal */
  orphan(): void {
    this.#keeper.orphan()
  }

  /** Tells the server that the lock is free, once; resolves to whether it had still been held. */
  #free(): Promise<boolean> {
    this.#release ??= this.#sendRelease().catch((error) => {
      this.#release = undefined
      this.#keeper.unreleased()
      throw error
    })
    this.#core.background(this.#release)
    return this.#release
  }

  async #sendRelease(): Promise<boolean> {
    this.#keeper.releasing()
    const { resource, owner, token } = this
    const call = release({ resource, owner, token })
    const reply = await cleanup(this.#core, `release ${JSON.stringify(resource)}`, call, { tries: this.#tries })
    if (reply instanceof NotHeldError) {
      // An attempt before this one, which got no answer, is what ended it, unless the lease or the server's word speaks against that.
      const { loss, expired } = this.#keeper
      const unclear = reply.reason === 'unknown' || reply.reason === 'other_holder' || reply.reason === null
      if (!this.#tries.unsettled || loss !== undefined || expired || !unclear) {
        this.#keeper.lose(`the server says ${reply.reason ?? 'not_held'}`, true, reply)
        return false
      }
    } else if (reply instanceof LockserverError) throw reply
    this.#keeper.released()
    return true
  }
}
