import { span } from '../format'
import type { Held } from '../table'

/** Lease shows the time left of a lease as a bar and in words. */
export function Lease({ held, now }: { held: Held | undefined; now: number }) {
  if (!held) return null
  if (held.end === null || held.length === null) return <span class="lease none">no end</span>
  const left = Math.max(0, held.end - now)
  const part = Math.min(1, left / Math.max(1, held.length))
  return (
    <span class={`lease ${part < 0.25 ? 'low' : ''}`}>
      <span class="bar" aria-hidden="true">
        <span style={{ transform: `scaleX(${part.toFixed(3)})` }} />
      </span>
      <span class="left">{left === 0 ? 'ends now' : left < 1000 ? '< 1 s' : span(left / 1000)}</span>
    </span>
  )
}
