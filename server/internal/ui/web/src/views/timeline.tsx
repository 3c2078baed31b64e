import { exact, timeOfDay } from '../format'
import type { Kind, LockEvent } from '../wire'

/** Each kind has a sign and a word: none is told by its colour alone. */
const signs: Record<Kind, [sign: string, word: string]> = {
  granted: ['●', 'granted'],
  released: ['○', 'released'],
  expired: ['✕', 'lease ran out'],
  evicted: ['⚠', 'force-released'],
  handed_back: ['↩', 'handed back'],
  queued: ['…', 'waits'],
  left: ['←', 'left'],
  yield: ['⚑', 'was asked to give it back'],
  renewed: ['↻', 'renewed'],
}

const reasons: Record<string, string> = {
  gone: 'its client went away',
  timed_out: 'its time was over',
  cancelled: 'it was cancelled',
  place_lost: 'it did not come back in time',
  draining: 'the server shut down',
}

/** Timeline shows what happened to a lock, the newest first. */
export function Timeline(props: { history: boolean | undefined; events: LockEvent[]; since: string | undefined }) {
  const { history, events, since } = props
  return (
    <section>
      <h2>What happened</h2>
      {history === false && (
        <p class="off">
          This server keeps no history, so this list begins when the page was opened. Start the server with{' '}
          <code>--history 100000</code> to keep the last events.
        </p>
      )}
      <ol class="timeline">
        {events.toReversed().map((e) => (
          <Item key={e.event} e={e} />
        ))}
      </ol>
      {events.length === 0 && <p class="quiet">Nothing yet.</p>}
      {history && since && <p class="quiet">All is known since {timeOfDay(since)}; at most 200 events are shown.</p>}
    </section>
  )
}

function Item({ e }: { e: LockEvent }) {
  const [sign, word] = signs[e.kind] ?? ['·', e.kind]
  return (
    <li class={e.kind}>
      <time dateTime={e.time}>{timeOfDay(e.time)}</time>
      <span class="sign" aria-hidden="true">
        {sign}
      </span>
      <span class="what">
        <strong>{e.owner}</strong> {word}
        <span class="quiet"> {more(e)}</span>
        {e.note && <span class="note"> {e.note}</span>}
      </span>
    </li>
  )
}

function more(e: LockEvent): string {
  const parts: string[] = []
  if (e.kind === 'granted' && e.waited) parts.push(`after ${exact(e.waited)}`)
  if (e.kind === 'granted') parts.push(e.expires_in === null ? 'without a lease' : `for ${exact(e.expires_in)}`)
  if (e.held_for !== undefined) parts.push(`held for ${exact(e.held_for)}`)
  if (e.kind === 'left') parts.push(`after ${exact(e.waited)}: ${reasons[e.why ?? ''] ?? e.why ?? ''}`)
  if (e.by) parts.push(`by ${e.by}`)
  if (e.waiters > 0) parts.push(`${e.waiters} waiting`)
  return parts.join(' · ')
}
