// Blocks its event loop for longer than its leases, and asks about its locks before any timer can fire.
import { type Lock, LockserverClient } from 'lockserver-client'

const thrown = (ask: () => void) => {
  try {
    ask()
    return undefined
  } catch (error) {
    return (error as { code: string }).code
  }
}

const ways: Record<string, (lock: Lock, early: AbortSignal) => unknown> = {
  check: (lock) => thrown(() => lock.check()),
  lost: (lock) => lock.lost,
  signal: (lock) => lock.signal.aborted,
  'a signal taken before': (_, early) => early.aborted,
  'throwIfAborted of it': (_, early) => thrown(() => early.throwIfAborted()),
}

const [expire, stall] = process.argv.slice(2).map(Number) // seconds, and milliseconds
const client = new LockserverClient()
const told: string[] = []
const held: Record<string, { lock: Lock; early: AbortSignal }> = {}
for (const way of Object.keys(ways)) {
  const lock = await client.acquire(`stall-${way}`, { expire: expire as number, renew: true })
  lock.signal.addEventListener('abort', () => told.push(way))
  held[way] = { lock, early: lock.signal }
}
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, stall)
const before = [...told]
const said = Object.fromEntries(Object.entries(held).map(([way, { lock, early }]) => [way, ways[way]?.(lock, early)]))
console.log(JSON.stringify({ before, said, told }))
await client.close()
