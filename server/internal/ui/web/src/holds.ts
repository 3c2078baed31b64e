// Who held a lock when, from what happened to it.
import type { Held } from './table'
import type { Kind, LockEvent } from './wire'

export interface Hold {
  token: number
  owner: string
  since: number // ms since the epoch
  until: number | null // null: it is held
  how: Kind | null // how it ended
}

const ends = new Set<Kind>(['released', 'expired', 'evicted', 'handed_back'])

/**
 * holdsOf returns the holds that the events and the present holders tell of, in the order of their beginning. The holders are those after
 * the event with the number behind: a grant of before that is not theirs any more has ended, and if nobody knows when, it is left out.
 * Without holders it is not known who they are.
 */
export function holdsOf(events: LockEvent[], holders: Held[] | undefined, behind: number): Hold[] {
  const holds = new Map<number, Hold>()
  const present = holders && new Set(holders.map((h) => h.token))
  for (const e of events) {
    if (e.token === null) continue
    const at = Date.parse(e.time)
    if (e.kind === 'granted') holds.set(e.token, { token: e.token, owner: e.owner, since: at, until: null, how: null })
    if (!ends.has(e.kind)) continue
    const since = holds.get(e.token)?.since ?? at - (e.held_for ?? 0) * 1000 // its grant may be older than all that is known
    holds.set(e.token, { token: e.token, owner: e.owner, since, until: at, how: e.kind })
  }
  const granted = events.filter((e) => e.kind === 'granted' && e.event <= behind && e.token !== null && !present?.has(e.token))
  for (const { token } of present ? granted : []) if (token !== null && holds.get(token)?.until === null) holds.delete(token)
  for (const h of holders ?? [])
    if (!holds.has(h.token)) holds.set(h.token, { token: h.token, owner: h.owner, since: h.since, until: null, how: null })
  return [...holds.values()].sort((a, b) => a.since - b.since || a.token - b.token)
}

/** askedToYield returns who asked last for a grant to be given back, if somebody did. */
export function askedToYield(events: LockEvent[], token: number): string | undefined {
  return events.findLast((e) => e.kind === 'yield' && e.token === token)?.by
}

/** lanesOf gives each hold a lane in which no other is at the same time. */
export function lanesOf(holds: Hold[]): { lanes: number[]; count: number } {
  const free: number[] = [] // when each lane is
  const lanes = holds.map((hold) => {
    const found = free.findIndex((at) => at <= hold.since)
    const lane = found < 0 ? free.length : found
    free[lane] = hold.until ?? Number.POSITIVE_INFINITY
    return lane
  })
  return { lanes, count: free.length }
}
