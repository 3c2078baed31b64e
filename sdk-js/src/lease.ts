import type { Clock, Instant } from './clock.js'

/** How long a grant may be trusted: up to its safe deadline, which lies a little before the server's own. */
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
  confirm(sent: Instant, waited: number, expiresIn: number | null): void {
    const safe = expiresIn === null ? Number.POSITIVE_INFINITY : (waited + expiresIn * 0.99) * 1000 - 2
    this.#monotonicEnd = Math.max(this.#monotonicEnd, sent.monotonic + safe)
    this.#wallEnd = Math.max(this.#wallEnd, sent.wall + safe)
  }

  /** Milliseconds left, by the clock that leaves less; 0 or less when it has run out, infinite without a lease. */
  left(): number {
    if (this.#monotonicEnd === Number.POSITIVE_INFINITY) return this.#monotonicEnd
    return Math.min(this.#monotonicEnd - this.#clock.monotonic(), this.#wallEnd - this.#clock.wall())
  }
}
