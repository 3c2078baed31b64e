import { readFileSync, statSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { invalid } from './settings.js'

/** A certificate and its private key, in PEM. */
export interface Pair {
  readonly cert: Buffer
  readonly key: Buffer
}

/** Both in files, which are read again when they change. */
export class CertificateFiles {
  readonly #files: readonly [string, string]
  #pair: Pair
  #changed: string

  constructor(cert: string, key: string) {
    this.#files = [cert, key]
    try {
      this.#changed = this.#times()
      this.#pair = this.#read()
    } catch (cause) {
      const files = `clientCert ${JSON.stringify(cert)} and clientKey ${JSON.stringify(key)}`
      const why = `${(cause as Error).message}; allowed are files of a certificate and its private key, in PEM`
      throw invalid('clientCert', `${files} cannot be used: ${why}`, cause)
    }
  }

  /** What the files held when they could last be used: of two that are being replaced, one may still be the old one. */
  get(): Pair {
    try {
      const now = this.#times()
      if (now !== this.#changed) {
        this.#pair = this.#read()
        this.#changed = now
      }
    } catch {
      // They are being replaced: the ones from before serve until both are there.
    }
    return this.#pair
  }

  #times(): string {
    return this.#files.map((file) => statSync(file).mtimeMs).join()
  }

  #read(): Pair {
    const [cert, key] = this.#files.map((file) => readFileSync(file)) as [Buffer, Buffer]
    createSecureContext({ cert, key }) // throws if they do not belong together
    return { cert, key }
  }
}
