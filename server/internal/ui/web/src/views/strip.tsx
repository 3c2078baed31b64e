import { exact, plural, span, timeOfDay } from '../format'
import { type Hold, lanesOf } from '../holds'

/** Most lanes that are drawn. */
const most = 8
/** Most holds that are told in words. */
const told = 12

const words: Record<string, string> = {
  released: 'released',
  expired: 'lease ran out',
  evicted: 'force-released',
  handed_back: 'handed back',
}

/** Strip shows who held a lock when: time goes to the right, and holds at the same time are in lanes. */
export function Strip({ holds, now }: { holds: Hold[]; now: number }) {
  const first = holds[0]
  if (!first) return null
  const { lanes, count } = lanesOf(holds)
  const end = Math.max(now, ...holds.map((h) => h.until ?? 0))
  const length = Math.max(1000, end - first.since)
  const part = (at: number) => `${((100 * (at - first.since)) / length).toFixed(3)}%`
  const shown = Math.min(count, most)
  return (
    <section>
      <h2>Who held it</h2>
      <div class="strip" role="img" aria-label={inWords(holds)}>
        <div class="lanes" style={{ height: `${shown * 26}px` }}>
          {holds.map((hold, i) => {
            const lane = lanes[i] ?? 0
            if (lane >= most) return null
            return (
              <span
                key={hold.token}
                class={`hold ${hold.how ?? 'held'}`}
                title={say(hold)}
                style={{
                  top: `${lane * 26}px`,
                  left: part(hold.since),
                  width: part(first.since + (hold.until ?? end) - hold.since),
                }}
              >
                {hold.owner}
              </span>
            )
          })}
        </div>
        <div class="axis">
          <span>{timeOfDay(new Date(first.since).toISOString())}</span>
          <span>{span(length / 1000)}</span>
          <span>now</span>
        </div>
      </div>
      {count > most && (
        <p class="quiet">
          At the same time, {plural(count, 'holder')}; the first {most} are shown.
        </p>
      )}
    </section>
  )
}

function say(hold: Hold): string {
  const from = `${hold.owner}: from ${timeOfDay(new Date(hold.since).toISOString())}`
  if (hold.until === null) return `${from}, held`
  return `${from} for ${exact((hold.until - hold.since) / 1000)}, ${words[hold.how ?? ''] ?? 'ended'}`
}

/** inWords tells what the strip shows, the newest first; the list of events below has all. */
function inWords(holds: Hold[]): string {
  const last = holds.slice(-told).reverse().map(say)
  const more = holds.length > told ? `; and ${plural(holds.length - told, 'hold')} before` : ''
  return `Who held the lock, the newest first. ${last.join('; ')}${more}.`
}
