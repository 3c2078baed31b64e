import { useState } from 'preact/hooks'
import { sayError } from '../api'
import { sleep } from '../follow'
import { count, exact, perSecond, span } from '../format'
import { useSession, useTask } from '../hooks'
import { hrefOf } from '../route'
import type { Contended, Figures, Stats } from '../wire'
import { type Line, Plot } from './plot'

/** How often the figures are asked for, in ms. */
const every = 5000
const again = 2000

export function Overview() {
  const { api, link } = useSession()
  const [stats, setStats] = useState<Stats>()
  useTask(
    async (signal) => {
      while (!signal.aborted) {
        try {
          setStats(await api.get<Stats>('stats', { top: 10 }, signal))
          link({ state: 'live' })
          await sleep(every, signal)
        } catch (error) {
          if (signal.aborted) return
          link({ state: 'gone', why: sayError(error), again: Date.now() + again })
          await sleep(again, signal)
        }
      }
    },
    [api],
  )
  return (
    <>
      <h1 class="hidden">Overview</h1>
      {stats ? <All stats={stats} /> : <p class="quiet">Loading…</p>}
    </>
  )
}

function All({ stats }: { stats: Stats }) {
  const { now, resources, since } = stats
  const points = stats.series.points
  return (
    <>
      <dl class="tiles">
        <Tile name="Locks held" value={count(now.locks)} />
        <Tile
          name="Waiters"
          value={count(now.waiters)}
          more={now.waiters ? `deepest queue ${count(now.deepest_queue)}` : 'nobody waits'}
        />
        <Tile name="Grants" value={perSecond(now.grants_per_second)} more={`${perSecond(now.waits_per_second)} waited`} />
        <Tile name="Longest wait now" value={now.waiters ? exact(now.longest_wait) : '–'} />
        <Tile name="Longest hold now" value={now.locks ? span(now.longest_hold) : '–'} />
        <Tile name="Sessions" value={count(now.sessions)} />
        <Tile name="Store" value={now.store} more={`${now.role}, up ${span(since)}`} />
      </dl>
      <div class="plots">
        {plots.map((plot) => (
          <Plot key={plot.title} title={plot.title} lines={plot.lines} points={points} format={plot.format} />
        ))}
      </div>
      <Contention resources={resources} />
    </>
  )
}

function Tile({ name, value, more }: { name: string; value: string; more?: string }) {
  return (
    <div class="tile">
      <dt>{name}</dt>
      <dd>
        {value}
        {more && <small>{more}</small>}
      </dd>
    </div>
  )
}

const line = (label: string, of: (f: Figures) => number | null): Line => ({ label, of })

const plots: { title: string; lines: Line[]; format: (n: number) => string }[] = [
  {
    title: 'Grants',
    lines: [line('grants', (f) => f.grants_per_second), line('waits', (f) => f.waits_per_second)],
    format: perSecond,
  },
  { title: 'Time waited', lines: [line('median', (f) => f.wait_p50), line('99th percentile', (f) => f.wait_p99)], format: exact },
  { title: 'Time held', lines: [line('median', (f) => f.hold_p50), line('99th percentile', (f) => f.hold_p99)], format: exact },
  { title: 'Locks and waiters', lines: [line('locks', (f) => f.locks), line('waiters', (f) => f.waiters)], format: count },
  {
    title: 'Store: time of a commit',
    lines: [line('mean', (f) => f.commit_mean), line('99th percentile', (f) => f.commit_p99)],
    format: exact,
  },
  {
    title: 'Ended without release',
    lines: [line('lease ran out', (f) => f.expired_per_second), line('force-released', (f) => f.evicted_per_second)],
    format: perSecond,
  },
]

/** Contention lists the locks that others waited for most often. */
function Contention({ resources }: { resources: Contended[] }) {
  return (
    <section>
      <h2>Most waited for</h2>
      {resources.length === 0 ? (
        <p class="quiet">Nobody had to wait since the server began to count.</p>
      ) : (
        <div class="wide">
          <table>
            <thead>
              <tr>
                <th>Lock</th>
                <th class="figure">Waits</th>
                <th class="figure">Handed on</th>
                <th class="figure">Waited, median</th>
                <th class="figure">99th</th>
                <th class="figure">Held, median</th>
                <th class="figure">99th</th>
                <th class="figure">Waiting now</th>
              </tr>
            </thead>
            <tbody>
              {resources.map((r) => (
                <tr key={r.resource}>
                  <td class="resource">
                    <a href={hrefOf({ page: 'lock', resource: r.resource })}>{r.resource}</a>
                  </td>
                  <td class="figure">{count(r.waits)}</td>
                  <td class="figure">{count(r.hand_offs)}</td>
                  <td class="figure">{exact(r.wait_p50)}</td>
                  <td class="figure">{exact(r.wait_p99)}</td>
                  <td class="figure">{exact(r.hold_p50)}</td>
                  <td class="figure">{exact(r.hold_p99)}</td>
                  <td class="figure">{r.waiters > 0 ? count(r.waiters) : '–'}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}
