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

export const systemClock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
}

export function read(clock: Clock): Instant {
  return { monotonic: clock.monotonic(), wall: clock.wall() }
}
