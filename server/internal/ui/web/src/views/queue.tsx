import { about, exact, plural } from '../format'
import type { LockWithQueue, Waiter } from '../wire'

/** Queue lists who waits for a lock, behind whom, and how long that may take. */
export function Queue({ lock, at, now }: { lock: LockWithQueue; at: number; now: number }) {
  return (
    <section>
      <h2>Queue</h2>
      <div class="wide">
        <table>
          <thead>
            <tr>
              <th>Place</th>
              <th>Owner</th>
              <th>Behind</th>
              <th>Waits for</th>
              <th>Still to wait, about</th>
              <th>Now</th>
            </tr>
          </thead>
          <tbody>
            {lock.queue.map((w, i) => (
              <tr key={`${w.owner} ${w.id ?? w.position}`}>
                <td class="figure">{w.position}</td>
                <td>
                  <strong>{w.owner}</strong>
                  {w.note && <div class="note">{w.note}</div>}
                </td>
                <td>{behind(lock, i)}</td>
                <td class="figure">{exact(Math.floor(w.waited + (now - at) / 1000))}</td>
                <td>{expected(w)}</td>
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

/** behind names who is just ahead of a place. */
function behind(lock: LockWithQueue, i: number): string {
  const ahead = lock.queue[i - 1]
  if (ahead) return ahead.owner
  const [holder] = lock.holders
  if (!holder) return '–'
  return lock.holders_total > 1 ? `${plural(lock.holders_total, 'holder')}` : `${holder.owner}, who holds it`
}

function expected({ estimate }: Waiter): string {
  return estimate ? about(estimate) : 'not known'
}
