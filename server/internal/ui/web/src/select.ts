// Which locks are shown, and in which order.
import type { Row } from './table'

export type Column = 'resource' | 'kind' | 'holder' | 'held' | 'lease' | 'waiters'

export interface Order {
  column: Column
  down: boolean
}

/** choose returns the rows with the text in their name, a holder or a note, in this order; those that are equal by name. */
export function choose(rows: Map<string, Row>, text: string, order: Order): Row[] {
  const wanted = text.trim().toLowerCase()
  const chosen: { row: Row; key: string | number }[] = []
  const key = keys[order.column]
  for (const row of rows.values()) if (wanted === '' || has(row, wanted)) chosen.push({ row, key: key(row) })
  const sign = order.down ? -1 : 1
  chosen.sort((a, b) => {
    if (a.key !== b.key) return a.key < b.key ? -sign : sign
    return a.row.resource < b.row.resource ? -1 : 1
  })
  return chosen.map(({ row }) => row)
}

function has(row: Row, text: string): boolean {
  if (row.resource.toLowerCase().includes(text)) return true
  return row.holders.some((h) => h.owner.toLowerCase().includes(text) || h.note?.toLowerCase().includes(text))
}

const keys: Record<Column, (row: Row) => string | number> = {
  resource: (row) => row.resource,
  kind: (row) => (row.limit !== null ? 2 : row.mode === 'shared' ? 1 : 0),
  holder: (row) => row.holders[0]?.owner ?? '',
  held: (row) => -(row.holders[0]?.since ?? 0), // the older, the longer held
  lease: (row) => row.holders[0]?.end ?? Number.POSITIVE_INFINITY,
  waiters: (row) => row.waiters,
}
