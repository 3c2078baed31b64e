import { span } from '../format'
import { type Held, heldOf } from '../table'
import type { LockWithQueue } from '../wire'
import { Lease } from './lease'

interface Props {
  lock: LockWithQueue
  at: number // when it was so
  now: number
  /** Who asked for a grant to be given back. */
  asked: (token: number) => string | undefined
  evict: (held: Held) => void
}

/** Holders lists who holds a lock. */
export function Holders({ lock, at, now, asked, evict }: Props) {
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
              <th>Renewed</th>
              <th>Token</th>
              <th>
                <span class="hidden">Force release</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {held.map((h) => (
              <Line key={h.token} h={h} now={now} by={asked(h.token)} evict={evict} />
            ))}
          </tbody>
        </table>
      </div>
      {lock.holders_total > held.length && (
        <p class="quiet">
          The first {held.length} holders of {lock.holders_total}.
        </p>
      )}
    </section>
  )
}

function Line({ h, now, by, evict }: { h: Held; now: number; by: string | undefined; evict: (held: Held) => void }) {
  return (
    <tr>
      <td>
        <strong>{h.owner}</strong>
        {h.note && <div class="note">{h.note}</div>}
        {by !== undefined && <div class="asked">⚑ {by} asks for it back</div>}
      </td>
      <td class="figure">{span((now - h.since) / 1000)}</td>
      <td>
        <Lease held={h} now={now} />
      </td>
      <td class="figure">{h.renewed === null ? '–' : `${span((now - h.renewed) / 1000)} ago`}</td>
      <td class="figure quiet">{h.token}</td>
      <td class="end">
        <button type="button" class="danger" onClick={() => evict(h)}>
          Force release…
        </button>
      </td>
    </tr>
  )
}
