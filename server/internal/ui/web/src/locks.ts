// The list of locks: loads it, follows it, and says when there is something new to show.
import { type Api, type Query, Refusal } from './api'
import { follow, type Link } from './follow'
import { applyTo, type Row, rowOf, Table } from './table'
import type { LockEvent, LockWithQueue, Page } from './wire'

/** Most locks that are loaded. Who wants others narrows the names down. */
const most = 20_000
const pageSize = 1000
/** All kinds: a lease's bar is right only if its renewals are known. */
export const kinds = 'queued,left,granted,released,expired,evicted,handed_back,renewed'
/** How long to wait before a lock with more holders than the list names is asked for, in ms. */
const settle = 300
const atOnce = 20

export class Locks {
  readonly table = new Table()
  /** Whether the server has more locks than were loaded. */
  more = false
  /** Whether the list was loaded once. */
  loaded = false
  /** Lists that collect events while answers are on their way that may or may not have them. */
  private readonly collecting = new Set<LockEvent[]>()
  private readonly unsure = new Set<string>()
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(
    private readonly api: Api,
    private readonly prefix: string,
    private readonly changed: () => void,
  ) {}

  /** run returns when the signal ends. */
  async run(link: (link: Link) => void, signal: AbortSignal): Promise<void> {
    await follow({
      api: this.api,
      query: { prefix: this.prefix, kinds },
      load: (s) => this.load(s),
      events: (events) => this.apply(events, signal),
      link,
      signal,
    })
    clearTimeout(this.timer)
  }

  private async load(signal: AbortSignal): Promise<void> {
    const rows = new Map<string, Row>()
    await this.collect(async (events) => {
      let cursor: string | null = null
      do {
        const query: Query = { prefix: this.prefix, limit: pageSize, cursor: cursor ?? undefined }
        const page: Page = await this.api.get<Page>('locks', query, signal)
        const now = Date.now()
        for (const lock of page.locks) rows.set(lock.resource, rowOf(lock, now))
        cursor = page.next
        if (!this.loaded) this.show(rows) // the first time, as far as it has come
      } while (cursor !== null && rows.size < most)
      for (const e of events) if (!applyTo(rows, e, Date.now())) this.unsure.add(e.resource)
      this.more = cursor !== null
      this.loaded = true
      this.show(rows)
    })
    this.askLater(signal)
  }

  private show(rows: Map<string, Row>): void {
    this.table.replace(rows)
    this.changed()
  }

  private apply(events: LockEvent[], signal: AbortSignal): void {
    for (const list of this.collecting) list.push(...events)
    for (const resource of this.table.apply(events, Date.now())) this.unsure.add(resource)
    this.askLater(signal)
    this.changed()
  }

  /** collect gives work a list that gets the events that come while it goes on. */
  private async collect<T>(work: (events: LockEvent[]) => Promise<T>): Promise<T> {
    const events: LockEvent[] = []
    this.collecting.add(events)
    try {
      return await work(events)
    } finally {
      this.collecting.delete(events)
    }
  }

  private askLater(signal: AbortSignal): void {
    if (this.unsure.size === 0 || this.timer !== undefined) return
    this.timer = setTimeout(async () => {
      const resources = [...this.unsure].slice(0, atOnce)
      for (const resource of resources) this.unsure.delete(resource)
      await Promise.all(resources.map((resource) => this.ask(resource, signal)))
      this.timer = undefined
      if (!signal.aborted) this.askLater(signal)
    }, settle)
  }

  /** ask looks at one lock. A failure is left to the stream, which ends with the server. */
  private ask(resource: string, signal: AbortSignal): Promise<void> {
    return this.collect(async (events) => {
      const rows = new Map<string, Row>()
      try {
        rows.set(resource, rowOf(await this.api.get<LockWithQueue>('lock', { resource }, signal), Date.now()))
      } catch (error) {
        if (!(error instanceof Refusal && error.status === 404)) return
      }
      for (const e of events) if (e.resource === resource) applyTo(rows, e, Date.now())
      this.table.set(resource, rows.get(resource))
      this.changed()
    })
  }
}
