// Follows the events of the server for as long as it is wanted: comes back where it was after a cut, and asks for the state anew where
// events were missed.
import { type Api, type Query, Refusal, sayError } from './api'
import { parser } from './sse'
import type { LockEvent } from './wire'

/** Link is how the page is connected. */
export type Link =
  | { state: 'connecting' }
  | { state: 'live' }
  | { state: 'busy' } // too many events to follow; the state is asked for now and then
  | { state: 'gone'; why: string; again: number } // again: when the next attempt is made, in ms since the epoch

export interface Followed {
  api: Api
  query: Query
  /** The number of the event behind which to begin; without it, load is called first. */
  last?: string
  /** Loads the state; events that happen meanwhile are given to events. */
  load: (signal: AbortSignal) => Promise<void>
  events: (events: LockEvent[]) => void
  link: (link: Link) => void
  signal: AbortSignal
}

const backoff = { first: 250, factor: 2, most: 5000 } // ms
const silence = 40_000 // ms; the server says something every 15 s
// A page that is told more often than this, each second for some seconds, would do nothing else.
const busy = { events: 3000, seconds: 3, pause: 2000, again: 60_000 } // ms

class TooBusy extends Error {}

class LoadFailed extends Error {}

/** follow returns when the signal ends, or when the server does not accept the secret. */
export async function follow(f: Followed): Promise<void> {
  let last = f.last
  let pause = 0
  let tooMuch = false
  while (!f.signal.aborted) {
    try {
      if (tooMuch) await poll(f)
      tooMuch = false
      await connect(f, last, (id) => {
        last = id
        pause = 0
      })
    } catch (error) {
      if (f.signal.aborted || (error instanceof Refusal && error.status === 401)) return
      tooMuch = error instanceof TooBusy
      if (tooMuch || error instanceof LoadFailed) last = undefined
      if (tooMuch) continue
      pause = Math.min(pause ? pause * backoff.factor : backoff.first, backoff.most)
      const wait = pause * (0.75 + Math.random() / 2)
      f.link({ state: 'gone', why: sayError(error), again: Date.now() + wait })
      await sleep(wait, f.signal)
    }
  }
}

/** connect reads one stream until it fails. */
async function connect(f: Followed, last: string | undefined, came: (id: string) => void): Promise<never> {
  const end = new AbortController()
  const signal = AbortSignal.any([f.signal, end.signal])
  let loaded = last !== undefined
  const load = async () => {
    try {
      await f.load(signal)
      loaded = true
    } catch (error) {
      if (!signal.aborted) end.abort(new LoadFailed(sayError(error)))
    }
  }
  let quiet: ReturnType<typeof setTimeout> | undefined
  const heard = () => {
    clearTimeout(quiet)
    quiet = setTimeout(() => end.abort(new Error('The server has fallen silent.')), silence)
  }
  try {
    const body = await f.api.stream('events', f.query, last === undefined ? {} : { 'Last-Event-ID': last }, signal)
    heard()
    const rate = new Rate()
    const read = parser()
    const text = new TextDecoder()
    const reader = body.getReader()
    signal.addEventListener('abort', () => void reader.cancel().catch(() => {}), { once: true })
    let loading = last === undefined ? load() : Promise.resolve()
    f.link({ state: 'live' })
    for (;;) {
      const { done, value } = await reader.read()
      signal.throwIfAborted()
      if (done) throw new Error('The connection has ended.')
      heard()
      const events: LockEvent[] = []
      for (const message of read(text.decode(value, { stream: true }))) {
        if (message.event === 'draining') throw new Error('The server is shutting down.')
        if (message.event === 'gap') loading = loading.then(load)
        else if (message.data !== undefined) events.push(JSON.parse(message.data) as LockEvent)
        if (message.id && loaded) came(message.id)
      }
      if (events.length > 0) f.events(events)
      if (rate.over(events.length)) throw new TooBusy()
    }
  } catch (error) {
    throw end.signal.aborted && !f.signal.aborted ? end.signal.reason : error
  } finally {
    clearTimeout(quiet)
    end.abort()
  }
}

/** Rate tells when there are too many events, second by second. */
class Rate {
  private second = 0
  private count = 0
  private full = 0

  over(events: number): boolean {
    const now = Math.floor(Date.now() / 1000)
    if (now !== this.second) {
      this.full = now === this.second + 1 && this.count > busy.events ? this.full + 1 : 0
      this.second = now
      this.count = 0
    }
    this.count += events
    return this.full >= busy.seconds
  }
}

/** poll loads the state again and again for a while. */
async function poll(f: Followed): Promise<void> {
  const until = Date.now() + busy.again
  while (Date.now() < until && !f.signal.aborted) {
    f.link({ state: 'busy' })
    const began = Date.now()
    await f.load(f.signal)
    await sleep(Math.max(busy.pause, 4 * (Date.now() - began)), f.signal)
  }
}

/** sleep ends early if the signal does. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
    if (signal.aborted) done()
  })
}
