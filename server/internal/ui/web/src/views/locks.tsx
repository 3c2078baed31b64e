import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { count, kind, plural, span } from '../format'
import { useMatches, useNow, useRedraw, useSession, useTask } from '../hooks'
import { Locks } from '../locks'
import { hrefOf } from '../route'
import { type Column, choose, type Order } from '../select'
import type { Row } from '../table'
import { Lease } from './lease'

const columns: { column: Column; label: string }[] = [
  { column: 'resource', label: 'Lock' },
  { column: 'kind', label: 'Kind' },
  { column: 'holder', label: 'Holder' },
  { column: 'held', label: 'Held for' },
  { column: 'lease', label: 'Lease' },
  { column: 'waiters', label: 'Waiters' },
]

/** What the user looked for last is there again when the page is. */
let searched = ''
let ordered: Order = { column: 'resource', down: false }

export function LocksPage() {
  const { api, link } = useSession()
  const redraw = useRedraw()
  const [text, setText] = useState(searched)
  const [order, setOrder] = useState(ordered)
  const [prefix, setPrefix] = useState('')
  const locks = useMemo(() => new Locks(api, prefix, redraw), [api, prefix, redraw])
  useTask((signal) => locks.run(link, signal), [locks])
  searched = text
  ordered = order
  const { rows, version } = locks.table
  // biome-ignore lint/correctness/useExhaustiveDependencies: the version stands for the rows, which are changed in place
  const shown = useMemo(() => choose(rows, text, order), [rows, version, text, order])
  const body = useRef<HTMLDivElement>(null)
  return (
    <>
      <h1 class="hidden">Locks</h1>
      <div class="tools">
        <input
          id="search"
          type="search"
          aria-label="Search names, holders and notes"
          placeholder="Search names, holders, notes"
          spellcheck={false}
          autocomplete="off"
          value={text}
          onInput={(e) => setText(e.currentTarget.value)}
          onKeyDown={(e) => {
            if (e.key === 'Escape') setText('')
            if (e.key === 'ArrowDown') body.current?.querySelector<HTMLElement>('[tabindex="0"]')?.focus()
          }}
        />
        <span class="total" role="status">
          {text || prefix ? `${count(shown.length)} of ` : ''}
          {plural(rows.size, 'lock')}
          {prefix && ` that begin with “${prefix}”`}
        </span>
        {prefix && (
          <button type="button" onClick={() => setPrefix('')}>
            Load all names
          </button>
        )}
        {locks.more && (
          <span class="more">
            The server has more, which are not loaded.{' '}
            {text && text !== prefix && (
              <button type="button" onClick={() => setPrefix(text)}>
                Load names that begin with “{text}”
              </button>
            )}
          </span>
        )}
      </div>
      <List rows={shown} order={order} setOrder={setOrder} body={body} empty={emptyText(locks, text)} />
      <p class="keys quiet">
        <kbd>/</kbd> search <kbd>↑</kbd> <kbd>↓</kbd> move <kbd>Enter</kbd> open <kbd>Esc</kbd> back
      </p>
    </>
  )
}

function emptyText(locks: Locks, text: string): string {
  if (!locks.loaded) return 'Loading…'
  return text && locks.table.rows.size > 0
    ? `No lock has “${text}” in its name, its holders or its notes.`
    : 'Nobody holds a lock.'
}

interface ListProps {
  rows: Row[]
  order: Order
  setOrder: (order: Order) => void
  body: { current: HTMLDivElement | null }
  empty: string
}

/** Rows beyond the edges that are drawn too, so that none is missing while the list moves. */
const beyond = 6

