import type { Socket } from 'node:net'
import { type Clock, now, read } from './clock.js'
import { FIGURES, type Operation } from './contract.js'
import type { figures } from './core.js'
import { CLOSE, FrameError, FrameReader, frame, PING, PONG, TEXT } from './frames.js'
import { Request } from './request.js'
import { type Carrier, judge, type KeptLease } from './transport.js'
import { after, atMost } from './waiting.js'

/** A character that JSON writes has at most so many bytes. */
const widest = 3
const going = 1000

const keepalive: Operation = { name: 'keepalive', method: '', path: '', answers: [200], answerMax: FIGURES.sessionMessage }

export interface SessionOptions {
  readonly peer: string
  readonly secret: string
  readonly clock: Clock
  readonly figures: typeof figures
}

/** What a session tells its owner. */
export interface SessionEvents {
  /** The server says that a lock is lost. */
  lost(event: Record<string, unknown>): void
  /** It takes no requests any more. `answered`: whether it ever had an answer. */
  ended(answered: boolean): void
}

/** One WebSocket, as the contract's chapter on sessions has it. */
export class Session implements Carrier {
  readonly kept = new Set<KeptLease>()
  readonly strays = new Set<string>()
  readonly #peer: string
  readonly #secret: string
  readonly #clock: Clock
  readonly #figures: typeof figures
  readonly #socket: Socket
  readonly #events: SessionEvents
  readonly #frames = new FrameReader((opcode, payload) => this.#take(opcode, payload))
  readonly #waiting = new Slots()
  #queue: Request[] = []
  #flushing = false
  /** How many wait that keep the process alive. */
  #front = 0
  #heard = now()
  #answered = false
  #pings = 0
  #stopPings: () => void
  /** The keepalive that has no answer yet, and whom it is for. */
  #renewing: { kept: Set<KeptLease>; done: Promise<boolean> } | undefined
  #finishing = false
  #ended = false

