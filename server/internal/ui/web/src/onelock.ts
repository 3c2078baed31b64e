// One lock as it is, and what happened to it.
import { type Api, Refusal } from './api'
import { follow, type Link, sleep } from './follow'
import { kinds } from './locks'
import type { History, LockEvent, LockWithQueue } from './wire'

/** Most events that are kept and shown. */
const most = 200
/** How often a lock that somebody waits for is asked for, in ms: how long that may take changes by itself. */
const again = 5000
/** How long to wait after an event before the lock is asked for, in ms: more than one may come together. */
const settle = 100

export class OneLock {
  /** null if nobody holds it, undefined as long as it is not known. */
  lock: LockWithQueue | null | undefined
  /** When it was so, in ms since the epoch, and the number of an event that had happened by then. */
  at = 0
  behind = 0
  /** Whether the server keeps a history; undefined as long as it is not known. */
  history: boolean | undefined
  /** From when on all is known, if there is a history. */
  since: string | undefined
  /** The newest at the end; without renewals. */
  events: LockEvent[] = []
  private asking = false
  private again = false

  constructor(
    private readonly api: Api,
    private readonly resource: string,
    private readonly changed: () => void,
  ) {}

  /** run returns when the signal ends. */
  async run(link: (link: Link) => void, signal: AbortSignal): Promise<void> {
    const timer = setInterval(() => {
      if (this.lock?.waiters) void this.askSoon(signal)
    }, again)
    await follow({
      api: this.api,
      query: { resource: this.resource, kinds: `${kinds},yield` },
      load: (s) => this.load(s),
      events: (events) => {
        this.add(events)
        void this.askSoon(signal)
      },
      link,
      signal,
    })
    clearInterval(timer)
  }

  private async load(signal: AbortSignal): Promise<void> {
    await Promise.all([this.ask(signal), this.askHistory(signal)])
  }

  /** add takes events that are not known yet. */
  private add(events: LockEvent[]): void {
    const newest = this.events.at(-1)?.event ?? 0
    const added = events.filter((e) => e.event > newest && e.kind !== 'renewed')
    this.events = [...this.events, ...added].slice(-most)
    this.changed()
  }

  private async askHistory(signal: AbortSignal): Promise<void> {
    try {
      const told = await this.api.get<History>('history', { resource: this.resource, limit: most }, signal)
      const later = this.events.filter((e) => e.event > told.last)
      this.history = true
      this.since = told.since
      this.events = [...told.events, ...later].slice(-most)
    } catch (error) {
      if (!(error instanceof Refusal && error.status === 404)) throw error
      this.history = false
    }
    this.changed()
  }

  private async ask(signal: AbortSignal): Promise<void> {
    const behind = this.events.at(-1)?.event ?? 0
    try {
      this.lock = await this.api.get<LockWithQueue>('lock', { resource: this.resource }, signal)
    } catch (error) {
      if (!(error instanceof Refusal && error.status === 404)) throw error
      this.lock = null
    }
    this.at = Date.now()
    this.behind = behind
    this.changed()
  }

  /** askSoon asks for the lock after an event, and once more if there were others meanwhile. */
  private async askSoon(signal: AbortSignal): Promise<void> {
    this.again = true
    if (this.asking) return
    this.asking = true
    try {
      while (this.again && !signal.aborted) {
        this.again = false
        await this.ask(signal)
        await sleep(settle, signal)
      }
    } catch {
      // The stream ends with the server too, and then all is loaded anew.
    } finally {
      this.asking = false
    }
  }
}
