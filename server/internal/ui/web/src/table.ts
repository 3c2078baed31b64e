// The locks that the page knows: pages of GET /locks, kept up to date by events. It knows no network and no screen.
import type { Holder, Lock, LockEvent } from './wire'

export interface Held {
  owner: string
  id: string | null
  token: number
  note: string | null
  since: number // ms since the epoch
  end: number | null // of the lease
  length: number | null // of the lease, from its grant or its last renewal, in ms
  renewed: number | null // ms since the epoch; null if it was not
}

export interface Row {
  resource: string
  mode: 'exclusive' | 'shared' | null
  limit: number | null
  holders: Held[] // those that are known
  total: number
  waiters: number
}

export function heldOf(h: Holder, now: number): Held {
  return {
    owner: h.owner,
    id: h.id,
    token: h.token,
    note: h.note,
    since: now - h.held_for * 1000,
    end: h.expires_in === null ? null : now + h.expires_in * 1000,
    length: h.expires_in === null ? null : (h.expires_in + (h.renewed_ago ?? h.held_for)) * 1000,
    renewed: h.renewed_ago === null ? null : now - h.renewed_ago * 1000,
  }
}

export function rowOf(lock: Lock, now: number): Row {
  const { resource, mode, limit, waiters } = lock
  return { resource, mode, limit, waiters, holders: lock.holders.map((h) => heldOf(h, now)), total: lock.holders_total }
}

export class Table {
  /** Rows are replaced, never changed, so that what shows them can tell. */
  rows = new Map<string, Row>()
  /** Rises with each change. */
  version = 0

  /** replace takes the whole state. */
  replace(rows: Map<string, Row>): void {
    this.rows = rows
    this.version++
  }

  /** apply takes what happened. It returns the resources of which more holders are known to the server than to the table. */
  apply(events: LockEvent[], now: number): Set<string> {
    const unsure = new Set<string>()
    for (const e of events) if (!applyTo(this.rows, e, now)) unsure.add(e.resource)
    if (events.length > 0) this.version++
    return unsure
  }

  /** set takes one lock as it is; undefined if nobody holds it. */
  set(resource: string, row: Row | undefined): void {
    if (row) this.rows.set(resource, row)
    else this.rows.delete(resource)
    this.version++
  }
}

/**
 * applyTo changes the rows by an event. Events that the rows have in them already do no harm, if all that follow them are applied too. It
 * returns false if it cannot know who holds the lock now.
 */
export function applyTo(rows: Map<string, Row>, e: LockEvent, now: number): boolean {
  const row = rows.get(e.resource)
  switch (e.kind) {
    case 'granted':
      return granted(rows, row, e, now)
    case 'renewed':
      if (row) rows.set(e.resource, { ...row, waiters: e.waiters, holders: row.holders.map((h) => renewed(h, e, now)) })
      return true
    case 'yield':
    case 'queued':
    case 'left':
      if (row && row.waiters !== e.waiters) rows.set(e.resource, { ...row, waiters: e.waiters })
      return true
    default:
      return ended(rows, row, e)
  }
}

function granted(rows: Map<string, Row>, row: Row | undefined, e: LockEvent, now: number): boolean {
  const left = e.expires_in === null ? null : e.expires_in * 1000
  const held: Held = {
    owner: e.owner,
    id: e.id,
    token: e.token ?? 0,
    note: e.note,
    since: now,
    end: left === null ? null : now + left,
    length: left,
    renewed: null,
  }
  const { resource, mode, limit, waiters } = e
  if (!row) {
    rows.set(resource, { resource, mode, limit, waiters, holders: [held], total: 1 })
    return true
  }
  const known = row.holders.some((h) => h.token === held.token)
  const sure = row.total === row.holders.length
  const holders = known ? row.holders : [...row.holders, held]
  rows.set(resource, { ...row, mode, limit, waiters, holders, total: sure ? holders.length : row.total })
  return sure
}

function renewed(h: Held, e: LockEvent, now: number): Held {
  if (h.token !== e.token || e.expires_in === null) return h
  const left = e.expires_in * 1000
  return { ...h, end: now + left, length: left, renewed: now }
}

function ended(rows: Map<string, Row>, row: Row | undefined, e: LockEvent): boolean {
  if (!row) return true
  const sure = row.total === row.holders.length
  const holders = row.holders.filter((h) => h.token !== e.token)
  if (holders.length > 0 || !sure)
    rows.set(e.resource, { ...row, waiters: e.waiters, holders, total: sure ? holders.length : row.total })
  else rows.delete(e.resource)
  return sure
}
