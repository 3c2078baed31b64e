// Figures and times as people read them.
import type { Row } from './table'
import type { Estimate } from './wire'

const whole = new Intl.NumberFormat('en')
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const day = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
})

export function count(n: number): string {
  return whole.format(n)
}

/** plural says how many there are of something. */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`
}

function digits(n: number): string {
  return n >= 100 || Number.isInteger(n) ? whole.format(Math.round(n)) : n.toPrecision(n >= 10 ? 3 : 2)
}

/** exact says a measured time, in seconds, with two or three digits. */
export function exact(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return '–'
  if (seconds === 0) return '0'
  if (seconds < 0.001) return `${digits(seconds * 1e6)} µs`
  if (seconds < 1) return `${digits(seconds * 1000)} ms`
  if (seconds < 100) return `${digits(seconds)} s`
  return span(seconds)
}

const units: [string, number][] = [
  ['d', 86_400],
  ['h', 3600],
  ['m', 60],
  ['s', 1],
]

/** span says a time in whole seconds, with its two largest units. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds))
  const i = units.findIndex(([, size]) => s >= size)
  if (i < 0) return '0 s'
  const [unit, size] = units[i] as [string, number]
  const [next, smaller] = units[i + 1] ?? ['', 0]
  const rest = smaller ? Math.floor((s % size) / smaller) : 0
  return `${Math.floor(s / size)} ${unit}${rest ? ` ${rest} ${next}` : ''}`
}

/** about says in words what is estimated. */
export function about(e: Estimate): string {
  return `${exact(e.p50)}, nine in ten up to ${exact(e.p90)}`
}

export function perSecond(n: number): string {
  return `${digits(n)}/s`
}

export function timeOfDay(time: string): string {
  const at = new Date(time)
  const ms = `${at.getMilliseconds()}`.padStart(3, '0')
  return `${(Date.now() - at.getTime() < 12 * 3600_000 ? clock : day).format(at)}.${ms}`
}

/** kind says what kind of lock it is, in words that need no colour. */
export function kind(row: Pick<Row, 'mode' | 'limit' | 'total'>): string {
  if (row.limit !== null) return `${count(row.total)} of ${count(row.limit)}`
  if (row.mode === 'shared') return row.total > 1 ? `shared × ${count(row.total)}` : 'shared'
  return row.mode ?? ''
}
