import { FIGURES } from './contract.js'

/** The bounds of everything that goes over the network, in milliseconds. */
export interface Bounds {
  /** The longest time that one request waits on the server. */
  hop: number
  /** Until a connection stands. */
  connect: number
  /** What an answer may take beyond the time that it waits on the server; the most for one try to renew. */
  answer: number
  /** A release or a cancel in all, with its retries. */
  release: number
  /** How long a call without a limit of its own goes on without any answer. */
  unanswered: number
  /** The same once the server has said that the call is queued. */
  unansweredQueued: number
  /**
   * How long an abandoned call waits for the confirmation that nothing is left behind. It is short because whoever gave up
   * wants to go on: past it the cancel goes on in the background, within the bound of a release, and `close` waits for it.
   * The contract names no number; other languages' clients take what fits how theirs are cancelled.
   */
  abandon: number
}

export const defaultBounds: Bounds = {
  hop: FIGURES.hop,
  connect: FIGURES.connect,
  answer: FIGURES.answer,
  release: FIGURES.cleanup,
  unanswered: FIGURES.silence,
  unansweredQueued: FIGURES.silenceQueued,
  abandon: 250,
}

/**
 * What is added to a caller's limit for the last answer, so that it is as a rule the server's word that ends the call, and
 * a short limit still allows a try over a slow line.
 */
export const lastAnswerGrace = 250

const longestTimer = 2 ** 31 - 1

/** A delay that `setTimeout` can take; whoever uses it looks at the clock again when it fires. */
export function timerDelay(milliseconds: number): number {
  return Math.min(Math.max(milliseconds, 0), longestTimer)
}

/**
 * The pause before retry number `attempt` (1 is the first, and comes at once), of which a random part is taken away so
 * that many clients do not come back together. `atLeast` is what the server asked for.
 */
export function backoff(attempt: number, atLeast = 0): number {
  const { backoffFirst, backoffFactor, backoffMost, backoffJitter } = FIGURES
  const pause = attempt <= 1 ? 0 : Math.min(backoffFirst * backoffFactor ** (attempt - 2), backoffMost)
  return Math.max(pause * (1 - backoffJitter * Math.random()), atLeast)
}
