import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { LockserverClient, type LockserverClientOptions } from 'lockserver-client'
import { lockserverBinary } from './binaries.js'
import { steadyPort } from './port.js'
import { eventually } from './wait.js'

export const secret = 'test-secret-0123456789'

export interface Looked {
  /** The times are in seconds. */
  holders: { owner: string; token: number; held_for: number; expires_in: number | null }[]
  waiters: number
  queue: { owner: string; present: boolean }[]
}

/** A real server process. */
export class TestServer {
  readonly directory = mkdtempSync(join(tmpdir(), 'lockserver-js-'))
  readonly #store: string
  readonly #args: string[]
  #process: ChildProcess | undefined
  #clients: LockserverClient[] = []
  /** host:port, for a server that keeps its locks the same over restarts. */
  addr = '127.0.0.1:0'

  private constructor(store: 'memory' | 'disk', args: string[]) {
    this.#args = args
    this.#store = store === 'disk' ? `disk:${join(this.directory, 'data')}` : 'memory'
  }

  static async start(store: 'memory' | 'disk' = 'memory', args: string[] = []): Promise<TestServer> {
    const server = new TestServer(store, args)
    if (store === 'disk') server.addr = `127.0.0.1:${await steadyPort()}`
    await server.start()
    return server
  }

  async start(): Promise<void> {
    const port = this.addr.slice(this.addr.lastIndexOf(':') + 1)
    const child = spawn(lockserverBinary(), ['--port', port, '--store', this.#store, ...this.#args], {
      cwd: this.directory,
      env: { PATH: process.env.PATH, LOCKSERVER_SECRET: secret, LOCKSERVER_LOG_LEVEL: 'error' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#process = child
    const lines = createInterface({ input: child.stdout })
    const [line] = (await Promise.race([
      once(lines, 'line'),
      once(child, 'exit').then(([code]) => Promise.reject(new Error(`the server exited with ${code} before it was ready`))),
    ])) as [string]
    this.addr = new URL(line.slice(line.indexOf('http'))).host
  }

  /** Ends the server: by SIGKILL as a crash would, or by SIGTERM as an operator would. */
  async stop(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const child = this.#process
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill(signal)
    await exit
  }

  /** A client of this server, closed with it. */
  client(options: LockserverClientOptions = {}): LockserverClient {
    const client = new LockserverClient({ addr: this.addr, secret, dotenv: false, ...options })
    this.#clients.push(client)
    return client
  }

  /** A request as any HTTP client would send it. */
  async call(method: string, path: string, body?: object): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await fetch(`http://${this.addr}${path}`, {
      method,
      headers: { 'x-lockserver-secret': secret },
      ...(body && { body: JSON.stringify(body) }),
    })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }

  /** What the server knows of a resource; undefined where it is free and nobody waits. */
  async look(resource: string): Promise<Looked | undefined> {
    const { status, body } = await this.call('GET', `/lock?resource=${encodeURIComponent(resource)}`)
    return status === 404 ? undefined : (body as never)
  }

  /** Resolves when as many wait for the resource, each with a request that is parked there. */
  async waiters(resource: string, count: number): Promise<void> {
    await eventually(`${count} waiters for ${resource}`, async () => {
      const looked = await this.look(resource)
      return looked?.waiters === count && looked.queue.every(({ present }) => present)
    })
  }

  /** Resolves when the same grant has been held for so many seconds. */
  async heldFor(resource: string, seconds: number): Promise<void> {
    await eventually(`${resource} is held for ${seconds} s`, async () => {
      const [holder] = (await this.look(resource))?.holders ?? []
      if (holder === undefined) throw new Error(`nobody holds ${resource}`)
      return holder.held_for > seconds
    })
  }

  /** Resolves when nobody holds the resource and nobody waits for it. */
  async free(resource: string): Promise<void> {
    await eventually(`${resource} is free`, async () => (await this.look(resource)) === undefined)
  }

  async evict(resource: string): Promise<void> {
    const { status } = await this.call('DELETE', `/lock?resource=${encodeURIComponent(resource)}`)
    if (status !== 200) throw new Error(`cannot evict ${resource}: ${status}`)
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()))
    await this.stop()
    rmSync(this.directory, { recursive: true, force: true })
  }
}
