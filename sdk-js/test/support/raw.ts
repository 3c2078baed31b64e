import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

type Request = Record<string, unknown> & { seq: number; op: string }

/** One session, seen from the server's side and without a lock table: a test says what is answered, to the byte. */
export class RawSession {
  readonly socket: Socket
  /** The messages, each with its requests. */
  readonly messages: Request[][] = []
  pings = 0
  /** The payloads of the pongs. */
  readonly pongs: string[] = []
  /** Whether a close frame came. */
  closed = false
  readonly #leases = new Map<unknown, unknown>()
  #bytes = Buffer.alloc(0)

  constructor(socket: Socket, on: (requests: Request[], session: RawSession) => void) {
    this.socket = socket
    socket.on('error', () => undefined).unref()
    socket.on('data', (chunk) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk])
      for (let found = this.#frame(); found !== undefined; found = this.#frame()) {
        const { opcode, payload } = found
        if (opcode === 8) this.closed = true
        if (opcode === 9) this.pings++
        if (opcode === 10) this.pongs.push(payload.toString())
        if (opcode !== 1) continue
        const message = JSON.parse(payload.toString())
        const requests = Array.isArray(message) ? message : [message]
        this.messages.push(requests)
        on(requests, this)
      }
    })
  }

  get requests(): Request[] {
    return this.messages.flat()
  }

  #frame(): { opcode: number; payload: Buffer } | undefined {
    const bytes = this.#bytes
    if (bytes.length < 2) return undefined
    const short = (bytes[1] as number) & 127
    let at = short === 127 ? 10 : short === 126 ? 4 : 2
    if (bytes.length < at + 4) return undefined
    const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short
    if (bytes.length < at + 4 + length) return undefined
    const mask = bytes.subarray(at, at + 4)
    at += 4
    const payload = bytes.subarray(at, at + length).map((byte, i) => byte ^ (mask[i & 3] as number))
    this.#bytes = bytes.subarray(at + length)
    return { opcode: (bytes[0] as number) & 15, payload: Buffer.from(payload) }
  }

  send(message: object): void {
    this.socket.write(frame(1, JSON.stringify(message)))
  }

  /** Answers as if every lock were free. */
  grant(requests: Request[]): void {
    this.send(
      requests.map(({ seq, op, expire, token = seq }) => {
        if (op === 'release') return { seq, status: 200, outcome: 'released' }
        if (op === 'keepalive') return { seq, status: 200, renewed: 1000, shortest: 1, lost: [] }
        if (op === 'acquire') this.#leases.set(token, expire ?? null)
        return { seq, status: 200, token, waited: 0, expires_in: expire ?? this.#leases.get(token) ?? null }
      }),
    )
  }
}

/** A frame of a server. */
export function frame(opcode: number, payload: string | Buffer, { last = true } = {}): Buffer {
  const bytes = Buffer.from(payload)
  const { length } = bytes
  const head = Buffer.alloc(length > 0xffff ? 10 : length > 125 ? 4 : 2)
  head[0] = (last ? 128 : 0) | opcode
  head[1] = length > 0xffff ? 127 : length > 125 ? 126 : length
  if (length > 0xffff) head.writeBigUInt64BE(BigInt(length), 2)
  else if (length > 125) head.writeUInt16BE(length, 2)
  return Buffer.concat([head, bytes])
}

/** A server that has sessions and nothing else. */
export class RawServer {
  readonly sessions: RawSession[] = []
  /** What becomes of each message. */
  on: (requests: Request[], session: RawSession) => void = (requests, session) => session.grant(requests)
  addr = ''
  readonly #http: Server = createServer((_, response) => response.writeHead(404).end())

  static async start(): Promise<RawServer> {
    const server = new RawServer()
    server.#http.on('upgrade', ({ headers }: IncomingMessage, socket: Socket) => {
      const key = `${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
      const accept = createHash('sha1').update(key).digest('base64')
      const lines = ['connection: upgrade', 'upgrade: websocket', `sec-websocket-accept: ${accept}`]
      socket.write(`HTTP/1.1 101 Yes\r\n${lines.join('\r\n')}\r\nsec-websocket-protocol: lockserver.v1\r\n\r\n`)
      server.sessions.push(new RawSession(socket, (requests, session) => server.on(requests, session)))
    })
    server.#http.unref().listen(0, '127.0.0.1')
    await once(server.#http, 'listening')
    server.addr = `127.0.0.1:${(server.#http.address() as AddressInfo).port}`
    return server
  }

  get last(): RawSession {
    return this.sessions.at(-1) as RawSession
  }

  get requests(): Request[] {
    return this.sessions.flatMap(({ requests }) => requests)
  }

  close(): void {
    for (const { socket } of this.sessions) socket.destroy()
    this.#http.close()
  }
}
