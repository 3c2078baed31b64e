import { FIGURES } from './contract.js'
import { InvalidRequestError } from './errors.js'
import { trusted } from './lease.js'
import { invalid, kind, mustBe } from './settings.js'

/** Exclusive: one holder. Shared: any number of shared holders, and no exclusive one. */
export type LockMode = 'exclusive' | 'shared'

/** What a scope (`withLock`, `lock`) takes. All times are in seconds. */
export interface ScopeOptions {
  /** Wait until the lock is granted (default), or throw {@link LockedError} at once where others hold it. */
  blocking?: boolean | undefined
  /** Length of the lease, more than 0 and at most ten years. Default: 30. */
  expire?: number | null | undefined
  /** Renew the lease at a third of its length until the lock is released. Default: true. */
  renew?: boolean | undefined
  /** How long to wait for the lock before {@link LockTimeoutError}; 0 is one try. Default: no limit. Not together with `blocking: false`. */
  timeout?: number | null | undefined
  /** Gives up the waiting: the call rejects with the signal's reason. Means nothing once the lock is granted. */
  signal?: AbortSignal | undefined
  /** A readers–writer lock. Default: `exclusive`. */
  mode?: LockMode | undefined
  /** A counting semaphore with so many permits, 1 to 1,000,000. Not together with `mode`. */
  limit?: number | null | undefined
  /** Up to 1 KiB of text for people who look at the lock. */
  note?: string | undefined
}

/** What `acquire` takes. All times are in seconds. */
export interface AcquireOptions extends ScopeOptions {
  /** Wait until the lock is granted (default), or resolve to `null` at once where others hold it. */
  blocking?: boolean | undefined
  /** Length of the lease, more than 0 and at most ten years. Default: none, the lock is held until it is released (with `renew`: 30). */
  expire?: number | null | undefined
  /** Renew the lease at a third of its length until the lock is released. Default: false. */
  renew?: boolean | undefined
}

/** A checked call. */
export interface AcquireCall {
  readonly resource: string
  readonly blocking: boolean
  readonly expire: number | undefined
  readonly renew: boolean
  /** Milliseconds; undefined without a limit. */
  readonly timeout: number | undefined
  readonly signal: AbortSignal | undefined
  // They go to the server as they are.
  readonly mode: LockMode | undefined
  readonly limit: number | undefined
  readonly note: string | undefined
}

const known = new Set(['blocking', 'expire', 'renew', 'timeout', 'signal', 'mode', 'limit', 'note'])

/** Reads the arguments of `acquire`, in the form with options or in the one with positions. */
export function acquireCall(resource: string, second: unknown, expire: unknown): AcquireCall {
  if (typeof second === 'object' && second !== null) return checked(resource, second, false)
  return checked(
    resource,
    { blocking: second === undefined || Boolean(second), expire: expire as number | null | undefined },
    false,
  )
}

export function scopeCall(resource: string, options: ScopeOptions | undefined): AcquireCall {
  return checked(resource, options ?? {}, true)
}

/**
 * Only what the server could not see is checked here: what JSON cannot carry, and the options that stay on this side.
 * The rest is the server's to judge, so that every client gives the same errors.
 */
function checked(resource: string, options: AcquireOptions, renewing: boolean): AcquireCall {
  for (const key of Object.keys(options)) {
    if (!known.has(key)) throw invalid(key, `unknown option ${JSON.stringify(key)}; known are ${[...known].join(', ')}`)
  }
  const { blocking = true, renew = renewing, signal } = options
  const timeout = options.timeout ?? undefined
  const limit = options.limit ?? undefined
  if (typeof blocking !== 'boolean') throw mustBe('blocking', 'a boolean', blocking)
  if (typeof renew !== 'boolean') throw mustBe('renew', 'a boolean', renew)
  if (timeout !== undefined) {
    if (typeof timeout !== 'number' || !Number.isFinite(timeout) || timeout < 0) {
      throw mustBe('timeout', 'a number of seconds, 0 or more', timeout)
    }
    if (!blocking) throw invalid('timeout', 'timeout means nothing together with blocking: false')
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw mustBe('signal', 'an AbortSignal', signal)
  if (typeof resource !== 'string') throw refused('resource', `resource must be a string, not ${kind(resource)}`)
  if (limit !== undefined) finite('limit', limit)
  const expire = options.expire ?? (renew ? FIGURES.scopeLease / 1000 : undefined)
  return {
    resource,
    blocking,
    expire: expire === undefined ? undefined : usableLease(expire),
    renew,
    timeout: timeout === undefined ? undefined : timeout * 1000,
    signal,
    mode: options.mode ?? undefined,
    limit,
    note: options.note ?? undefined,
  }
}

/** A lease in seconds that JSON can carry and whose safe deadline lies in the future at all. */
export function usableLease(expire: unknown): number {
  const seconds = finite('expire', expire)
  if (trusted(seconds) <= 0) throw refused('expire', `expire must be more than 0.002 seconds, not ${seconds}`)
  return seconds
}

/** JSON turns NaN and the infinities into null, which would mean "absent". */
function finite(field: string, value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw refused(field, `${field} must be a finite number, not ${kind(value)}`)
  }
  return value
}

function refused(field: string, message: string): InvalidRequestError {
  return new InvalidRequestError(message, { field })
}
