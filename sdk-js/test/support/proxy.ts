import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { toxiproxyBinary } from './binaries.js'
import { steadyPort } from './port.js'
import { eventually } from './wait.js'

/** A Toxiproxy process with one proxy in front of a server. */
export class TestProxy {
  readonly #process: ChildProcess
  readonly #api: string
  addr = ''

  private constructor(process: ChildProcess, api: string) {
    this.#process = process
    this.#api = api
  }

  static async start(upstream: string): Promise<TestProxy> {
    const port = await steadyPort()
    const child = spawn(toxiproxyBinary(), ['-host', '127.0.0.1', '-port', String(port)], {
      stdio: 'ignore',
      env: { LOG_LEVEL: 'error' },
    })
    const proxy = new TestProxy(child, `http://127.0.0.1:${port}`)
    await once(child, 'spawn')
    await eventually('toxiproxy answers', () => {
      if (child.exitCode !== null) throw new Error(`toxiproxy exited with ${child.exitCode}`)
      return fetch(`${proxy.#api}/version`).then(
        (r) => r.ok,
        () => false,
      )
    })
    proxy.addr = `127.0.0.1:${await steadyPort()}`
    await proxy.#call('POST', '/proxies', { name: 'server', listen: proxy.addr, upstream })
    return proxy
  }

  async #call(method: string, path: string, body?: object): Promise<unknown> {
    const response = await fetch(this.#api + path, { method, ...(body && { body: JSON.stringify(body) }) })
    if (!response.ok) throw new Error(`toxiproxy: ${method} ${path}: ${response.status} ${await response.text()}`)
    return response.status === 204 ? undefined : response.json()
  }

  /** Adds a fault; the answer takes it away. */
  async toxic(type: string, stream: 'upstream' | 'downstream', attributes: Record<string, number>): Promise<() => Promise<void>> {
    const { name } = (await this.#call('POST', '/proxies/server/toxics', { type, stream, attributes })) as { name: string }
    return async () => {
      await this.#call('DELETE', `/proxies/server/toxics/${name}`)
    }
  }

  /** Cuts every connection and refuses new ones, until it is set up again. */
  async set(up: boolean): Promise<void> {
    await this.#call('POST', '/proxies/server', { enabled: up, listen: this.addr })
  }

  async close(): Promise<void> {
    const exit = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await exit
  }
}
