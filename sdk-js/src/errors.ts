import type { ErrorCode } from './contract.js'
import type { Answer } from './transport.js'

/** The name of the error class for a code: `lock_lost` is `LockLostError`. */
export function errorName(code: string): string {
  return `${code.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase())}Error`
}

/** What an error may carry besides its message. */
export interface ErrorDetails {
  /** The error that led to this one. */
  cause?: unknown
  /** The HTTP status, where a server said it. */
  status?: number | undefined
  /** The server's answer, from which the classes take their fields. */
  body?: Record<string, unknown> | undefined
}

/** Where a class of this package keeps its mark. A class that extends one of them has none of its own. */
const mark = Symbol('mark')

/**
 * The base of every error that this package makes. `code` says what happened and is the same in every language;
 * `status` is there only where a server said so, `cause` where another error led to it. No error ever carries the secret.
 *
 * `instanceof` works by a registered mark and not by identity, so that it also holds where one process has loaded both
 * the ESM and the CommonJS copy of this package, or two versions of it.
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

  static override [Symbol.hasInstance](value: unknown): boolean {
    if (!Object.hasOwn(this, mark)) return Function.prototype[Symbol.hasInstance].call(this, value)
    return typeof value === 'object' && value !== null && (this as unknown as Marked)[mark] in value
  }
}

interface Marked {
  readonly [mark]: symbol
}

/** Gives a class the name that `String(error)` and stack traces show, and the mark that `instanceof` looks for. */
function name(type: { prototype: LockserverError }, name: string): void {
  const registered = Symbol.for(`lockserver-client.${name}`)
  Object.defineProperty(type.prototype, 'name', { value: name, configurable: true, writable: true })
  Object.defineProperty(type.prototype, registered, { value: true })
  Object.defineProperty(type, mark, { value: registered })
}

name(LockserverError, 'LockserverError')

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

/** 400: the server refused a value; `field` names it. Also made by the client for values that JSON cannot carry. */
export class InvalidRequestError extends LockserverError {
  /** The field that is wrong, where one is to blame. */
  readonly field: string | null
  constructor(message: string, details: ErrorDetails & { field?: string } = {}) {
    super('invalid_request', message, details)
    this.field = details.field ?? text(details.body?.field)
  }
}

/** 400: several grants are held there, and it was not said which one is meant. */
export class TokenRequiredError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('token_required', message, details)
  }
}

/** 401: the server does not know the secret. */
export class UnauthorizedError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('unauthorized', message, details)
  }
}

/** 404: nothing there; for a client this usually means a wrong address or path prefix. */
export class NotFoundError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('not_found', message, details)
  }
}

/** 405: something between client and server changed the request's method, or the address is another service's. */
export class MethodNotAllowedError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('method_not_allowed', message, details)
  }
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

/** 409: others hold the resource. Thrown by scopes with `blocking: false`; `acquire` gives `null` instead. */
export class LockedError extends LockserverError implements Rivals {
  readonly holders: Holder[]
  readonly holdersTotal: number
  readonly waiters: number
  constructor(message: string, details: ErrorDetails = {}) {
    super('locked', message, details)
    const { holders, holdersTotal, waiters } = rivals(details.body)
    this.holders = holders
    this.holdersTotal = holdersTotal
    this.waiters = waiters
  }
}

/** 409: the grant to be released or renewed is not held; `reason` says why. */
export class NotHeldError extends LockserverError {
  /** `expired`, `evicted`, `other_holder` or `unknown`; `released` where this client had already released it. */
  readonly reason: string | null
  constructor(message: string, details: ErrorDetails & { reason?: string } = {}) {
    super('not_held', message, details)
    this.reason = details.reason ?? text(details.body?.reason)
  }

  /**
   * Whether it says that the lock was lost. The other reasons leave open that a release ended it, as the server may have
   * forgotten that.
   * @internal
   */
  get tellsLoss(): boolean {
    return this.reason !== null && this.reason !== 'unknown' && this.reason !== 'other_holder'
  }
}

