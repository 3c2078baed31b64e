// A real server, as a process.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { createInterface } from 'node:readline'

export const secret = 'dashboard-0123456789'

/** How long anything may take before a test gives up, in ms: much more than it does on a busy machine. */
export const patience = 30_000

export interface Answer {
  status: number
  body: Record<string, unknown>
}

const running = new Set<Server>()

/** stopAll ends the servers that a test has left, be it that it failed. */
export async function stopAll(): Promise<void> {
  await Promise.all([...running].map((server) => server.kill()))
}

export class Server {
  private readonly agent = new Agent({ keepAlive: true, maxSockets: 64 })
  private readonly closed: Promise<unknown>

  private constructor(
    readonly url: string,
    private readonly process: ChildProcess,
  ) {
    this.closed = once(process, 'exit')
    running.add(this)
  }

  get port(): number {
    return Number(new URL(this.url).port)
  }

  /** start starts a server with a store in memory, and waits until it is ready. */
  static async start(args: string[] = [], port = 0): Promise<Server> {
    const binary = process.env.LOCKSERVER_BIN
    assert.ok(binary, 'LOCKSERVER_BIN names no server: run make test')
    const child = spawn(binary, ['--port', `${port}`, '--store', 'memory', '--log-level', 'error', ...args], {
      env: { LOCKSERVER_SECRET: secret },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const lines = createInterface({ input: child.stdout })
    const [line] = (await Promise.race([once(lines, 'line'), once(child, 'exit')])) as [unknown]
    const url = /^lockserver ready on (\S+)$/.exec(String(line))?.[1]
    assert.ok(url, `the server did not start but ended with ${line}`)
    return new Server(url, child)
  }

  /** kill ends the server as a power cut would. */
  async kill(): Promise<void> {
    running.delete(this)
    this.agent.destroy()
    this.process.kill('SIGKILL')
    await this.closed
  }

  ask(method: string, path: string, body?: object, as = secret): Promise<Answer> {
    const data = body && JSON.stringify(body)
    return new Promise((resolve, reject) => {
      const headers = { 'X-LOCKSERVER-SECRET': as, ...(data && { 'Content-Length': Buffer.byteLength(data) }) }
      const asked = request(new URL(path, this.url), { method, agent: this.agent, headers }, async (answer) => {
        const parts: Buffer[] = []
        for await (const part of answer) parts.push(part as Buffer)
        const text = Buffer.concat(parts).toString()
        resolve({ status: answer.statusCode ?? 0, body: text.startsWith('{') ? JSON.parse(text) : {} })
      })
      asked.on('error', reject)
      asked.end(data)
    })
  }

  async acquire(resource: string, owner: string, more: object = {}): Promise<number> {
    const { status, body } = await this.ask('POST', '/acquire', { resource, owner, ...more })
    assert.equal(status, 200, JSON.stringify(body))
    return body.token as number
  }

  async release(resource: string, owner: string): Promise<void> {
    assert.equal((await this.ask('POST', '/release', { resource, owner })).status, 200)
  }

  /** fill takes so many locks, named by their number. */
  async fill(locks: number, more: (i: number) => object = () => ({})): Promise<void> {
    let next = 0
    const worker = async () => {
      while (next < locks) {
        const i = next++
        await this.acquire(`jobs/${`${i}`.padStart(5, '0')}`, `worker-${i % 97}`, { expire: 3600, ...more(i) })
      }
    }
    await Promise.all(Array.from({ length: 32 }, worker))
  }
}
