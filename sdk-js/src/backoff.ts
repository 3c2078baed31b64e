import type { figures } from './core.js'

/** Milliseconds before the next try after so many failures, less a random part, so that many clients do not come back together. */
export function backoff(failures: number, kept: typeof figures): number {
  if (failures <= 1) return 0
  const { backoffFirst, backoffFactor, backoffMost, backoffJitter } = kept
  return Math.min(backoffFirst * backoffFactor ** (failures - 2), backoffMost) * (1 - backoffJitter * Math.random())
}
