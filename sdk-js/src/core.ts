import { type Bounds, backoff, timerDelay } from './bounds.js'
import type { Clock } from './clock.js'
import { OPERATIONS, type Operation } from './contract.js'
import { ConnectionFailedError, errorFrom, type LockserverError } from './errors.js'
import { isTransient, unusable } from './operations.js'
import type { Answer, Attempt, Outcome, Route, Transport } from './transport.js'

/** What a client's parts share. */
export interface Core {
  readonly transport: Transport
  readonly clock: Clock
  readonly bounds: Bounds
  readonly owner: string
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
export async function persist(core: Core, operation: Operation, body: object, doing: string, how: Persistence): Promise<Answer> {
  let trouble: LockserverError | undefined
  for (let attempt = 0; ; attempt++) {
    const left = how.left()
    if (attempt > 0 && left <= 0) throw unreachable(doing, trouble)
    const outcome = await send(core, operation, body, how.attempt(Math.max(left, 1)), { fresh: attempt > 0 })
    if (outcome.kind === 'answer' && !isTransient(outcome)) return outcome
    const draining = outcome.kind === 'answer' && outcome.code === 'draining' // the server says that it did nothing
    if (how.tries !== undefined && outcome.kind !== 'unsent' && !draining) how.tries.unsettled = true
    trouble = troubleOf(outcome, doing)
    if (outcome.kind !== 'answer') {
      const once = how.repeatable === false && outcome.kind === 'unknown'
      if (once || outcome.permanent) throw trouble
    }
    await pause(Math.min(backoff(attempt + 1, outcome.retryAfter), how.left()), how.until)
  }
}

/** Sends a request once; an answer is a usable one. */
export async function send(core: Core, operation: Operation, body: object, bound: number, route?: Route): Promise<Outcome> {
  return usableOutcome(core, operation, await core.transport.send(operation, body, bound, route).outcome)
}

export function usableOutcome(core: Core, operation: Operation, outcome: Outcome): Outcome {
  return outcome.kind === 'answer' ? (unusable(operation, outcome, core.transport.peer) ?? outcome) : outcome
}

/** The error that an outcome is, unless it is a success. */
export function troubleOf(outcome: Outcome, doing: string): LockserverError {
  if (outcome.kind === 'answer') return errorFrom(outcome, doing)
  const { reason, status, cause } = outcome
  return new ConnectionFailedError(`${doing}: ${reason}`, cause === undefined ? { status } : { status, cause })
}

export function unreachable(doing: string, cause: Error | undefined): ConnectionFailedError {
  const why = cause instanceof Error ? `: ${cause.message.replace(`${doing}: `, '')}` : ''
  return new ConnectionFailedError(`${doing}: no usable answer in time${why}`, { cause })
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
export async function cancel(core: Core, resource: string, id: string, attempt?: Attempt): Promise<void> {
  const end = performance.now() + core.bounds.release
  try {
    await persist(core, OPERATIONS.release, { resource, owner: core.owner, id }, `cancel ${id}`, withinRelease(end))
  } catch {
    // Nobody is left to tell. What was queued is dropped by the server when the place is no longer kept.
  } finally {
    attempt?.abort()
  }
}

/** The bounds of a release or cancel that must end by `end`: half of what is left for each try, so that one dead connection does not use it all up. */
export function withinRelease(end: number): Persistence {
  return { left: () => end - performance.now(), attempt: (left) => Math.max(left / 2, Math.min(left, 100)) }
}
