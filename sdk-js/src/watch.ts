import { now } from './clock.js'
import { EVENTS } from './contract.js'
import type { Core } from './core.js'
import type { Call } from './operations.js'
import { Retry, type Tries } from './retry.js'
import { invalid, mustBe } from './settings.js'
import { type Follower, lineMax } from './stream.js'
import { onAbort, Stop } from './waiting.js'

/** What {@link LockserverClient.watch} takes. */
export interface WatchOptions {
  /** Ends the loop, which then throws the signal's reason. */
  signal?: AbortSignal | undefined
}

/** Something that happened to a grant or a waiter. Times are in seconds; `null` is for what does not apply. */
export interface LockEvent {
  readonly kind: 'granted' | 'released' | 'expired' | 'evicted' | 'handed_back' | 'queued' | 'left' | 'yield' | 'stuck'
  /** Rises from event to event, of whatever resource. */
  readonly number: number
  readonly time: Date
  readonly resource: string
  readonly owner: string
  readonly id: string | null
  readonly token: number | null
  readonly note: string | null
  readonly mode: 'exclusive' | 'shared' | null
  /** Permits of a semaphore. */
  readonly limit: number | null
  /** What is left of the lease; of a waiter, the lease that it asks for. */
  readonly expiresIn: number | null
  /** Places in the queue after it. */
  readonly waiters: number
  /** With `granted` and `left`. */
  readonly waited: number | null
  /** Of a grant that was there before. */
  readonly heldFor: number | null
  /** With `left`: `gone`, `timed_out`, `cancelled`, `place_lost` or `draining`. */
  readonly why: string | null
  /** With `evicted`: the address that asked for it; with `yield`: who asked. */
  readonly by: string | null
}

/** Events were missed. */
export interface MissedEvents {
  readonly kind: 'gap'
  /** How many, of whatever resource; `null` if nobody knows. */
  readonly missed: number | null
}

/** So many events that nobody has taken yet are kept; then the stream is not read on, and the server tells how many are missed. */
const most = 1000

/** Events on their way from a stream to a loop. */
class Feed implements Follower {
  readonly silence: number
  readonly begun: () => void
  last = ''
  resume = () => {}
  #events: (LockEvent | MissedEvents)[] = []
  #end: { reason: unknown } | undefined
  #wake: () => void = () => {}

  constructor(silence: number, begun: () => void) {
    this.silence = silence
    this.begun = begun
  }

  get full(): boolean {
    return this.#events.length >= most
  }

  take(kind: string, data: string): string | undefined {
    if (kind === 'draining') return undefined // the stream ends behind it
    const event = read(kind, data)
    if (event === undefined) return `what is no event: ${data.slice(0, 100)}`
    this.#events.push(event)
    this.#wake()
    return undefined
  }

  end(reason: unknown): void {
    this.#end ??= { reason }
    this.#wake()
  }

  async next(): Promise<LockEvent | MissedEvents> {
    for (;;) {
      const event = this.#events.shift()
      if (event !== undefined) {
        if (this.#events.length === 0) this.resume()
        return event
      }
      if (this.#end !== undefined) throw this.#end.reason
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}

/** Members of an event that need not be there. */
type Optional = 'id' | 'token' | 'note' | 'mode' | 'limit' | 'waited' | 'why' | 'by'

type Wire = Pick<LockEvent, 'resource' | 'owner' | 'waiters'> &
  Partial<Pick<LockEvent, Optional>> & { event: number; time: string; expires_in?: number; held_for?: number; missed?: number }

function read(kind: string, data: string): LockEvent | MissedEvents | undefined {
  let said: Wire | null
  try {
    said = JSON.parse(data) as Wire | null
  } catch {
    return undefined
  }
  if (typeof said !== 'object' || said === null) return undefined
  if (kind === 'gap') return { kind, missed: said.missed ?? null }
  const { event, time, resource, owner, waiters, id, token, note, mode, limit, waited, why, by } = said
  return {
    kind: kind as LockEvent['kind'],
    number: event,
    time: new Date(time),
    resource,
    owner,
    id: id ?? null,
    token: token ?? null,
    note: note ?? null,
    mode: mode ?? null,
    limit: limit ?? null,
    expiresIn: said.expires_in ?? null,
    waiters,
    waited: waited ?? null,
    heldFor: said.held_for ?? null,
    why: why ?? null,
    by: by ?? null,
  }
}

/** The loop of {@link LockserverClient.watch}. */
export async function* watch(
  core: Core,
  prefix: string,
  { signal, ...others }: WatchOptions,
): AsyncGenerator<LockEvent | MissedEvents, void, void> {
  if (typeof prefix !== 'string') throw mustBe('prefix', 'a string', prefix)
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw mustBe('signal', 'an AbortSignal', signal)
  for (const key of Object.keys(others)) throw invalid(key, `unknown option ${JSON.stringify(key)}; known is signal`)
  signal?.throwIfAborted()
  core.closing.throwIfStopped()
  const { answer, silence, sessionPing, sessionPings } = core.figures
  const tries: Tries = { unsettled: false }
  const stop = new Stop()
  const feed = new Feed((sessionPings + 1) * sessionPing, () => retry.progress(''))
  const call: Call<{ kind: 'event' }> = {
    operation: { ...EVENTS, answerMax: lineMax },
    request: prefix === '' ? {} : { prefix },
    follower: feed,
    reply: (_, has) => void has('event', () => false), // it is no stream
  }
  const retry: Retry<{ kind: 'event' }> = new Retry(core, {
    doing: prefix === '' ? 'watch' : `watch ${JSON.stringify(prefix)}`,
    left: () => retry.heard + silence - now(),
    call: () => call,
    bound: (left) => Math.min(left, answer),
    stop,
    tries,
  })
  const forget = onAbort(signal, () => stop.now(signal?.reason))
  const ended = retry.run().then(
    (reply) => feed.end(reply),
    (error) => feed.end(error),
  )
  core.background(ended)
  core.closing.race(ended).catch((reason) => stop.now(reason))
  try {
    for (;;) yield await feed.next()
  } finally {
    stop.now(new Error('the loop was left'))
    tries.attempt?.abort()
    forget()
  }
}
