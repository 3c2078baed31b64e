import { inspect } from 'node:util'
import { Acquisition } from './acquisition.js'
import { Bag } from './bag.js'
import { type Clock, systemClock } from './clock.js'
import { type Core, figures } from './core.js'
import { ConnectionFailedError, InvalidRequestError, LockserverError, NotHeldError, TokenRequiredError } from './errors.js'
import { Lock } from './lock.js'
import { release } from './operations.js'
import { type AcquireCall, type AcquireOptions, acquireCall, type ScopeOptions, scopeCall } from './options.js'
import { cleanup } from './retry.js'
import { within } from './scope.js'
import { HttpServers, Servers } from './servers.js'
import { SessionTransport } from './sessions.js'
import { kind, type LockserverClientOptions, resolveSettings, type Settings } from './settings.js'
import type { Transport } from './transport.js'
import { Stop } from './waiting.js'
import { type LockEvent, type MissedEvents, type WatchOptions, watch } from './watch.js'

/** Names one grant or one acquisition, for {@link LockserverClient.release}. */
export interface ReleaseOptions {
  /** The token of the grant. */
  token?: number | undefined
  /** The id of the acquisition. */
  id?: string | undefined
}

/** For tests: the key of an option that replaces the clock, the transport and figures. @internal */
export const testing: unique symbol = Symbol.for('lockserver-client.testing') as never

interface Testing {
  clock?: Clock
  transport?: Transport
  figures?: Partial<typeof figures>
}

/**
 * A client of a Lockserver, or of a cluster of them. One is enough for a whole process: any number of calls may run on it at once, each waits for
 * itself, and calls that share a client exclude each other like any others. An idle client does not keep the process
 * alive, a pending call does.
 *
 * @example
 * const client = new LockserverClient({ secret: 'correct-horse-battery' })
 * await client.withLock('invoices/2026', async (lock) => {
 *   await writeInvoices({ fencingToken: lock.token, signal: lock.signal })
 * })
 */
export class LockserverClient implements AsyncDisposable {
  readonly #addr: string
  readonly #core: Core
  readonly #pending = new Bag<Acquisition>()
  /** How much is under way that {@link close} waits for, and what it waits with. */
  #working = 0
  #idle: (() => void) | undefined
  readonly #held = new Map<string, Set<Lock>>()
  /** By resource: the last one that was lost, which {@link release} must not take for none. */
  readonly #losses = new Map<string, Lock>()
  readonly #closing = new Stop()
  #closed: Promise<void> | undefined

