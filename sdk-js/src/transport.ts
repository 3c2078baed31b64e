import type { Instant } from './clock.js'
import { type Operation, WITHOUT_CODE } from './contract.js'
import type { Follower } from './stream.js'

/** Carries requests to a server and their answers back. Nothing above it knows how: another one may take the place of HTTP. */
export interface Transport {
  /** How many servers there are to be asked. */
  readonly addresses: number
  /** Whether a wait need not be cut into hops, because the connection itself shows that the server lives. */
  readonly wholeWaits?: boolean
  /** What carries the requests now, where leases belong to what carried them. */
  readonly carrier?: Carrier | undefined
  /** Sends a request once. It has its outcome within `bound` milliseconds. */
  send(operation: Operation, request: object, bound: number, route?: Route): Attempt
  /** Ends every connection; what is still in flight fails. */
  close(): Promise<void>
}

/** A session: the leases that were granted on it, or renewed by id, can be renewed together. */
export interface Carrier {
  readonly ended: boolean
  /** The leases that are to be renewed. */
  readonly kept: Set<KeptLease>
  /** The ids of leases that may be on it and must not be renewed. As long as there is one, they cannot be renewed together. */
  readonly strays: Set<string>
  /** Renews every lease within so many milliseconds; tells whether it did that with this one. */
  keepAlive(lease: KeptLease, bound: number): Promise<boolean>
}

/** A lease that is to be renewed. */
export interface KeptLease {
  readonly resource: string
  readonly token: number
  /** It was renewed by its own length, as was asked for then. */
  renewed(sent: Instant): void
  /** The server says that it is held no longer. */
  gone(reason: string): void
}

/** Which connection a request takes. */
export interface Route {
  /** One of its own and not one that stands: a retry must not meet another dead connection. */
  fresh?: boolean
  /** One that does not keep the process alive. */
  background?: boolean
  /** The bound is for getting to the server; how long it may take from then on is for a connection to say that shows whether it lives. */
  unbounded?: boolean
  /** Takes the answer, which goes on; the bound is for its beginning. It is always carried by HTTP. */
  follower?: Follower | undefined
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

export type Outcome = (Answer | Failure) & {
  /** The next attempt is made at another server. */
  readonly elsewhere?: boolean
}

/** What a server said, or who speaks in its place: a success, or a problem with a code. */
export interface Answer {
  readonly kind: 'answer'
  /** Who said it, for messages: `127.0.0.1:8080`. */
  readonly peer: string
  /** As the contract's tables have it. */
  readonly status: number
  /** The code of a problem. */
  readonly code?: string
  readonly body: Record<string, unknown>
  /** Milliseconds that it asks to wait before the next attempt. */
  readonly retryAfter: number
  /** When the request was handed to its connection. */
  readonly sent: Instant
  /** What a lease that it tells of belongs to. */
  readonly carrier?: Carrier | undefined
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
  /** Whether it is only that the caller ended it. */
  readonly aborted?: boolean
  /** When the server last showed that it lived, by `performance.now()`, if that was after it had the request. */
  readonly heard?: number
  /** It is asked again at once: the transport itself pauses between connections. */
  readonly again?: boolean
  readonly retryAfter?: number
  readonly status?: number
  readonly cause?: Error
}

/** An answer that no lock server gave. It may be that one behind it acted. */
export function stranger(peer: string, status: number, how: string, hint = 'is this the address of a lockserver?'): Failure {
  return { kind: 'unknown', permanent: true, reason: `${peer} answered ${status} ${how}: ${hint}`, status }
}

/** What an answer means; without a body it is none that a lock server gives. */
export function judge(
  operation: Operation,
  peer: string,
  answer: Omit<Answer, 'kind' | 'code' | 'body' | 'peer'> & { body?: Answer['body'] | undefined },
): Outcome {
  const { status, body, retryAfter, sent, carrier } = answer
  if (operation.answers.includes(status)) {
    return body === undefined
      ? stranger(peer, status, 'with no JSON object')
      : { kind: 'answer', peer, status, body, retryAfter, sent, carrier }
  }
  const code = body?.code
  if (body === undefined || status < 400 || typeof code !== 'string' || code === '')
    return codeless(peer, status, retryAfter, sent)
  return { kind: 'answer', peer, status, code, body, retryAfter, sent }
}

/** What an answer means that is no success and has no code: it is a proxy's, or a stranger's. */
function codeless(peer: string, status: number, retryAfter: number, sent: Instant): Outcome {
  const { code, verdict } = WITHOUT_CODE[status] ?? { code: 'connection_failed', verdict: 'raise' }
  if (verdict === 'retry') return { kind: 'unknown', permanent: false, reason: `${peer} answered ${status}`, status, retryAfter }
  const asks = status === 407 ? 'does a proxy before it ask for a password?' : undefined
  const failure = stranger(peer, status, "without a lockserver's code", asks)
  return code === 'connection_failed'
    ? failure
    : { kind: 'answer', peer, status, code, body: { detail: failure.reason }, retryAfter, sent }
}
