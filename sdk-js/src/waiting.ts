import { setMaxListeners } from 'node:events'
import timers from 'node:timers'
import { Bag } from './bag.js'

// Every timer and every listener of this package is made here.

// As they are when this is loaded: tests of programs replace the global ones, and connections do not stop for that.
const { setTimeout, clearTimeout } = timers

const longestTimer = 2 ** 31 - 1

/**
 * Runs something after so many milliseconds, and returns what stops that. A time longer than a timer can take is cut:
 * whoever waits that long looks at the clock again. In the background it does not keep the process alive.
 */
export function after(milliseconds: number, run: () => void, background = false): () => void {
  const timer = setTimeout(run, Math.min(Math.max(milliseconds, 0), longestTimer))
  if (background) timer.unref()
  return () => clearTimeout(timer)
}

/** Waits for some work, but not for longer than so many milliseconds. */
export async function atMost(milliseconds: number, work: Promise<unknown>): Promise<void> {
  let stop: (() => void) | undefined
  await Promise.race([work, new Promise<void>((resolve) => (stop = after(milliseconds, resolve)))])
  stop?.()
}

/** Ends, once and for all, what waits on it. */
export class Stop {
  #stopped: { reason: unknown } | undefined
  readonly #waiting = new Bag<Waiter>()

  get stopped(): boolean {
    return this.#stopped !== undefined
  }

  now(reason: unknown): void {
    this.#stopped ??= { reason }
    for (const { end } of this.#waiting) end()
  }

  throwIfStopped(): void {
    if (this.#stopped !== undefined) throw this.#stopped.reason
  }

  /** Waits for some work, or tidies up and rejects with the reason of the stop. */
  race<T>(work: Promise<T>, tidy?: () => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = () => {
        tidy?.()
        reject(this.#stopped?.reason)
      }
      if (this.stopped) return end()
      const waiter = { end, place: 0 }
      this.#waiting.add(waiter)
      work.then((value) => {
        this.#waiting.delete(waiter)
        resolve(value)
      }, reject)
    })
  }

  async pause(milliseconds: number, background: boolean): Promise<void> {
    let stop: (() => void) | undefined
    try {
      await this.race(new Promise<void>((resolve) => (stop = after(milliseconds, resolve, background))))
    } finally {
      stop?.()
    }
  }
}

interface Waiter {
  place: number
  end(): void
}

/** Runs something when a signal is aborted, and returns what stops that. */
export function onAbort(signal: AbortSignal | undefined, run: () => void): () => void {
  if (signal === undefined) return () => undefined
  allowListeners(signal)
  signal.addEventListener('abort', run, { once: true })
  return () => signal.removeEventListener('abort', run)
}

/** Allows any number of calls on one signal: Node.js would take more than ten listeners for a leak, and say so. */
function allowListeners(signal: AbortSignal): void {
  setMaxListeners(Number.POSITIVE_INFINITY, signal)
}

const native = {
  aborted: Object.getOwnPropertyDescriptor(AbortSignal.prototype, 'aborted')?.get as (this: AbortSignal) => boolean,
  throwIfAborted: AbortSignal.prototype.throwIfAborted,
}

/**
 * A controller whose signal looks (at the clocks) before it says whether it is aborted. A stalled event loop fires no timer,
 * but code that goes on after the stall may ask a signal that it got long before.
 */
export function watchedController(look: () => void): AbortController {
  const controller = new AbortController()
  const { signal } = controller
  allowListeners(signal)
  Object.defineProperties(signal, {
    aborted: {
      configurable: true,
      get() {
        look()
        return native.aborted.call(signal)
      },
    },
    throwIfAborted: {
      configurable: true,
      writable: true,
      value() {
        look()
        native.throwIfAborted.call(signal)
      },
    },
  })
  return controller
}
