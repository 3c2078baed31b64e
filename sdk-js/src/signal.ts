import { setMaxListeners } from 'node:events'

const native = {
  aborted: Object.getOwnPropertyDescriptor(AbortSignal.prototype, 'aborted')?.get as (this: AbortSignal) => boolean,
  throwIfAborted: AbortSignal.prototype.throwIfAborted,
}

/**
 * Makes a signal look (at the clocks) before it says whether it is aborted. A stalled event loop fires no timer, but code
 * that goes on after the stall may ask a signal that it got long before.
 */
export function watchedSignal(signal: AbortSignal, look: () => void): AbortSignal {
  return Object.defineProperties(signal, {
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
}

/** Allows any number of calls on one signal: Node.js would take more than ten listeners for a leak, and say so. */
export function allowListeners(signal: AbortSignal): void {
  setMaxListeners(Number.POSITIVE_INFINITY, signal)
}
