import type { Clock } from './clock.js'
import { FIGURES } from './contract.js'
import type { Transport } from './transport.js'
import type { Stop } from './waiting.js'

/** Those of the contract, and this client's own; times are in milliseconds. */
export const figures = {
  ...FIGURES,
  /** The longest wait that can be asked for: ten years. */
  longestWait: 315_360_000_000,
  /**
   * How long an abandoned call waits for the confirmation that nothing is left behind. It is short because whoever gave up
   * wants to go on: past it the cancel goes on in the background, within the bound of a cleanup, and `close` waits for it.
   */
  abandon: 250,
  /**
   * What is added to a caller's limit for the last answer, so that it is as a rule the server's word that ends the call, and
   * a short limit still allows an attempt over a slow line.
   */
  lastAnswer: 250,
  /** Below this an answer "still queued" has not waited for anything. */
  shortestHop: 50,
  /** Below this there is no use in another attempt. */
  shortestAttempt: 2,
}

/** What a client's parts share. */
export interface Core {
  readonly transport: Transport
  readonly clock: Clock
  readonly figures: typeof figures
  readonly owner: string
  /** Stops when the client is closed; nothing is begun after that. */
  readonly closing: Stop
  /** Acquisitions under way that may get a lease which is not to be renewed: as long as there is one, none is renewed with others. */
  coming: number
  /** Lets `close` wait for work that no caller waits for. It never rejects. */
  background(work: Promise<unknown>): void
}
