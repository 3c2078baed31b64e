import { randomUUID } from 'node:crypto'
import { now } from './clock.js'
import type { Core } from './core.js'
import { IdUsedError, LockedError, LockserverError, LockTimeoutError, type Rivals } from './errors.js'
import { Lease } from './lease.js'
import { acquire, type Call, type Granted, type Queued, release } from './operations.js'
import type { AcquireCall } from './options.js'
import { cleanup, Retry, type Tries } from './retry.js'
import type { Carrier } from './transport.js'
import { atMost, onAbort, Stop } from './waiting.js'

/** A lock that was granted and whose lease has not run out. */
export interface Acquired {
  readonly id: string
  readonly token: number
  readonly lease: Lease
  readonly carrier: Carrier | undefined
}

/**
 * One call to acquire, from the first request to the grant. It waits on the server, hop after hop, under one id, so that
 * a lost connection loses neither the place in the queue nor the lock.
 */
export class Acquisition {
  /** What the server said about a grant of it before the caller had it. */
  lost: { token: unknown; why: string } | undefined
  /** Among those that are pending. */
  place = 0
  readonly #core: Core
  readonly #call: AcquireCall
  readonly #doing: string
  readonly #stop = new Stop()
  readonly #tries: Tries = { unsettled: false }
  readonly #retry: Retry<Granted | Queued>
  readonly #limit: number | undefined
  #id = randomUUID()
  #wait = 0
  #queued = false
  #rivals: Rivals | undefined