  constructor({ peer, secret, clock, figures }: SessionOptions, socket: Socket, events: SessionEvents) {
    this.#peer = peer
    this.#secret = secret
    this.#clock = clock
    this.#figures = figures
    this.#socket = socket
    this.#events = events
    socket.unref()
    socket.on('error', (error) => this.#end(`connection closed by ${peer}`, error))
    socket.on('close', () => this.#end(`connection closed by ${peer}`))
    socket.on('end', () => this.#end(`connection closed by ${peer}`))
    socket.on('drain', () => this.#flush())
    socket.on('data', (chunk) => this.#read(chunk))
    this.#stopPings = after(figures.sessionPing, () => this.#tick(), true)
  }

  send(request: Request): void {
    const { background, unbounded } = request.route
    if (unbounded) request.unbound()
    if (!background && this.#front++ === 0) this.#socket.ref()
    request.leave = (late) => {
      this.#left(request)
      this.#queue = request.sent ? this.#queue : this.#queue.filter((queued) => queued !== request)
      // The server would have answered by now. If nothing else comes either, the connection is dead, or the server is.
      const patience = Math.min(request.bound, this.#figures.answer)
      if (late && now() - this.#heard >= patience) this.#end(`no sign of life from ${this.#peer}`)
    }
    this.#queue.push(request)
    if (this.#flushing) return
    this.#flushing = true
    // Whatever else is asked for in this turn goes with it.
    Promise.resolve().then(() => {
      this.#flushing = false
      this.#flush()
    })
  }

  get ended(): boolean {
    return this.#ended
  }

  async keepAlive(lease: KeptLease, bound: number): Promise<boolean> {
    if (this.#renewing?.kept.has(lease)) return this.#renewing.done
    const kept = new Set(this.kept)
    const renewing = { kept, done: this.#renew(kept, bound) }
    this.#renewing = renewing
    try {
      return await renewing.done
    } finally {
      if (this.#renewing === renewing) this.#renewing = undefined
    }
  }

  /** Ends it as soon as nothing is unanswered any more. */
  retire(): void {
    this.#finishing = true
    this.#endIfDone()
  }

  /** The same, and waits for the end. */
  async finish(): Promise<void> {
    const closed = new Promise((resolve) => this.#socket.once('close', resolve))
    this.retire()
    if (!this.#socket.closed) await atMost(going, closed)
    this.#socket.destroy()
  }

  async #renew(kept: Set<KeptLease>, bound: number): Promise<boolean> {
    const request = new Request(keepalive, {}, bound, { background: true }, () => 'no answer')
    this.send(request)
    const outcome = await request.outcome
    if (outcome.kind !== 'answer' || outcome.code !== undefined) return false
    const { renewed, lost } = outcome.body
    if (typeof renewed !== 'number' || !Array.isArray(lost)) return false
    const gone = new Map<string, string>(lost.map(({ resource, token, reason }) => [`${token} ${resource}`, reason]))
    for (const lease of kept) {
      const reason = gone.get(`${lease.token} ${lease.resource}`)
      if (reason === undefined) continue
      kept.delete(lease)
      lease.gone(reason)
    }
    // Those that were released meanwhile need not be among them.
    const held = [...kept].filter((lease) => this.kept.has(lease))
    if (renewed < held.length) return false
    for (const lease of held) lease.renewed(outcome.sent)
    return true
  }

  #flush(): void {
    while (this.#queue.length > 0 && !this.#ended && !this.#socket.writableNeedDrain) {
      const sent = read(this.#clock)
      const handed = now()
      const parts: string[] = []
      let size = 0
      for (const request of this.#queue) {
        const body = JSON.stringify(request.body)
        size += body.length + 64
        if (parts.length === FIGURES.sessionRequests || (size * widest > FIGURES.sessionMessage && parts.length > 0)) break
        const seq = this.#waiting.add(request)
        parts.push(`{"seq":${seq},"op":"${request.operation.name}"${body === '{}' ? '' : ','}${body.slice(1)}`)
        request.sentAt = sent
        request.handedAt = handed
      }
      this.#queue = this.#queue.length === parts.length ? [] : this.#queue.slice(parts.length)
      this.#socket.write(frame(TEXT, parts.length === 1 ? (parts[0] as string) : `[${parts.join()}]`))
    }
  }

  #read(chunk: Buffer): void {
    this.#heard = now()
    this.#pings = 0
    try {
      this.#frames.read(chunk)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.#end(`${this.#peer} sent what is no message of a lockserver: ${error.message}`, error)
    }
  }

  #take(opcode: number, payload: Buffer): void {
    if (this.#ended) return
    switch (opcode) {
      case TEXT:
        this.#message(payload.toString())
        break
      case PING:
        this.#socket.write(frame(PONG, payload))
        break
      case CLOSE: {
        const reason = payload.toString('utf8', 2).replaceAll(this.#secret, '…')
        this.#end(`connection closed by ${this.#peer}${reason && ` (${reason})`}`)
      }
    }
  }

  #message(text: string): void {
    let message: unknown
    try {
      message = JSON.parse(text)
    } catch {
      throw new FrameError('a message is not JSON')
    }
    for (const object of Array.isArray(message) ? message : [message]) this.#object(object)
  }

  #object(object: unknown): void {
    if (typeof object !== 'object' || object === null) throw new FrameError('a message is not an object')
    const { seq, status, event } = object as Record<string, unknown>
    if (event === 'lost') {
      this.strays.delete((object as { id: string }).id)
      this.#events.lost(object as Record<string, unknown>)
    }
    if (typeof event === 'string') return
    if (typeof seq !== 'number' || typeof status !== 'number') throw new FrameError('an answer lacks seq or status')
    this.#answered = true
    const request = this.#waiting.get(seq)
    if (request === undefined) return // given up meanwhile
    this.#left(request)
    const body = (status < 400 ? object : hide(object, this.#secret)) as Record<string, unknown>
    const sent = request.sentAt as NonNullable<Request['sentAt']>
    request.end(judge(request.operation, this.#peer, { status, body, retryAfter: 0, sent, carrier: this }))
  }

  #left(request: Request): void {
    if (request.seq > 0) this.#waiting.delete(request)
    if (!request.route.background && --this.#front === 0) this.#socket.unref()
    this.#endIfDone()
  }

  /** Pings a server that is silent, and ends a session whose pings go unanswered. */
  #tick(): void {
    const { sessionPing: ping, sessionPings } = this.#figures
    const silent = now() - this.#heard
    if (silent >= ping && this.#pings++ === sessionPings) {
      this.#end(`no sign of life from ${this.#peer}`)
      return
    }
    if (silent >= ping) this.#socket.write(frame(PING, ''))
    this.#stopPings = after(silent >= ping ? ping : ping - silent, () => this.#tick(), true)
  }

  #endIfDone(): void {
    if (!this.#finishing || this.#waiting.size > 0 || this.#queue.length > 0) return
    this.#end('given up')
  }

  /** Whether requests that were sent had their effect is unknown. */
  #end(reason: string, cause?: Error): void {
    if (this.#ended) return
    this.#ended = true
    this.#stopPings()
    this.#events.ended(this.#answered)
    if (this.#socket.writable) this.#socket.end(frame(CLOSE, normal))
    if (this.#finishing && !this.#socket.destroyed) this.#socket.destroySoon()
    else this.#socket.destroy()
    const heard = this.#heard
    for (const request of [...this.#waiting.all(), ...this.#queue]) {
      const parked = request.sent && heard > request.handedAt
      request.fail({ reason, again: true, ...(cause && { cause }), ...(parked && { heard }) })
    }
    this.#waiting.clear()
    this.#queue = []
  }
}

/**
 * Requests by their seq, of which the lower bits say where one is. A `Map` through which so much passes leaves a chain of its old
 * tables, and with them all that was in it stays alive until a full garbage collection.
 */
class Slots {
  readonly #requests: (Request | undefined)[] = []
  readonly #free: number[] = []
  #round = 0

  get size(): number {
    return this.#requests.length - this.#free.length
  }

  /** Gives it its seq. */
  add(request: Request): number {
    const slot = this.#free.pop() ?? this.#requests.length
    this.#requests[slot] = request
    this.#round = (this.#round % rounds) + 1
    request.seq = this.#round * slots + slot
    return request.seq
  }

  get(seq: number): Request | undefined {
    const request = this.#requests[seq % slots]
    return request?.seq === seq ? request : undefined
  }

  delete({ seq }: Request): void {
    const slot = seq % slots
    this.#requests[slot] = undefined
    this.#free.push(slot)
  }

  all(): Request[] {
    return this.#requests.filter((request) => request !== undefined)
  }

  clear(): void {
    this.#requests.length = this.#free.length = 0
  }
}

/** As many requests can be unanswered, and so many are sent before a seq comes again. */
const slots = 2 ** 24
const rounds = 2 ** 29 - 1

/** The close code 1000. */
const normal = Buffer.from([3, 232])

/** No error shows the secret, even if the other side echoes it. */
function hide(value: unknown, secret: string): unknown {
  if (typeof value === 'string') return value.includes(secret) ? value.replaceAll(secret, '…') : value
  if (typeof value !== 'object' || value === null) return value
  for (const [member, inner] of Object.entries(value)) {
    if (member !== 'code' && member !== 'reason') (value as Record<string, unknown>)[member] = hide(inner, secret)
  }
  return value
}
