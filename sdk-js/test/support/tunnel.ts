import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

/** A proxy that only opens tunnels, as CONNECT asks for them. */
export class TestTunnel {
  readonly seen: { target: string; authorization: string | undefined }[] = []
  /** The statuses of the next answers, 0 for none at all; 200 after that. */
  answers: number[] = []
  addr = ''
  readonly #http = createServer((_, response) => response.writeHead(500).end())
  readonly #sockets = new Set<Socket>()

  static async start(): Promise<TestTunnel> {
    const tunnel = new TestTunnel()
    tunnel.#http.on('connect', (request: IncomingMessage, socket: Socket) => tunnel.#open(request, socket))
    // A test that fails before it closes this must not keep the whole file alive.
    tunnel.#http.unref().on('connection', (socket) => socket.unref())
    tunnel.#http.listen(0, '127.0.0.1')
    await once(tunnel.#http, 'listening')
    tunnel.addr = `127.0.0.1:${(tunnel.#http.address() as AddressInfo).port}`
    return tunnel
  }

  #open({ url = '', headers }: IncomingMessage, socket: Socket): void {
    this.seen.push({ target: url, authorization: headers['proxy-authorization'] })
    const status = this.answers.shift() ?? 200
    this.#sockets.add(socket.on('error', () => undefined)) // the client may go at any time
    if (status === 0) return
    if (status !== 200) {
      socket.end(`HTTP/1.1 ${status} No\r\n\r\n`)
      return
    }
    const { hostname, port } = new URL(`http://${url}`)
    const upstream = connect(Number(port), hostname, () => {
      socket.write('HTTP/1.1 200 Connected\r\n\r\n')
      socket.pipe(upstream).pipe(socket)
    })
    this.#sockets.add(upstream.on('error', () => undefined))
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#http.closeAllConnections()
    this.#http.close()
    await once(this.#http, 'close')
  }
}
