/** Where the time is read. Two clocks, because each misses something: a suspended machine stops the monotonic one, and somebody may set the wall clock. */
export interface Clock {
  /** Milliseconds that only go forward, from any origin. */
  monotonic(): number
  /** Milliseconds since 1970. */
  wall(): number
}

/** A moment on both clocks. */
export interface Instant {
  readonly monotonic: number
  readonly wall: number
}

// As they are when this is loaded: tests of programs replace the global ones, and a server's time goes on all the same.
const { now: wall } = Date
/** Milliseconds of the monotonic clock. */
export const now = performance.now.bind(performance)

export const systemClock: Clock = {
  monotonic: now,
  wall,
}

export function read(clock: Clock): Instant {
  return { monotonic: clock.monotonic(), wall: clock.wall() }
}
