import { useMemo, useState } from 'preact/hooks'
import { about, kind, plural } from '../format'
import { askedToYield, holdsOf } from '../holds'
import { useNow, useRedraw, useSession, useTask } from '../hooks'
import { OneLock } from '../onelock'
import { hrefOf } from '../route'
import { type Held, heldOf, rowOf } from '../table'
import type { LockWithQueue } from '../wire'
import { Evict } from './evict'
import { Holders } from './holders'
import { Queue } from './queue'
import { Strip } from './strip'
import { Timeline } from './timeline'

/** LockPage shows one lock: who holds it, who waits, and what happened. */
export function LockPage({ resource }: { resource: string }) {
  const { api, link } = useSession()
  const redraw = useRedraw()
  const one = useMemo(() => new OneLock(api, resource, redraw), [api, resource, redraw])
  useTask((signal) => one.run(link, signal), [one])
  const [evicting, setEvicting] = useState<{ held: Held; n: number }>()
  const [notice, setNotice] = useState('')
  const now = useNow(500)
  const { lock, events, at, behind } = one
  const holds = useMemo(() => holdsOf(events, holdersOf(lock, at), behind), [events, lock, at, behind])
  const evict = (held: Held) => setEvicting((last) => ({ held, n: (last?.n ?? 0) + 1 }))
  return (
    <>
      <p class="back">
        <a href={hrefOf({ page: 'locks' })}>← Locks</a>
      </p>
      <h1 class="resource">{resource}</h1>
      <p class="facts">{facts(one)}</p>
      <p class="notice" role="status">
        {notice}
      </p>
      {lock && <Estimates lock={lock} />}
      {lock && <Holders lock={lock} at={one.at} now={now} asked={(token) => askedToYield(one.events, token)} evict={evict} />}
      {lock && lock.queue.length > 0 && <Queue lock={lock} at={one.at} now={now} />}
      <Strip holds={holds} now={now} />
      <Timeline history={one.history} events={one.events} since={one.since} />
      {evicting && (
        <Evict
          key={evicting.n}
          resource={resource}
          held={evicting.held}
          done={(said) => {
            // A dialog tells in the next frame that it was closed: by then another may be open.
            setEvicting((last) => (last === evicting ? undefined : last))
            if (said) setNotice(said)
          }}
        />
      )}
    </>
  )
}

/** holdersOf returns all who hold the lock, if they are known. */
function holdersOf(lock: LockWithQueue | null | undefined, at: number): Held[] | undefined {
  if (lock === null) return []
  if (!lock || lock.holders_total > lock.holders.length) return undefined
  return lock.holders.map((h) => heldOf(h, at))
}

function facts(one: OneLock): string {
  if (one.lock === undefined) return 'Loading…'
  if (one.lock === null) return 'Nobody holds this lock.'
  const row = rowOf(one.lock, one.at)
  const waiting = one.lock.waiters > 0 ? plural(one.lock.waiters, 'waiter') : 'nobody waits'
  return `${row.limit !== null ? `${kind(row)} permits held` : kind(row)} · ${plural(row.total, 'holder')} · ${waiting}`
}

/** Estimates tells how long the lock is held, and waited for, as far as the server can say. */
function Estimates({ lock: { held, estimate } }: { lock: LockWithQueue }) {
  if (!held && !estimate) return null
  const from = plural((held ?? estimate)?.holds ?? 0, 'past hold')
  return (
    <dl class="estimates">
      {held && (
        <div>
          <dt>Held lately</dt>
          <dd>{about(held)}</dd>
        </div>
      )}
      {estimate && (
        <div>
          <dt>Who asks now waits about</dt>
          <dd>{about(estimate)}</dd>
        </div>
      )}
      <div>
        <dt>Told from</dt>
        <dd>{from}</dd>
      </div>
    </dl>
  )
}
