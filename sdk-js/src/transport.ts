import type { Instant } from './clock.js'
import { type Operation, WITHOUT_CODE } from './contract.js'

/** Carries requests to a server and their answers back. Nothing above it knows how: another one may take the place of HTTP. */
export interface Transport {
  /** The server, for messages: `127.0.0.1:8080`. */
  readonly peer: string
  /** Sends a request once. It has its outcome within `bound` milliseconds. */
  send(operation: Operation, request: object, bound: number, route?: Route): Attempt
  /** Ends every connection; what is still in flight fails. */
  close(): Promise<void>
}

/** Which connection a request takes. */
export interface Route {
  /** One of its own and not one that stands: a retry must not meet another dead connection. */
  fresh?: boolean
  /** One that does not keep the process alive. */
  background?: boolean
}

/** A request on its way. */
export interface Attempt {
  /** It never rejects. */
  readonly outcome: Promise<Outcome>
  /** Whether the server may have seen the request. */
  readonly sent: boolean
  /** Ends it: if it was sent, its connection is closed; if not, it never will be. */
  abort(): void
}

export type Outcome = Answer | Failure

/** What a server said, or who speaks in its place: a success, or a problem with a code. */
export interface Answer {
  readonly kind: 'answer'
  /** As the contract's tables have it. */
  readonly status: number
  /** The code of a problem. */
  readonly code?: string
  readonly body: Record<string, unknown>
  /** Milliseconds that it asks to wait before the next attempt. */
  readonly retryAfter: number
  /** When the request was handed to its connection. */
  readonly sent: Instant
}

/** No usable answer came. */
export interface Failure {
  /** Whether the request surely never arrived, or may have taken effect. */
  readonly kind: 'unsent' | 'unknown'
  /** Whether no other attempt can do better. */
  readonly permanent: boolean
  /** What happened, in a few words: `connection refused by 127.0.0.1:8080`. */
  readonly reason: string
  /** Whether it is only that the bound ran out. */
  readonly late?: boolean
  readonly retryAfter?: number
  readonly status?: number
  readonly cause?: Error
}

/** An answer that no lock server gave. It may be that one behind it acted. */
export function stranger(peer: string, status: number, how: string, hint = 'is this the address of a lockserver?'): Failure {
  return { kind: 'unknown', permanent: true, reason: `${peer} answered ${status} ${how}: ${hint}`, status }
}

/** What an answer means that is no success and has no code: it is a proxy's, or a stranger's. */
export function codeless(peer: string, status: number, retryAfter: number, sent: Instant): Outcome {
  const { code, verdict } = WITHOUT_CODE[status] ?? { code: 'connection_failed', verdict: 'raise' }
  if (verdict === 'retry') return { kind: 'unknown', permanent: false, reason: `${peer} answered ${status}`, status, retryAfter }
  const asks = status === 407 ? 'does a proxy before it ask for a password?' : undefined
  const failure = stranger(peer, status, "without a lockserver's code", asks)
  return code === 'connection_failed'
    ? failure
    : { kind: 'answer', status, code, body: { detail: failure.reason }, retryAfter, sent }
}
