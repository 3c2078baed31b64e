import type { Instant } from './clock.js'
import { OPERATIONS, type Operation } from './contract.js'
import { type Rivals, rivals } from './errors.js'
import type { Follower } from './stream.js'
import { type Answer, type Carrier, type Failure, stranger } from './transport.js'

/** A request, and what its answers say. */
export interface Call<Reply> {
  readonly operation: Operation
  readonly request: object
  /** Takes an answer that goes on. */
  readonly follower?: Follower
  /** The reply in a success; undefined if it lacks something, which `has` notes. */
  reply(answer: Answer, has: Has): Reply | undefined
}

/** Whether an answer has a member that is as it must be. */
type Has = (member: string, usable: (value: unknown) => boolean) => boolean

interface AcquireRequest {
  resource: string
  owner: string
  id: string
  wait: number
  expire?: number | undefined
  mode?: string | undefined
  limit?: number | undefined
  note?: string | undefined
}

interface ReleaseRequest {
  resource: string
  owner: string
  token?: number | undefined
  id?: string | undefined
}

interface RenewRequest extends ReleaseRequest {
  expire?: number | undefined
}

/** A grant. */
export interface Granted {
  readonly kind: 'granted'
  readonly token: number
  /** Seconds that the request spent on the server. */
  readonly waited: number
  /** Seconds left of the lease; null without one. */
  readonly expiresIn: number | null
  /** When it was asked for. */
  readonly sent: Instant
  /** What the lease belongs to, if that is to be told. */
  readonly carrier: Carrier | undefined
}

/** A place in the queue. */
export interface Queued {
  readonly kind: 'queued'
  readonly rivals: Rivals
}

export interface Released {
  readonly kind: 'released'
}

export function acquire(request: AcquireRequest): Call<Granted | Queued> {
  return {
    operation: OPERATIONS.acquire,
    request,
    reply: (answer, has) => (answer.status === 202 ? queued : granted)(answer, has),
  }
}

export function renew(request: RenewRequest): Call<Granted> {
  return { operation: OPERATIONS.renew, request, reply: granted }
}

export function release(request: ReleaseRequest): Call<Released> {
  return { operation: OPERATIONS.release, request, reply: released }
}

function queued({ body }: Answer, has: Has): Queued | undefined {
  return has('position', positive) ? { kind: 'queued', rivals: rivals(body) } : undefined
}

function released(_: Answer, has: Has): Released | undefined {
  return has('outcome', (value) => typeof value === 'string' && value !== '') ? { kind: 'released' } : undefined
}

function granted({ body, sent, carrier }: Answer, has: Has): Granted | undefined {
  if (!has('token', positive) || !has('waited', duration)) return undefined
  if (!has('expires_in', (value) => value === null || duration(value))) return undefined
  const { token, waited, expires_in: expiresIn } = body as { token: number; waited: number; expires_in: number | null }
  return { kind: 'granted', token, waited, expiresIn, sent, carrier }
}

function positive(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) > 0
}

function duration(value: unknown): boolean {
  return typeof value === 'number' && value >= 0 && value < Number.POSITIVE_INFINITY
}

/** What a success says; a failure if it lacks what its operation needs. */
export function read<Reply>(call: Call<Reply>, answer: Answer): Reply | Failure {
  let lacks = ''
  const reply = call.reply(answer, (member, usable) => {
    if (usable(answer.body[member])) return true
    lacks = `${member in answer.body ? 'with an unusable' : 'without'} "${member}"`
    return false
  })
  return reply ?? stranger(answer.peer, answer.status, lacks)
}
