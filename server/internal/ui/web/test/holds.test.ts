import assert from 'node:assert/strict'
import { test } from 'node:test'
import { askedToYield, holdsOf, lanesOf } from '../src/holds'
import type { Held } from '../src/table'
import type { Kind, LockEvent } from '../src/wire'

let number = 0

/** at is an event so many seconds after the epoch. */
function at(seconds: number, kind: Kind, token: number | null, more: Partial<LockEvent> = {}): LockEvent {
  return {
    event: ++number,
    kind,
    time: new Date(seconds * 1000).toISOString(),
    resource: 'r',
    owner: `o${token}`,
    id: null,
    token,
    note: null,
    mode: 'exclusive',
    limit: null,
    expires_in: null,
    waiters: 0,
    ...more,
  }
}

function held(token: number, since: number): Held {
  return { owner: `o${token}`, id: null, token, note: null, since: since * 1000, end: null, length: null, renewed: null }
}

/** told is "token since–until how" of each. */
function told(events: LockEvent[], holders: Held[] | undefined, behind = number): string[] {
  return holdsOf(events, holders, behind).map(
    (h) => `${h.token} ${h.since / 1000}–${h.until === null ? '' : h.until / 1000} ${h.how ?? 'held'}`,
  )
}

test('holds are told by their grants and their ends', () => {
  const events = [
    at(10, 'expired', 1, { held_for: 4 }), // granted before all that is known
    at(11, 'queued', null),
    at(12, 'granted', 2),
    at(13, 'granted', 3),
    at(15, 'released', 2, { held_for: 3 }),
    at(16, 'evicted', 3, { held_for: 3 }),
    at(17, 'granted', 4),
  ]
  const all = ['1 6–10 expired', '2 12–15 released', '3 13–16 evicted', '4 17– held']
  assert.deepEqual(told(events, [held(4, 17.1)]), all)
  assert.deepEqual(told(events, undefined), all)
  assert.deepEqual(told(events, [held(4, 17.1), held(0, 2)]), ['0 2– held', ...all])
})

test('a grant whose end was missed is left out, one that has just come is not', () => {
  const missed = at(20, 'granted', 5)
  const next = at(30, 'granted', 6)
  assert.deepEqual(told([missed, next], [], missed.event), ['6 30– held'])
  assert.deepEqual(told([missed, next], [held(6, 30)], next.event), ['6 30– held'])
})

test('holds at the same time are in different lanes', () => {
  const events = [
    at(1, 'granted', 1),
    at(2, 'granted', 2),
    at(3, 'released', 1),
    at(3, 'granted', 3),
    at(4, 'granted', 4),
    at(5, 'released', 3),
  ]
  assert.deepEqual(lanesOf(holdsOf(events, undefined, 0)), { lanes: [0, 1, 0, 2], count: 3 })
  assert.deepEqual(lanesOf([]), { lanes: [], count: 0 })
})

test('the last who asked for a grant is told', () => {
  const events = [at(1, 'yield', 7, { by: 'a' }), at(2, 'yield', 7, { by: 'b' }), at(3, 'yield', 8, { by: 'c' })]
  assert.equal(askedToYield(events, 7), 'b')
  assert.equal(askedToYield(events, 9), undefined)
})
