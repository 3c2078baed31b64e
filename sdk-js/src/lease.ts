import type { Clock, Instant } from './clock.js'
import { FIGURES } from './contract.js'

/** How many milliseconds of a lease can be trusted: it ends a little before the server's own end, for clocks that differ. */
export function trusted(expiresIn: number): number {
  return expiresIn * 1000 * (1 - FIGURES.marginPart) - FIGURES.margin
}

/** How long a grant may be trusted: up to its safe deadline. */
export class Lease {
  readonly #clock: Clock
  #monotonicEnd = Number.NEGATIVE_INFINITY
  #wallEnd = Number.NEGATIVE_INFINITY

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Takes in a grant or a renewal that the server confirmed. The deadline only moves forward: a late answer to an older
   * request takes nothing away. `waited` and `expiresIn` are in seconds, null for a lock without a lease.
   */
  confirm({ sent, waited, expiresIn }: { sent: Instant; waited: number; expiresIn: number | null }): void {
    const safe = expiresIn === null ? Number.POSITIVE_INFINITY : waited * 1000 + trusted(expiresIn)
    this.#monotonicEnd = Math.max(this.#monotonicEnd, sent.monotonic + safe)
    this.#wallEnd = Math.max(this.#wallEnd, sent.wall + safe)
  }

  /** Milliseconds left, by the clock that leaves less; 0 or less when it has run out, infinite without a lease. */
  left(): number {
    if (this.#monotonicEnd === Number.POSITIVE_INFINITY) return this.#monotonicEnd
    return Math.min(this.#monotonicEnd - this.#clock.monotonic(), this.#wallEnd - this.#clock.wall())
  }
}
