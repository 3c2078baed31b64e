import { useMemo, useState } from 'preact/hooks'
import { exact, kind, plural, span } from '../format'
import { useNow, useRedraw, useSession, useTask } from '../hooks'
import { OneLock } from '../onelock'
import { hrefOf } from '../route'
import { type Held, heldOf, rowOf } from '../table'
import type { LockWithQueue } from '../wire'
import { Evict } from './evict'
import { Lease } from './lease'
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
  const { lock } = one
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
      {lock && <Holders lock={lock} at={one.at} now={now} evict={evict} />}
      {lock && lock.queue.length > 0 && <Queue lock={lock} at={one.at} now={now} />}
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

function facts(one: OneLock): string {
  if (one.lock === undefined) return 'Loading…'
  if (one.lock === null) return 'Nobody holds this lock.'
  const row = rowOf(one.lock, one.at)
  const waiting = one.lock.waiters > 0 ? plural(one.lock.waiters, 'waiter') : 'nobody waits'
  return `${row.limit !== null ? `${kind(row)} permits held` : kind(row)} · ${plural(row.total, 'holder')} · ${waiting}`
}

interface Part {
  lock: LockWithQueue
  at: number // when it was so
  now: number
}

function Holders({ lock, at, now, evict }: Part & { evict: (held: Held) => void }) {
  const held = lock.holders.map((h) => heldOf(h, at))
  return (
    <section>
      <h2>{lock.holders_total === 1 ? 'Holder' : 'Holders'}</h2>
      <div class="wide">
        <table>
          <thead>
            <tr>
              <th>Owner</th>
              <th>Held for</th>
              <th>Lease</th>
              <th>Token</th>
              <th>
                <span class="hidden">Force release</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {held.map((h) => (
              <tr key={h.token}>
                <td>
                  <strong>{h.owner}</strong>
                  {h.note && <div class="note">{h.note}</div>}
                </td>
                <td class="figure">{span((now - h.since) / 1000)}</td>
                <td>
                  <Lease held={h} now={now} />
                </td>
                <td class="figure quiet">{h.token}</td>
                <td class="end">
                  <button type="button" class="danger" onClick={() => evict(h)}>
                    Force release…
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {lock.holders_total > held.length && (
        <p class="quiet">
          The first {plural(held.length, 'holder')} of {lock.holders_total}.
        </p>
      )}
    </section>
  )
}

function Queue({ lock, at, now }: Part) {
  return (
    <section>
      <h2>Queue</h2>
      <div class="wide">
        <table>
          <thead>
            <tr>
              <th>Place</th>
              <th>Owner</th>
              <th>Waits for</th>
              <th>Now</th>
            </tr>
          </thead>
          <tbody>
            {lock.queue.map((w) => (
              <tr key={`${w.owner} ${w.id ?? w.position}`}>
                <td class="figure">{w.position}</td>
                <td>
                  <strong>{w.owner}</strong>
                  {w.note && <div class="note">{w.note}</div>}
                </td>
                <td class="figure">{exact(Math.floor(w.waited + (now - at) / 1000))}</td>
                <td>{w.present ? 'waits' : 'away, place kept'}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {lock.waiters > lock.queue.length && (
        <p class="quiet">
          The first {plural(lock.queue.length, 'place')} of {lock.waiters}.
        </p>
      )}
    </section>
  )
}