  /**
   * Connects to nothing yet. Throws {@link ConfigInvalidError} for a setting that is wrong, and where no secret is found.
   * Settings that are absent come from the environment (`LOCKSERVER_ADDR`, `LOCKSERVER_OWNER`, `LOCKSERVER_SECRET`), then
   * from `.env` in the working directory.
   */
  constructor(options: LockserverClientOptions = {}) {
    const settings = resolveSettings(options)
    const { addr, owner } = settings
    const replaced = (options as { [testing]?: Testing })[testing] ?? {}
    const { clock = systemClock } = replaced
    const kept = { ...figures, ...replaced.figures }
    this.#addr = addr
    this.#core = {
      transport: replaced.transport ?? this.#transport(settings, clock, kept),
      clock,
      figures: kept,
      owner,
      closing: this.#closing,
      coming: 0,
      background: (work) => this.#track(work),
    }
  }

  /** The server's address, as it was given or found; of several, with commas between them. */
  get addr(): string {
    return this.#addr
  }

  /** The label under which this client holds locks. */
  get owner(): string {
    return this.#core.owner
  }

  /**
   * Acquires a lock. Waits in the server's queue, first come, first served, until it is granted.
   *
   * Without `expire` the lock is held until it is released, and if this process dies it is held for ever: prefer
   * {@link withLock}, or give `expire`, with `renew` if the work may take longer.
   *
   * @param resource What to lock, 1 to 512 bytes.
   * @param blocking False: resolve to `null` at once where others hold the lock.
   * @param expire Length of the lease in seconds, up to ten years. Default: none.
   * @returns The lock, or `null`.
   * @throws {@link LockTimeoutError} after `timeout`; the signal's reason after an abort, and then nothing is left behind,
   * neither a place in the queue nor a lock granted at the last moment; {@link ConnectionFailedError} after 30 seconds
   * without any usable answer (60 once it is queued) where no `timeout` is given, and at once for what no retry
   * can mend, such as a certificate that is not trusted; {@link UnauthorizedError} and others at once.
   */
  acquire(resource: string, blocking?: true, expire?: number | null): Promise<Lock>
  /** The same, or with `blocking` false: the lock, or `null` at once where others hold it. */
  acquire(resource: string, blocking: boolean, expire?: number | null): Promise<Lock | null>
  /** The same with options by their names: the lock, as soon as it is granted. */
  acquire(resource: string, options: AcquireOptions & { blocking?: true | undefined }): Promise<Lock>
  /** The same with options by their names: the lock, or with `blocking: false` `null` at once where others hold it. */
  acquire(resource: string, options: AcquireOptions): Promise<Lock | null>
  async acquire(resource: string, second?: boolean | AcquireOptions, expire?: number | null): Promise<Lock | null> {
    const acquired = await this.#acquire(acquireCall(resource, second, expire))
    return acquired instanceof Lock ? acquired : null
  }

  /**
   * Acquires a lock with a lease of 30 seconds that is renewed until it is released, for `await using`:
   * leaving the block releases it.
   *
   * @example
   * await using lock = await client.lock('invoices/2026')
   *
   * @throws {@link LockedError} with `blocking: false` where others hold it; otherwise as {@link acquire}.
   */
  async lock(resource: string, options?: ScopeOptions): Promise<Lock> {
    const acquired = await this.#acquire(scopeCall(resource, options))
    if (acquired instanceof Lock) return acquired
    throw acquired
  }

  /**
   * Runs `body` under a lock, with a lease of 30 seconds that is renewed while it runs, and always releases it.
   *
   * @returns What `body` returns.
   * @throws What `body` throws; {@link LockLostError} where the body ended well but the lock had been lost meanwhile;
   * {@link LockedError} with `blocking: false` where others hold it; otherwise as {@link acquire}.
   */
  withLock<T>(resource: string, body: (lock: Lock) => Promise<T> | T): Promise<T>
  /** The same with options: how to wait, and for what kind of lock and lease. */
  withLock<T>(resource: string, options: ScopeOptions, body: (lock: Lock) => Promise<T> | T): Promise<T>
  async withLock<T>(resource: string, second: unknown, third?: unknown): Promise<T> {
    const [options, body] = typeof second === 'function' ? [undefined, second] : [second, third]
    if (typeof body !== 'function') throw new InvalidRequestError('withLock needs a function to run', { field: 'body' })
    const lock = await this.lock(resource, (options ?? undefined) as ScopeOptions | undefined)
    return within(lock, body as (lock: Lock) => Promise<T> | T)
  }

  /**
   * Releases a lock by the name of its resource, for code that has kept no handle. If this client holds exactly one lock
   * there, that one; if it holds several, say which by `token` or `id`; if it knows of none, whatever the owner holds there.
   *
   * @throws {@link NotHeldError} where nothing was held, or where this client has lost its lock, and then nothing is freed; {@link TokenRequiredError} where it is not clear which one is meant;
   * {@link ConnectionFailedError} after 5 seconds without a usable answer. Without a handle, token or id the request is never
   * sent twice, because its repetition could free a later lock of the same owner.
   */
  async release(resource: string, options: ReleaseOptions = {}): Promise<void> {
    if (typeof resource !== 'string') {
      throw new InvalidRequestError(`resource must be a string, not ${kind(resource)}`, { field: 'resource' })
    }
    const { token, id } = options
    const doing = `release ${JSON.stringify(resource)}`
    this.#closing.throwIfStopped()
    const handles = [...(this.#held.get(resource) ?? [])].filter(
      (lock) => !lock.lost && (token === undefined || lock.token === token) && (id === undefined || lock.id === id),
    )
    const once = token === undefined && id === undefined
    const [lock = once ? this.#lossOf(resource) : undefined] = handles
    if (handles.length > 1) {
      throw new TokenRequiredError(
        `${doing}: this client holds ${handles.length} locks there; say which by token or id, or use the handles`,
      )
    }
    if (lock !== undefined) {
      if (await lock.release()) return
      throw new NotHeldError(`${doing}: it was no longer held`, { cause: lock.signal.reason })
    }
    const call = release({ resource, owner: this.owner, token, id })
    const reply = await cleanup(this.#core, doing, call, { once })
    if (reply instanceof LockserverError) throw reply
  }

  /**
   * What happens to the resources whose names begin with the prefix (default: all), as it happens, but for renewals. It begins when
   * the loop does. After a cut it goes on behind the last event, at another server of a cluster if that is not there; an event of the
   * kind `gap` says that some were missed, as they are by a loop that is slow.
   *
   * @example
   * for await (const event of client.watch('invoices/')) console.log(event.kind, event)
   *
   * @throws The signal's reason after an abort; {@link ConnectionFailedError} when no server has answered for 30 seconds, or once
   * the client is closed; others, such as {@link UnauthorizedError}, at once.
   */
  watch(prefix = '', options: WatchOptions = {}): AsyncGenerator<LockEvent | MissedEvents, void, void> {
    return watch(this.#core, prefix, options)
  }

  /**
   * Ends everything that this client runs: pending calls reject with {@link ConnectionFailedError} and leave nothing behind,
   * connections are closed. Locks that the client renewed count as lost from then on; others last until their leases end, and
   * their handles can still release them. Calls on a closed client reject.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  /** As {@link close}, for `await using client = new LockserverClient()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Without the secret. @internal */
  [inspect.custom](): string {
    return `LockserverClient { addr: ${inspect(this.addr)}, owner: ${inspect(this.owner)} }`
  }

  async #close(): Promise<void> {
    const reason = new ConnectionFailedError('the client is closed')
    this.#closing.now(reason)
    for (const locks of this.#held.values()) for (const lock of locks) lock.orphan()
    for (const acquisition of this.#pending) acquisition.giveUp(reason)
    while (this.#working > 0) await new Promise<void>((resolve) => (this.#idle = resolve))
    await this.#core.transport.close()
  }

  #transport(settings: Settings, clock: Clock, kept: typeof figures): Transport {
    const servers = new Servers(settings.addresses)
    if (settings.transport === 'http') return new HttpServers(servers, settings, kept.connect, clock)
    return new SessionTransport(
      settings,
      servers,
      { clock, figures: kept },
      {
        lost: (event) => this.#lost(event),
        began: () => this.#takeOver(),
      },
    )
  }

  /** The server says that a lock is held no longer. */
  #lost({ resource, id, token, reason }: Record<string, unknown>): void {
    const why = typeof reason === 'string' ? reason : 'lost'
    for (const lock of this.#held.get(resource as string) ?? []) if (lock.token === token) lock.gone(why)
    // It may have overtaken the grant on its way to the caller.
    for (const acquisition of this.#pending) if (acquisition.id === id) acquisition.lost = { token, why }
  }

  /** A new session stands: what is renewed belongs to it from now on. */
  #takeOver(): void {
    for (const locks of this.#held.values()) for (const lock of locks) lock.takeOver()
  }

  async #acquire(call: AcquireCall): Promise<Lock | LockserverError> {
    const acquisition = new Acquisition(this.#core, call)
    const leftAlone = call.expire !== undefined && !call.renew ? 1 : 0
    this.#pending.add(acquisition)
    this.#working++
    this.#core.coming += leftAlone
    try {
      const acquired = await acquisition.run()
      if (acquired instanceof LockserverError) return acquired
      const lock = Lock.of(this.#core, call, acquired, (ended) => this.#forget(ended))
      if (this.#closing.stopped) {
        await lock.release().catch(() => false) // granted in the turn in which the client was closed
        this.#closing.throwIfStopped()
      }
      this.#remember(lock)
      if (acquisition.lost?.token === lock.token) lock.gone(acquisition.lost.why)
      return lock
    } finally {
      this.#pending.delete(acquisition)
      this.#core.coming -= leftAlone
      this.#done()
    }
  }

  #remember(lock: Lock): void {
    const locks = this.#held.get(lock.resource)
    if (locks === undefined) this.#held.set(lock.resource, new Set([lock]))
    else locks.add(lock)
    this.#losses.delete(lock.resource)
  }

  /** The lock that was lost there last, if nobody has asked for its release; it is told once. */
  #lossOf(resource: string): Lock | undefined {
    const lock = this.#losses.get(resource)
    this.#losses.delete(resource)
    return lock?.asked ? undefined : lock
  }

  #forget(lock: Lock): void {
    const locks = this.#held.get(lock.resource)
    if (locks?.delete(lock) && locks.size === 0) this.#held.delete(lock.resource)
    if (!lock.lost) return
    const [oldest] = this.#losses.keys()
    if (oldest !== undefined && this.#losses.size === this.#core.figures.losses) this.#losses.delete(oldest)
    this.#losses.set(lock.resource, lock)
  }

  #track(work: Promise<unknown>): void {
    const done = () => this.#done()
    this.#working++
    work.then(done, done)
  }

  #done(): void {
    if (--this.#working === 0) this.#idle?.()
  }
}
