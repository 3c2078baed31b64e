import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { secret, type TestServer } from './server.js'

const children = join(dirname(fileURLToPath(import.meta.url)), '../children')

/** A process of its own that runs one of the scripts in `test/children` against a server. */
export class Child {
  readonly process: ChildProcess
  readonly #lines: AsyncIterator<string>
  #stderr = ''
  /** Resolves when it has ended and everything that it wrote has been read. */
  readonly ended: Promise<{ code: number | null; stderr: string }>

  constructor(script: string, server: Pick<TestServer, 'addr'>, args: string[] = []) {
    this.process = spawn(process.execPath, [join(children, script), ...args], {
      env: { ...process.env, LOCKSERVER_ADDR: server.addr, LOCKSERVER_SECRET: secret },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#lines = createInterface({ input: this.process.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
    this.process.stderr?.on('data', (chunk) => {
      this.#stderr += chunk
    })
    this.ended = once(this.process, 'close').then(([code]) => ({ code, stderr: this.#stderr }))
  }

  /** The next line that it prints. */
  async line(): Promise<string> {
    const { value, done } = await this.#lines.next()
    if (!done) return value
    const { code, stderr } = await this.ended
    throw new Error(`exited with ${code} instead of a line: ${stderr}`)
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL')
    await this.ended
  }
}
