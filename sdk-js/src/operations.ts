import type { Instant } from './clock.js'
import { type Operation, VERDICTS, WITHOUT_CODE } from './contract.js'
import type { Answer, Failure, Outcome } from './transport.js'

/** A grant, as an answer to acquire or renew tells it. */
export interface Grant {
  readonly token: number
  /** Seconds that the request spent on the server. */
  readonly waited: number
  /** Seconds left of the lease; null without one. */
  readonly expiresIn: number | null
}

type Members = Record<string, unknown>

const finite = (value: unknown) => typeof value === 'number' && Number.isFinite(value)

/** What an answer must have to be of use, by the operation and the status. */
const members: Record<string, Record<string, (value: unknown) => boolean>> = {
  'acquire 200': { token: Number.isSafeInteger, expires_in: (value) => value === null || finite(value), waited: finite },
  'renew 200': { token: Number.isSafeInteger, expires_in: (value) => value === null || finite(value), waited: finite },
  'acquire 202': { position: finite },
  'release 200': { outcome: (value) => typeof value === 'string' },
}

/** The failure that an answer comes to which lacks what its operation needs; undefined for a usable one. */
export function unusable(operation: Operation, { status, code, body }: Answer, peer: string): Failure | undefined {
  if (code !== undefined) return undefined
  for (const [name, usable] of Object.entries(members[`${operation.name} ${status}`] ?? {})) {
    if (!usable(body[name])) return stranger(peer, status, `with${name in body ? ' an unusable' : 'out'} "${name}"`)
  }
  return undefined
}

/** An answer that no lock server gave. It may be that one behind it acted. */
export function stranger(peer: string, status: number, how: string, hint = 'is this the address of a lockserver?'): Failure {
  return { kind: 'unknown', permanent: true, reason: `${peer} answered ${status} ${how}: ${hint}`, status }
}

/** Whether the same request may be answered otherwise soon: the server is going down or coming up, or a proxy cannot reach it. */
export function isTransient({ code, status }: Answer): boolean {
  if (code === undefined) return false
  return (Object.hasOwn(VERDICTS, code) ? VERDICTS[code] : WITHOUT_CODE[status]?.verdict) === 'retry'
}

/** The grant in a usable 200. */
export function grantIn({ body }: Answer): Grant {
  const { token, waited, expires_in: expiresIn } = body as Members & { token: number; waited: number; expires_in: number | null }
  return { token, expiresIn, waited: Math.max(waited, 0) }
}

/** What an answer means that has neither the members of a success nor a code: it is a proxy's, or a stranger's. */
export function codeless(peer: string, status: number, retryAfter: number, sent: Instant): Outcome {
  const { code, verdict } = WITHOUT_CODE[status] ?? { code: 'connection_failed', verdict: 'raise' }
  if (verdict === 'retry') return { kind: 'unknown', permanent: false, reason: `${peer} answered ${status}`, status, retryAfter }
  const asks = status === 407 ? 'does a proxy before it ask for a password?' : undefined
  const failure = stranger(peer, status, "without a lockserver's code", asks)
  return code === 'connection_failed'
    ? failure
    : { kind: 'answer', status, code, body: { detail: failure.reason }, retryAfter, sent }
}