  constructor(core: Core, call: AcquireCall) {
    this.#core = core
    this.#call = call
    this.#doing = `acquire ${JSON.stringify(call.resource)}`
    this.#limit = call.timeout === undefined ? undefined : now() + call.timeout
    this.#retry = new Retry(core, {
      doing: this.#doing,
      left: () => (this.#limit ?? this.#retry.heard + this.#patience()) - now(),
      call: () => this.#hop(),
      bound: (left) => this.#bound(left),
      stop: this.#stop,
      tries: this.#tries,
      single: call.timeout === 0,
      unbounded: call.blocking && call.timeout === undefined,
      expired: call.timeout === undefined ? undefined : (obstacle, trouble) => this.#expired(obstacle, trouble),
    })
  }

  get id(): string {
    return this.#id
  }

  /** Ends the call, which then rejects with `reason` and leaves nothing held. */
  giveUp(reason: unknown): void {
    this.#stop.now(reason)
  }

  /** The grant; or, for a call that is not blocking, the refusal. Rejects with everything else. */
  async run(): Promise<Acquired | LockedError> {
    const { signal } = this.#call
    signal?.throwIfAborted()
    this.#core.closing.throwIfStopped()
    const forget = onAbort(signal, () => this.giveUp(signal?.reason))
    try {
      return await this.#hops()
    } catch (error) {
      await this.#abandon()
      throw error
    } finally {
      forget()
    }
  }

  async #hops(): Promise<Acquired | LockedError> {
    const { blocking } = this.#call
    for (;;) {
      const reply = await this.#retry.run()
      if (reply instanceof LockedError) {
        // The refusal does not settle an earlier attempt that got no answer: that one may still arrive.
        if (!blocking && this.#tries.unsettled) await this.#cancel()
        if (!blocking) return reply
        this.#retry.setback(this.#inTheWay(reply), reply)
        continue
      }
      if (reply instanceof IdUsedError) {
        this.#renewId()
        this.#retry.setback('', reply)
        continue
      }
      if (reply instanceof LockserverError) throw reply
      this.#tries.unsettled = true
      this.#stop.throwIfStopped()
      if (reply.kind === 'granted') {
        const lease = new Lease(this.#core.clock)
        lease.confirm(reply)
        if (lease.left() > 0) return { id: this.#id, token: reply.token, lease, carrier: reply.carrier }
        await this.#cancel()
        this.#renewId()
        this.#retry.setback('')
        continue
      }
      this.#queued = true
      if (!blocking) {
        await this.#cancel()
        return new LockedError(`${this.#doing}: others hold it`, { status: 202, rivals: reply.rivals })
      }
      const obstacle = this.#inTheWay(reply.rivals)
      // A hop that ended at once must not be followed by another one at once.
      const waited = this.#retry.lasted >= Math.min(this.#wait, this.#core.figures.shortestHop)
      if (waited) this.#retry.progress(obstacle)
      else this.#retry.setback(obstacle)
    }
  }

  #hop(): Call<Granted | Queued> {
    const { resource, blocking, expire, timeout, mode, limit, note } = this.#call
    const longest = this.#limit === undefined ? Number.POSITIVE_INFINITY : this.#limit - now()
    const most = this.#core.transport.wholeWaits ? this.#core.figures.longestWait : this.#core.figures.hop
    this.#wait = blocking && timeout !== 0 ? Math.ceil(Math.min(Math.max(longest, 0), most)) : 0
    return acquire({ resource, owner: this.#core.owner, id: this.#id, expire, wait: this.#wait / 1000, mode, limit, note })
  }

  /** How long a hop may take until its answer must be there. */
  #bound(left: number): number {
    const bound = this.#wait + this.#core.figures.answer
    if (this.#call.timeout === 0) return bound
    return Math.min(bound, this.#limit === undefined ? left : left + this.#core.figures.lastAnswer)
  }

  /** How long a call without a limit goes on without any answer. */
  #patience(): number {
    return this.#queued || this.#retry.parked ? this.#core.figures.silenceQueued : this.#core.figures.silence
  }

  #expired(obstacle: string, cause: Error | undefined): LockTimeoutError {
    const what = `resource ${JSON.stringify(this.#call.resource)} was not granted within ${Math.round(this.#call.timeout as number) / 1000} s`
    return new LockTimeoutError(obstacle ? `${what}: ${obstacle}` : what, { rivals: this.#rivals, ...(cause && { cause }) })
  }

  /** Notes who holds the resource, and says it in a few words. */
  #inTheWay(rivals: Rivals): string {
    const { holders, holdersTotal } = rivals
    const self = holders.find(({ owner }) => owner === this.#core.owner)
    const named = self ?? holders[0]
    if (named === undefined) return 'others hold it, or wait before'
    this.#rivals = rivals
    const { owner, heldFor } = named
    const time = heldFor === null ? '' : ` for ${heldFor < 10 ? Math.round(heldFor * 10) / 10 : Math.round(heldFor)} s`
    const others = holdersTotal > 1 ? ` and ${holdersTotal - 1} other${holdersTotal > 2 ? 's' : ''}` : ''
    return `held by ${owner}${time}${self ? ', which is this very client' : ''}${others}`
  }

  /** Frees what the id stands for, be it a grant or a place in the queue, and whatever may still come under it. Never rejects. */
  #cancel(): Promise<void> {
    const call = release({ resource: this.#call.resource, owner: this.#core.owner, id: this.#id })
    const { attempt } = this.#tries
    const id = this.#id
    const strays = this.#core.transport.carrier?.strays
    strays?.add(id)
    const cancelled = cleanup(this.#core, `cancel ${id}`, call).then(
      () => {
        attempt?.abort()
        strays?.delete(id)
      },
      // Nobody is left to tell. What was queued is dropped by the server when the place is no longer kept.
      () => attempt?.abort(),
    )
    this.#core.background(cancelled)
    return cancelled
  }

  #renewId(): void {
    this.#id = randomUUID()
    this.#tries.unsettled = false
    this.#queued = false
  }

  /** Takes back what the server may hold for this call. Waits a moment for its word, then goes on without it. */
  async #abandon(): Promise<void> {
    if (this.#tries.unsettled) await atMost(this.#core.figures.abandon, this.#cancel())
  }
}
