import type { LockserverClientOptions } from 'lockserver-client'

/** A clock that runs with the real one, ahead by what a test says. */
export class TestClock {
  ahead = { monotonic: 0, wall: 0 }
  /** How often it was read. */
  readings = 0
  onReading: () => void = () => undefined
  monotonic = () => {
    this.readings++
    this.onReading()
    return performance.now() + this.ahead.monotonic
  }
  wall = () => Date.now() + this.ahead.wall
}

/** The option by which tests replace the clock, the transport and figures (in milliseconds); not part of the public face. */
export function testing(options: {
  clock?: TestClock
  transport?: object
  figures?: Record<string, number>
}): LockserverClientOptions {
  return { [Symbol.for('lockserver-client.testing')]: options } as LockserverClientOptions
}

/** For tests that look at what is left on the server as soon as an abandoned call has rejected. */
export const untilConfirmed = testing({ figures: { abandon: 60_000 } })
