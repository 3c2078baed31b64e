// What the server answers, as far as the dashboard reads it; ../../../../openapi.yaml says all of it.

export interface Holder {
  owner: string
  id: string | null
  token: number
  note: string | null
  held_for: number
  expires_in: number | null
  renewed_ago: number | null
}

export interface Lock {
  resource: string
  mode: 'exclusive' | 'shared' | null
  limit: number | null
  holders: Holder[]
  holders_total: number
  waiters: number
}

export interface Page {
  locks: Lock[]
  next: string | null
}

/** Estimate is of a wait or of the time that a lock is held, in seconds, from so many past holds. */
export interface Estimate {
  p50: number
  p90: number
  holds: number
}

export interface Waiter {
  position: number
  owner: string
  id: string | null
  note: string | null
  waited: number
  present: boolean
  estimate: Estimate | null
}

export interface LockWithQueue extends Lock {
  queue: Waiter[]
  /** How long it was held lately. */
  held: Estimate | null
  /** The wait of one who asks now. */
  estimate: Estimate | null
}

export type Kind = 'queued' | 'left' | 'granted' | 'released' | 'expired' | 'evicted' | 'handed_back' | 'yield' | 'renewed'

export interface LockEvent {
  event: number
  kind: Kind
  time: string
  resource: string
  owner: string
  id: string | null
  token: number | null
  note: string | null
  mode: 'exclusive' | 'shared' | null
  limit: number | null
  expires_in: number | null
  waiters: number
  waited?: number
  held_for?: number
  why?: string
  by?: string
}

export interface History {
  resource: string
  since: string
  last: number
  events: LockEvent[]
}

export interface Evicted {
  resource: string
  evicted: Holder[]
}

export interface Figures {
  time: string
  locks: number
  waiters: number
  sessions: number
  deepest_queue: number
  longest_wait: number
  longest_hold: number
  grants_per_second: number
  waits_per_second: number
  expired_per_second: number
  evicted_per_second: number
  commits_per_second: number
  wait_p50: number | null
  wait_p99: number | null
  hold_p50: number | null
  hold_p99: number | null
  commit_mean: number | null
  commit_p99: number | null
}

export interface Contended {
  resource: string
  waits: number
  hand_offs: number
  wait_p50: number | null
  wait_p99: number | null
  hold_p50: number | null
  hold_p99: number | null
  waiters: number
  holders: number
}

export interface Stats {
  since: number
  now: Figures & { role: string; store: string }
  resources: Contended[]
  series: { step: number; points: Figures[] }
}

export interface Health {
  version: string
  role: 'leader' | 'standby'
}
