import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { Pool } from 'undici'

export interface Passing {
  path: string
  body: Record<string, unknown>
  headers: IncomingHttpHeaders
  /** Sends the request on, and gives the server's answer without passing it back. */
  forward(): Promise<{ status: number; body: string }>
  /** Answers in the server's place. */
  answer(status: number, body?: string | Buffer, headers?: Record<string, string>): void
  /** Closes the connection without an answer. */
  drop(): void
  /** Which connection it came on, counted from 1. */
  connection: number
}

/**
 * Something between client and server that reads HTTP, as a load balancer does: `handle` decides the fate of each
 * request, and what it leaves alone goes through. Everything that passed is in `seen`.
 */
export class Middle {
  readonly seen: { path: string; body: Record<string, unknown>; connection: number }[] = []
  handle: (passing: Passing) => Promise<void> | void = () => undefined
  /** What becomes of upgrades: they are passed on, or answered with a status, a body and headers. */
  upgrades: 'pass' | [number, (string | undefined)?, Record<string, string>?] = [404]
  /** The upgrades that were asked for. */
  readonly asked: { path: string; headers: IncomingHttpHeaders }[] = []
  addr = ''
  readonly #http: Server
  readonly #upstream: Pool
  readonly #piped = new Set<Socket>()
  #connections = 0

  private constructor(upstream: string, prefix: string) {
    this.#upstream = new Pool(`http://${upstream}`)
    this.#http = createServer((request, response) => {
      this.#serve(request, response, prefix).catch((error) => response.destroy(error))
    })
    this.#http.on('upgrade', (request, socket: Socket, head) => this.#upgrade(request, socket, head, upstream, prefix))
    const numbers = new WeakMap<object, number>()
    this.#http.on('connection', (socket) => {
      numbers.set(socket, ++this.#connections)
      // A test that fails before it closes this must not keep the whole file alive.
      socket.unref()
    })
    this.#http.unref()
    this.#number = (socket) => numbers.get(socket) ?? 0
  }

  readonly #number: (socket: object) => number

  static async start(upstream: string, prefix = ''): Promise<Middle> {
    const middle = new Middle(upstream, prefix)
    middle.#http.listen(0, '127.0.0.1')
    await once(middle.#http, 'listening')
    middle.addr = `127.0.0.1:${(middle.#http.address() as { port: number }).port}`
    return middle
  }

  get connections(): number {
    return this.#connections
  }

  async #serve(request: IncomingMessage, response: ServerResponse, prefix: string): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const text = Buffer.concat(chunks).toString()
    const path = request.url ?? ''
    const body = JSON.parse(text)
    const connection = this.#number(request.socket)
    this.seen.push({ path, body, connection })
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    let decided = false
    const forward = async () => {
      const headers = { 'x-lockserver-secret': String(request.headers['x-lockserver-secret']) }
      const answer = await this.#upstream.request({
        path: path.slice(prefix.length),
        method: 'POST',
        headers,
        body: text,
        signal: gone.signal,
      })
      return { status: answer.statusCode, body: await answer.body.text() }
    }
    await this.handle({
      path,
      body,
      headers: request.headers,
      connection,
      forward: () => {
        decided = true
        return forward()
      },
      answer: (status, content = '', headers = {}) => {
        decided = true
        response.writeHead(status, headers).end(content)
      },
      drop: () => {
        decided = true
        request.socket.destroy()
      },
    })
    if (decided) return
    const answer = await forward()
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body)
  }

  #upgrade(
    { url = '', headers, rawHeaders }: IncomingMessage,
    socket: Socket,
    head: Buffer,
    upstream: string,
    prefix: string,
  ): void {
    this.asked.push({ path: url, headers })
    socket.on('error', () => undefined)
    if (this.upgrades !== 'pass') {
      const [status, body = '', more = {}] = this.upgrades
      const lines = Object.entries({ ...more, 'content-length': String(Buffer.byteLength(body)) }).map((header) =>
        header.join(': '),
      )
      socket.end(`${[`HTTP/1.1 ${status} No`, ...lines].join('\r\n')}\r\n\r\n${body}`)
      return
    }
    const { hostname, port } = new URL(`http://${upstream}`)
    const lines = rawHeaders.map((value, i) => (i % 2 === 0 ? `${value}: ` : `${value}\r\n`)).join('')
    const onward = connect(Number(port), hostname)
    onward.on('error', () => undefined).unref()
    this.#piped.add(socket)
    socket.on('close', () => this.#piped.delete(socket) && onward.destroy())
    onward.on('close', () => socket.destroy())
    onward.write(`GET ${url.slice(prefix.length)} HTTP/1.1\r\n${lines}\r\n`)
    onward.write(head)
    socket.pipe(onward).pipe(socket)
  }

  /** Closes every connection; new ones are welcome. */
  cut(): void {
    this.#http.closeAllConnections()
    for (const socket of this.#piped) socket.destroy()
  }

  async close(): Promise<void> {
    this.cut()
    this.#http.close()
    await this.#upstream.destroy()
  }
}
