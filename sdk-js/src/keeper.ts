import type { Acquired } from './acquisition.js'
import { type Instant, now } from './clock.js'
import type { Core } from './core.js'
import { LockLostError, LockserverError, NotHeldError } from './errors.js'
import type { Lease } from './lease.js'
import { type Granted, renew } from './operations.js'
import { type Plan, Retry } from './retry.js'
import type { Carrier, KeptLease } from './transport.js'
import { after, Stop, watchedController } from './waiting.js'

type State = 'held' | 'releasing' | 'released' | 'lost'

/** What a keeper keeps. */
export interface Kept {
  readonly resource: string
  readonly owner: string
  readonly id: string
  readonly token: number
}

/** Keeps the lease of one lock: renews it if it is to be renewed, and knows and tells whether the lock is lost. */
export class Keeper implements KeptLease {
  /** Why the lock is lost, as far as is known without looking at the clocks. */
  loss: LockLostError | undefined
  /** Whether it was the server that said so. */
  lossCertain = false
  readonly #core: Core
  readonly #kept: Kept
  readonly #lease: Lease
  /** In seconds; undefined without a lease. */
  readonly #length: number | undefined
  /** A part of the lease's length in milliseconds; undefined without one. It is renewed after that. */
  readonly #part: number | undefined
  readonly #onEnd: () => void
  readonly #renewals = new Stop()
  #renewing: boolean
  #state: State = 'held'
  #renewAt = Number.POSITIVE_INFINITY
  /** Whether a renewal in the background is under way. */
  #busy = false
  /** The session that the lease belongs to. */
  #carrier: Carrier | undefined
  #stopTimer: () => void = () => undefined
  #controller: AbortController | undefined

  /** `length` is the lease's in seconds; `onEnd` is called once, when the lock is released or lost. */
  constructor(
    core: Core,
    kept: Kept,
    { lease, carrier }: Acquired,
    length: number | undefined,
    renewing: boolean,
    onEnd: () => void,
  ) {
    this.#core = core
    this.#kept = kept
    this.#lease = lease
    this.#length = length
    this.#part = length === undefined ? undefined : (length * 1000) / core.figures.renewPart
    this.#renewing = renewing
    this.#onEnd = onEnd
    this.#belongTo(carrier)
    this.#confirmed()
  }

  get resource(): string {
    return this.#kept.resource
  }

  get token(): number {
    return this.#kept.token
  }

  get state(): State {
    return this.#state
  }

