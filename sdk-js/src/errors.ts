import type { ErrorCode } from './contract.js'
import type { Answer } from './transport.js'

/** What an error may carry besides its message. */
export interface ErrorDetails {
  /** The error that led to this one. */
  cause?: unknown
  /** The HTTP status, where a server said it. */
  status?: number | undefined
  /** The server's answer, from which the classes take their fields. */
  body?: Record<string, unknown> | undefined
}

/**
 * The base of every error that this package makes. `code` says what happened and is the same in every language;
 * `status` is there only where a server said so, `cause` where another error led to it. No error ever carries the secret.
 */
export class LockserverError extends Error {
  /** What happened, as a stable word: one of {@link CODES}, or a newer server's code that this version does not know. */
  readonly code: string
  /** The HTTP status of the server's answer; absent for an error that the client made. */
  declare readonly status?: number

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined)
    this.code = code
    if (details.status !== undefined) this.status = details.status
  }
}

/** An error whose class has a code. */
abstract class CodedError extends LockserverError {
  static readonly code: ErrorCode
  constructor(message: string, details?: ErrorDetails) {
    super(new.target.code, message, details)
  }
}

/** One of those who hold a resource, as a {@link LockedError} tells it. */
export interface Holder {
  /** The label of the client that holds it. */
  owner: string
  /** The fencing token of its grant. */
  token: number
  /** Seconds for which it has held it; null if an older server does not say. */
  heldFor: number | null
  /** Seconds left of its lease; null for a lock that is held until it is released. */
  expiresIn: number | null
}

/** Who stands in the way of a lock. */
export interface Rivals {
  /** Those who hold the resource, at most ten. */
  readonly holders: Holder[]
  /** How many hold it in all. */
  readonly holdersTotal: number
  /** How many wait for it. */
  readonly waiters: number
}

/** An error that tells who stands in the way. */
abstract class RivalsError extends CodedError implements Rivals {
  declare readonly holders: Holder[]
  declare readonly holdersTotal: number
  declare readonly waiters: number
  constructor(message: string, details: ErrorDetails & { rivals?: Rivals | undefined } = {}) {
    super(message, details)
    const { holders, holdersTotal, waiters } = details.rivals ?? rivals(details.body)
    Object.assign(this, { holders, holdersTotal, waiters })
  }
}

/** 400: the server refused a value; `field` names it. Also made by the client for values that JSON cannot carry. */
export class InvalidRequestError extends CodedError {
  static override readonly code = 'invalid_request'
  /** The field that is wrong, where one is to blame. */
  readonly field: string | null
  constructor(message: string, details: ErrorDetails & { field?: string } = {}) {
    super(message, details)
    this.field = details.field ?? text(details.body?.field)
  }
}

/** 400: several grants are held there, and it was not said which one is meant. */
export class TokenRequiredError extends CodedError {
  static override readonly code = 'token_required'
}

/** 401: the server does not know the secret. */
export class UnauthorizedError extends CodedError {
  static override readonly code = 'unauthorized'
}

/** 404: nothing there; for a client this usually means a wrong address or path prefix. */
export class NotFoundError extends CodedError {
  static override readonly code = 'not_found'
}

/** 405: something between client and server changed the request's method, or the address is another service's. */
export class MethodNotAllowedError extends CodedError {
  static override readonly code = 'method_not_allowed'
}

/** 409: others hold the resource. Thrown by scopes with `blocking: false`; `acquire` gives `null` instead. */
export class LockedError extends RivalsError {
  static override readonly code = 'locked'
}

/** 409: the grant to be released or renewed is not held; `reason` says why. */
export class NotHeldError extends CodedError {
  static override readonly code = 'not_held'
  /** `expired`, `evicted`, `other_holder` or `unknown`; `released` where this client had already released it. */
  readonly reason: string | null
  constructor(message: string, details: ErrorDetails & { reason?: string } = {}) {
    super(message, details)
    this.reason = details.reason ?? text(details.body?.reason)
  }
}

/** 409: the resource is held or awaited as another kind: exclusive and shared are one, each `limit` is another. */
export class LimitMismatchError extends CodedError {
  static override readonly code = 'limit_mismatch'
}

/** 409: the id of an acquisition was used up. The client handles it by itself; it is here to complete the table. */
export class IdUsedError extends CodedError {
  static override readonly code = 'id_used'
}

/** 413: the request was larger than the server takes. */
export class TooLargeError extends CodedError {
  static override readonly code = 'too_large'
}

/** 429: the server holds as many locks as it is set to. */
export class TooManyLocksError extends CodedError {
  static override readonly code = 'too_many_locks'
}