/** 409: the resource is held or awaited as another kind: exclusive and shared are one, each `limit` is another. */
export class LimitMismatchError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('limit_mismatch', message, details)
  }
}

/** 409: the id of an acquisition was used up. The client handles it by itself; it is here to complete the table. */
export class IdUsedError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('id_used', message, details)
  }
}

/** 413: the request was larger than the server takes. */
export class TooLargeError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('too_large', message, details)
  }
}

/** 429: the server holds as many locks as it is set to. */
export class TooManyLocksError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('too_many_locks', message, details)
  }
}

/** 429: the server has as many waiters as it is set to. */
export class TooManyWaitersError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('too_many_waiters', message, details)
  }
}

/** 500: a fault of the server, or an answer whose meaning is not known. */
export class InternalError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('internal', message, details)
  }
}

/** 503: the server is shutting down. Retried; seen as the `cause` of a {@link ConnectionFailedError}. */
export class DrainingError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('draining', message, details)
  }
}

/** 503: the server could not make a change durable. Retried; seen as the `cause` of a {@link ConnectionFailedError}. */
export class StoreUnavailableError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('store_unavailable', message, details)
  }
}

/**
 * The caller's `timeout` ran out before the lock was granted. The place in the queue has been given up. The message says
 * what stood in the way last; who held the lock then is in `holders`, if the server said so.
 */
export class LockTimeoutError extends LockserverError implements Rivals {
  readonly holders: Holder[]
  readonly holdersTotal: number
  readonly waiters: number
  constructor(message: string, details: ErrorDetails = {}) {
    super('lock_timeout', message, details)
    const { holders, holdersTotal, waiters } = rivals(details.body)
    this.holders = holders
    this.holdersTotal = holdersTotal
    this.waiters = waiters
  }
}

/** The lock is no longer held, or its lease can no longer be trusted. Final: nothing is acquired again silently. */
export class LockLostError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('lock_lost', message, details)
  }
}

/** No usable answer within the bounds; `cause` is the last thing that went wrong. Also: the client was closed. */
export class ConnectionFailedError extends LockserverError {
  constructor(message: string, details?: ErrorDetails) {
    super('connection_failed', message, details)
  }
}

/** A setting or an argument is wrong; nothing was sent. `setting` names it. */
export class ConfigInvalidError extends LockserverError {
  /** The name of the setting or option, where one is to blame. */
  readonly setting: string | null
  constructor(message: string, details: ErrorDetails & { setting?: string } = {}) {
    super('config_invalid', message, details)
    this.setting = details.setting ?? null
  }
}

type ErrorType = new (message: string, details?: ErrorDetails) => LockserverError

const classes: Record<ErrorCode, ErrorType> = {
  invalid_request: InvalidRequestError,
  token_required: TokenRequiredError,
  unauthorized: UnauthorizedError,
  not_found: NotFoundError,
  method_not_allowed: MethodNotAllowedError,
  locked: LockedError,
  not_held: NotHeldError,
  limit_mismatch: LimitMismatchError,
  id_used: IdUsedError,
  too_large: TooLargeError,
  too_many_locks: TooManyLocksError,
  too_many_waiters: TooManyWaitersError,
  internal: InternalError,
  draining: DrainingError,
  store_unavailable: StoreUnavailableError,
  lock_timeout: LockTimeoutError,
  lock_lost: LockLostError,
  connection_failed: ConnectionFailedError,
  config_invalid: ConfigInvalidError,
}

for (const [code, type] of Object.entries(classes)) name(type, errorName(code))

/**
 * The error for a problem.
 * @internal
 */
export function errorFrom({ status, code = '', body }: Answer, doing: string): LockserverError {
  const message = `${doing}: ${text(body.detail) ?? text(body.title) ?? `${code} (status ${status})`}`
  const details = { status, body }
  return Object.hasOwn(classes, code)
    ? new classes[code as ErrorCode](message, details)
    : new LockserverError(code, message, details)
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