/** List draws only the rows that can be seen. */
function List({ rows, order, setOrder, body, empty }: ListProps) {
  const height = useMatches('(max-width: 700px)') ? 60 : 36 // as style.css has it
  const [view, setView] = useState({ top: 0, height: 800 })
  const [active, setActive] = useState(0)
  const now = useNow(500)
  const at = Math.max(0, Math.min(active, rows.length - 1))

  useEffect(() => {
    const element = body.current
    if (!element) return
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight })
    const observer = new ResizeObserver(measure)
    observer.observe(element)
    return () => observer.disconnect()
  }, [body])

  const first = Math.max(0, Math.floor(view.top / height) - beyond)
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / height) + beyond)
  const drawn: number[] = []
  for (let i = first; i < last; i++) drawn.push(i)
  if (rows.length > 0 && (at < first || at >= last)) drawn.push(at) // else it would lose the focus

  const move = (to: number) => {
    const element = body.current
    const next = Math.max(0, Math.min(to, rows.length - 1))
    setActive(next)
    if (!element) return
    if (next * height < element.scrollTop) element.scrollTop = next * height
    if ((next + 1) * height > element.scrollTop + element.clientHeight)
      element.scrollTop = (next + 1) * height - element.clientHeight
    requestAnimationFrame(() => element.querySelector<HTMLElement>('[tabindex="0"]')?.focus({ preventScroll: true }))
  }
  const page = Math.max(1, Math.floor(view.height / height) - 1)
  const steps: Record<string, number> = {
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    PageDown: at + page,
    PageUp: at - page,
    Home: 0,
    End: rows.length - 1,
  }
  return (
    <div class="list" role="table" aria-label="Locks" aria-rowcount={rows.length + 1}>
      <div role="rowgroup">
        <div class="row head" role="row" aria-rowindex={1}>
          {columns.map(({ column, label }) => (
            <span
              key={column}
              class={column}
              role="columnheader"
              aria-sort={order.column !== column ? 'none' : order.down ? 'descending' : 'ascending'}
            >
              <button type="button" onClick={() => setOrder(nextOrder(order, column))}>
                {label}
                <span aria-hidden="true">{order.column !== column ? '' : order.down ? ' ↓' : ' ↑'}</span>
              </button>
            </span>
          ))}
        </div>
      </div>
      <div
        class="body"
        role="rowgroup"
        ref={body}
        onScroll={(e) => setView({ top: e.currentTarget.scrollTop, height: e.currentTarget.clientHeight })}
        onKeyDown={(e) => {
          const to = steps[e.key]
          if (to === undefined || e.ctrlKey || e.metaKey || e.altKey) return
          e.preventDefault()
          move(to)
        }}
      >
        <div role="presentation" style={{ height: `${rows.length * height}px` }}>
          {drawn.map((i) => {
            const row = rows[i]
            return (
              row && (
                <Line
                  key={row.resource}
                  row={row}
                  index={i}
                  top={i * height}
                  now={now}
                  active={i === at}
                  focused={() => setActive(i)}
                />
              )
            )
          })}
        </div>
        {rows.length === 0 && (
          <div role="row">
            <p class="empty" role="cell">
              {empty}
            </p>
          </div>
        )}
      </div>
    </div>
  )
}

/** nextOrder turns the order round, or takes another column: largest first where that is what people look for. */
function nextOrder(order: Order, column: Column): Order {
  if (order.column === column) return { column, down: !order.down }
  return { column, down: column === 'held' || column === 'waiters' }
}

function Line(props: { row: Row; index: number; top: number; now: number; active: boolean; focused: () => void }) {
  const { row, now } = props
  const first = row.holders[0]
  return (
    <div class="row" role="row" aria-rowindex={props.index + 2} style={{ transform: `translateY(${props.top}px)` }}>
      <span class="resource" role="cell">
        <a
          href={hrefOf({ page: 'lock', resource: row.resource })}
          tabIndex={props.active ? 0 : -1}
          onFocus={props.focused}
          title={row.resource}
        >
          {row.resource}
        </a>
      </span>
      <span class="kind" role="cell">
        {kind(row)}
      </span>
      <span class="holder" role="cell">
        {first?.owner}
        {row.total > 1 && <span class="quiet"> +{count(row.total - 1)}</span>}
        {first?.note && <span class="note"> {first.note}</span>}
      </span>
      <span class="held" role="cell">
        {first && span((now - first.since) / 1000)}
      </span>
      <span class="lease-cell" role="cell">
        <Lease held={first} now={now} />
      </span>
      <span class="waiters" role="cell">
        {row.waiters > 0 ? (
          <>
            {count(row.waiters)}
            <span class="unit"> waiting</span>
          </>
        ) : (
          <span class="quiet">–</span>
        )}
      </span>
    </div>
  )
}