  /** Whether the lease has run out. */
  get expired(): boolean {
    return this.#lease.left() <= 0
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = watchedController(() => this.look())
      if (this.loss !== undefined) this.#controller.abort(this.loss)
    }
    this.look()
    return this.#controller.signal
  }

  /** Compares the clocks. */
  look(): void {
    if (this.#state === 'held' && this.expired) this.lose('its lease ran out before a renewal was confirmed', false)
  }

  /** The client is closed: a lock that it renewed is lost from now on, another one lasts as long as its lease. */
  orphan(): void {
    if (this.#renewing) this.lose('its client was closed, which ended the renewal', false)
  }

  /** It was renewed together with others. */
  renewed(sent: Instant): void {
    if (this.#state !== 'held' || this.#length === undefined) return
    this.#lease.confirm({ sent, waited: 0, expiresIn: this.#length })
    this.#confirmed()
  }

  /** The server says, without being asked, that it is held no longer. */
  gone(reason: string): void {
    const cause = new NotHeldError(`the server ended the lock on ${JSON.stringify(this.resource)}: ${reason}`, { reason })
    this.lose(`the server says ${reason}`, true, cause)
  }

  /** There is a new session: a renewal takes the lease over to it. */
  takeOver(): void {
    if (this.#state === 'held' && this.#renewing && this.#part !== undefined) this.#keep()
  }

  lose(why: string, certain: boolean, cause?: LockserverError): void {
    if (this.#state === 'released' || this.lossCertain) return
    this.lossCertain = certain
    if (this.loss === undefined) {
      this.loss = this.lostError(why, cause)
      this.#onEnd()
    }
    this.#end('lost')
    this.#controller?.abort(this.loss)
  }

  lostError(why: string, cause?: LockserverError): LockLostError {
    const { resource, token } = this.#kept
    return new LockLostError(`the lock on ${JSON.stringify(resource)} (token ${token}) is lost: ${why}`, cause && { cause })
  }

  /** The release is on its way: renewal ends, and the lease is watched no longer. */
  releasing(): void {
    if (this.#state === 'held') this.#end('releasing')
  }

  /** The release failed: the lock lasts as long as its lease. */
  unreleased(): void {
    if (this.#state !== 'releasing') return
    this.#state = 'held'
    this.#schedule()
  }

  released(): void {
    this.#end('released')
    this.#onEnd()
  }

  /** Renews at the word of the holder, for so many seconds or the lease's length. */
  async renew(seconds: number | undefined): Promise<void> {
    const doing = `renew ${JSON.stringify(this.#kept.resource)}`
    this.#assertHeld(doing)
    this.#core.closing.throwIfStopped()
    const end = now() + this.#core.figures.silence
    const left = () => {
      const lease = this.#lease.left()
      return lease === Number.POSITIVE_INFINITY ? end - now() : lease
    }
    try {
      await this.#renew(seconds, { doing, left, stop: this.#core.closing })
    } catch (error) {
      this.look()
      throw this.loss ?? error
    }
  }

  #assertHeld(doing: string): void {
    this.look()
    if (this.loss !== undefined) throw this.loss
    if (this.#state !== 'held') throw new NotHeldError(`${doing}: it was released`, { reason: 'released' })
  }

  async #renew(expire: number | undefined, how: Omit<Plan<Granted>, 'call' | 'bound'>): Promise<void> {
    const { resource, owner, id, token } = this.#kept
    const call = renew({ resource, owner, id, token, expire })
    const reply = await new Retry(this.#core, { ...how, call: () => call, bound: (left) => this.#bound(left) }).run()
    this.#assertHeld(how.doing)
    if (reply instanceof NotHeldError) this.lose(`the server says ${reply.reason ?? 'not_held'}`, true, reply)
    if (reply instanceof LockserverError) throw this.loss ?? reply
    this.#lease.confirm(reply)
    this.#belongTo(reply.carrier)
    this.#confirmed()
  }

  #bound(left: number): number {
    return Math.min(left, this.#part ?? Number.POSITIVE_INFINITY, this.#core.figures.renewAttempt)
  }

  /** Leaves one session for another, or for none. */
  #belongTo(carrier: Carrier | undefined): void {
    if (carrier === this.#carrier || this.#part === undefined) return
    this.#leave(true)
    this.#carrier = carrier
    if (this.#renewing) carrier?.kept.add(this)
    else carrier?.strays.add(this.#kept.id)
  }

  /** It is not to be renewed any more; `ended` if there is nothing that could be. */
  #leave(ended: boolean): void {
    this.#carrier?.kept.delete(this)
    if (ended) this.#carrier?.strays.delete(this.#kept.id)
    else if (this.#part !== undefined) this.#carrier?.strays.add(this.#kept.id)
  }

  #end(state: 'releasing' | 'released' | 'lost'): void {
    this.#state = state
    this.#renewing = false
    this.#leave(state === 'released' || this.lossCertain)
    this.#renewals.now(undefined)
    this.#stopTimer()
  }

  #confirmed(): void {
    if (this.#renewing && this.#part !== undefined) this.#renewAt = now() + this.#part
    this.#schedule()
  }

  /** Sets the timer for whatever comes first: the renewal, the safe deadline, or the next look at the clocks. */
  #schedule(): void {
    const left = this.#lease.left()
    if (this.#state !== 'held' || left === Number.POSITIVE_INFINITY || this.#part === undefined) return
    this.#stopTimer()
    const renewal = this.#renewing ? this.#renewAt - now() : Number.POSITIVE_INFINITY
    this.#stopTimer = after(Math.ceil(Math.min(left, renewal, this.#part)), () => this.#tick(), true)
  }

  #tick(): void {
    this.look()
    if (this.#state !== 'held') return
    if (this.#renewing && now() >= this.#renewAt) this.#keep()
    this.#schedule()
  }

  /** Renews, alone or together with all that belong to the same session. */
  async #keep(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    this.#renewAt = Number.POSITIVE_INFINITY
    try {
      const carrier = this.#carrier
      if (carrier !== undefined && !carrier.ended && carrier.strays.size === 0 && this.#core.coming === 0) {
        if (await carrier.keepAlive(this, this.#bound(this.#lease.left()))) return
        if (this.#state !== 'held') return
      }
      // Tries until the safe deadline. Whatever ends it, a loss or a release, is told elsewhere.
      await this.#renew(undefined, {
        doing: `renew ${JSON.stringify(this.#kept.resource)}`,
        left: () => this.#lease.left(),
        stop: this.#renewals,
        stubborn: (this.#part as number) / 2,
      }).catch(() => undefined)
    } finally {
      this.#busy = false
    }
  }
}
