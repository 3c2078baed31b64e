import { once } from 'node:events'

/** Waits until something outside this process is so; for what cannot be awaited. `within` is in milliseconds. */
export async function eventually(what: string, holds: () => Promise<boolean> | boolean, within = 20_000): Promise<void> {
  const end = performance.now() + within
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not so within ${within} ms: ${what}`)
    await sleep(5)
  }
}

/** Resolves when the signal is aborted, also where it was before. */
export async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort')
}

export const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

export const seconds = (from: number) => (performance.now() - from) / 1000
