import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A certificate for 127.0.0.1 and nothing else, which is its own authority. */
export class Certificate {
  readonly #directory = mkdtempSync(join(tmpdir(), 'lockserver-js-tls-'))

  /** `validity` are the flags of Go's own `generate_cert.go`. */
  constructor(...validity: string[]) {
    const root = execFileSync('go', ['env', 'GOROOT']).toString().trim()
    const program = join(root, 'src/crypto/tls/generate_cert.go')
    const flags = ['--host', '127.0.0.1', '--ca', '--ecdsa-curve', 'P256', ...validity]
    execFileSync('go', ['run', program, ...flags], { cwd: this.#directory, stdio: ['ignore', 'ignore', 'pipe'] })
  }

  get pem(): string {
    return readFileSync(join(this.#directory, 'cert.pem'), 'utf8')
  }

  get key(): string {
    return readFileSync(join(this.#directory, 'key.pem'), 'utf8')
  }

  get file(): string {
    return join(this.#directory, 'cert.pem')
  }

  /** The arguments by which the server takes it. */
  get args(): string[] {
    return ['--tls-cert', join(this.#directory, 'cert.pem'), '--tls-key', join(this.#directory, 'key.pem')]
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true })
  }
}