/** 429: the server has as many waiters as it is set to. */
export class TooManyWaitersError extends CodedError {
  static override readonly code = 'too_many_waiters'
}

/** 429: too many wrong secrets came from this address within a minute; this one was wrong, too, or was not looked at. */
export class TooManyWrongSecretsError extends CodedError {
  static override readonly code = 'too_many_wrong_secrets'
}

/** 500: a fault of the server, or an answer whose meaning is not known. */
export class InternalError extends CodedError {
  static override readonly code = 'internal'
}

/** 503: the server is shutting down. Retried; seen as the `cause` of a {@link ConnectionFailedError}. */
export class DrainingError extends CodedError {
  static override readonly code = 'draining'
}

/** 503: no server of a cluster leads at the moment. Retried; seen as the `cause` of a {@link ConnectionFailedError}. */
export class NoLeaderError extends CodedError {
  static override readonly code = 'no_leader'
}

/** 503: the server could not make a change durable. Retried; seen as the `cause` of a {@link ConnectionFailedError}. */
export class StoreUnavailableError extends CodedError {
  static override readonly code = 'store_unavailable'
}

/** 507: the server has no room to store a grant or a longer lease. Retried; seen as the `cause` of a {@link ConnectionFailedError}. */
export class StorageFullError extends CodedError {
  static override readonly code = 'storage_full'
}

/**
 * The caller's `timeout` ran out before the lock was granted. The place in the queue has been given up. The message says
 * what stood in the way last; who held the lock then is in `holders`, if the server said so.
 */
export class LockTimeoutError extends RivalsError {
  static override readonly code = 'lock_timeout'
}

/** The lock is no longer held, or its lease can no longer be trusted. Final: nothing is acquired again silently. */
export class LockLostError extends CodedError {
  static override readonly code = 'lock_lost'
}

/** No usable answer within the bounds; `cause` is the last thing that went wrong. Also: the client was closed. */
export class ConnectionFailedError extends CodedError {
  static override readonly code = 'connection_failed'
}

/** A setting or an argument is wrong; nothing was sent. `setting` names it. */
export class ConfigInvalidError extends CodedError {
  static override readonly code = 'config_invalid'
  /** The name of the setting or option, where one is to blame. */
  readonly setting: string | null
  constructor(message: string, details: ErrorDetails & { setting?: string } = {}) {
    super(message, details)
    this.setting = details.setting ?? null
  }
}

const classes = new Map<string, new (message: string, details?: ErrorDetails) => LockserverError>()
for (const type of [
  ...[
    InvalidRequestError,
    TokenRequiredError,
    UnauthorizedError,
    NotFoundError,
    MethodNotAllowedError,
    LockedError,
    NotHeldError,
  ],
  ...[LimitMismatchError, IdUsedError, TooLargeError, TooManyLocksError, TooManyWaitersError, TooManyWrongSecretsError],
  ...[InternalError, DrainingError],
  ...[
    NoLeaderError,
    StoreUnavailableError,
    StorageFullError,
    LockTimeoutError,
    LockLostError,
    ConnectionFailedError,
    ConfigInvalidError,
  ],
]) {
  classes.set(type.code, type)
  name(type, `${type.code.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase())}Error`)
}
name(LockserverError, 'LockserverError')

/** Gives a class the name that `String(error)` and stack traces show. */
function name({ prototype }: { prototype: LockserverError }, value: string): void {
  Object.defineProperty(prototype, 'name', { value, configurable: true, writable: true })
}

/**
 * The error for a problem.
 * @internal
 */
export function errorFrom({ status, code = '', body }: Answer, doing: string): LockserverError {
  const message = `${doing}: ${text(body.detail) || text(body.title) || `${code} (status ${status})`}`
  const details = { status, body }
  const type = classes.get(code)
  return type === undefined ? new LockserverError(code, message, details) : new type(message, details)
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}

function number(value: unknown): number | null {
  return typeof value === 'number' ? value : null
}

/**
 * Who stands in the way, as an answer tells it.
 * @internal
 */
export function rivals(body: Record<string, unknown> = {}): Rivals {
  const holders = (Array.isArray(body.holders) ? body.holders : [])
    .filter((item) => typeof item === 'object' && item !== null)
    .map((item) => ({
      owner: text(item.owner) ?? '',
      token: number(item.token) ?? 0,
      heldFor: number(item.held_for),
      expiresIn: number(item.expires_in),
    }))
  return { holders, holdersTotal: number(body.holders_total) ?? holders.length, waiters: number(body.waiters) ?? 0 }
}
