import { type Answer, isTransient } from './answer.js'
import { type Bounds, backoff, timerDelay } from './bounds.js'
import type { Clock } from './clock.js'
import { ConnectionFailedError, errorFrom } from './errors.js'
import { type Exchange, NoAnswer, type Transport } from './transport.js'

/** What a client's parts share. */
export interface Core {
  readonly transport: Transport
  readonly clock: Clock
  readonly bounds: Bounds
  readonly owner: string
  /** The server's address as a URL, for messages. */
  readonly url: string
  /** Aborts when the client is closed; nothing is begun after that. */
  readonly closing: AbortSignal
  /** Lets `close` wait for work that no caller waits for. It never rejects. */
  background(work: Promise<unknown>): void
}

export interface Persistence {
  /** Milliseconds that are left for all tries together, asked anew for each. */
  left(): number
  /** Milliseconds for one try, of those that are left. */
  attempt(left: number): number
  /** False for a request that must not be sent twice: it is only tried again where it cannot have been sent. */
  repeatable?: boolean
  /** Ends the pause between two tries. */
  until?: AbortSignal
  /** Where the tries are noted; all but the one whose answer is returned. */
  tries?: Tries
}

/** What is known of the tries of one request, over all calls that send it. */
export interface Tries {
  /** Whether one that got no usable answer may have had its effect. */
  unsettled: boolean
}

/**
 * Sends a request until there is an answer that decides it: retries lost connections and 502, 503, 504, each on a new
 * connection. A server whose certificate is not trusted is not asked again.
 */
export async function persist(core: Core, path: string, body: object, doing: string, how: Persistence): Promise<Answer> {
  let last: unknown
  for (let attempt = 0; ; attempt++) {
    const left = how.left()
    if (attempt > 0 && left <= 0) throw unreachable(core, doing, last)
    const exchange = core.transport.send(path, body, how.attempt(Math.max(left, 1)), { fresh: attempt > 0 })
    let retryAfter = 0
    let draining = false // the server says that it did nothing
    try {
      const answer = await exchange.answer
      if (!isTransient(answer)) return answer
      retryAfter = answer.retryAfter
      draining = answer.code === 'draining'
      last = errorFrom(answer, doing)
    } catch (error) {
      last = error
    }
    if (how.tries !== undefined && exchange.sent && !draining) how.tries.unsettled = true
    const once = how.repeatable === false && exchange.sent
    if (last instanceof NoAnswer && (once || last.hopeless)) throw unreachable(core, doing, last)
    await pause(Math.min(backoff(attempt + 1, retryAfter), how.left()), how.until)
  }
}

export function unreachable(core: Core, doing: string, cause: unknown): ConnectionFailedError {
  const why = cause instanceof Error ? `: ${cause.message}` : ''
  return new ConnectionFailedError(`${doing}: no usable answer from ${core.url}${why}`, { cause })
}

export function closedError(doing: string): ConnectionFailedError {
  return new ConnectionFailedError(`${doing}: the client is closed`)
}

function pause(milliseconds: number, until: AbortSignal | undefined): Promise<void> {
  if (milliseconds <= 0 || until?.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      until?.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, timerDelay(milliseconds))
    until?.addEventListener('abort', end)
  })
}

/** Frees what an id stands for, be it a grant or a place in the queue, and whatever may still come under it. Never rejects. */
export async function cancel(core: Core, resource: string, id: string, exchange?: Exchange): Promise<void> {
  const end = performance.now() + core.bounds.release
  try {
    await persist(core, '/release', { resource, owner: core.owner, id }, `cancel ${id}`, withinRelease(end))
  } catch {
    // Nobody is left to tell. What was queued is dropped by the server when the place is no longer kept.
  } finally {
    exchange?.abort()
  }
}

/** The bounds of a release or cancel that must end by `end`: half of what is left for each try, so that one dead connection does not use it all up. */
export function withinRelease(end: number): Persistence {
  return { left: () => end - performance.now(), attempt: (left) => Math.max(left / 2, Math.min(left, 100)) }
}
