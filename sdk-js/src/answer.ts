import type { Instant } from './clock.js'
import { CODES } from './errors.js'

/** What a server, or a proxy before it, said. */
export interface Answer {
  readonly status: number
  /** The stable code of an error answer, where one came. */
  readonly code: string | undefined
  /** The decoded body; empty where there was none or it was not a JSON object. */
  readonly body: Record<string, unknown>
  /** Milliseconds that it asks to wait before the next try. */
  readonly retryAfter: number
  /** When the request was handed to its connection. */
  readonly sent: Instant
}

/** A grant, as an answer to acquire or renew tells it. */
export interface Grant {
  readonly token: number
  /** Seconds that the request spent on the server. */
  readonly waited: number
  /** Seconds left of the lease; null without one. */
  readonly expiresIn: number | null
}

/** Whether the same request may be answered otherwise soon: the server is going down or coming up, or a proxy cannot reach it. */
export function isTransient({ code, status }: Answer): boolean {
  if (code !== undefined && Object.hasOwn(CODES, code)) return code === 'draining' || code === 'store_unavailable'
  return status === 502 || status === 503 || status === 504
}

/** The grant in a 200; undefined if it is no answer of a lock server. */
export function grantIn({ body }: Answer): Grant | undefined {
  const { token, waited, expires_in: expiresIn = null } = body
  if (typeof token !== 'number' || !Number.isSafeInteger(token)) return undefined
  if (expiresIn !== null && (typeof expiresIn !== 'number' || !Number.isFinite(expiresIn))) return undefined
  return { token, expiresIn, waited: typeof waited === 'number' && waited > 0 ? waited : 0 }
}

/** `Retry-After` in milliseconds, from seconds or a date; 0 where there is none. */
export function parseRetryAfter(value: string | string[] | undefined): number {
  const first = Array.isArray(value) ? value[0] : value
  if (first === undefined) return 0
  const wait = /^\d+$/.test(first.trim()) ? Number(first) * 1000 : Date.parse(first) - Date.now()
  return Number.isFinite(wait) && wait > 0 ? wait : 0
}
