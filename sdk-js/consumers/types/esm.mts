// What the types allow and what they forbid, as an ES module sees them.
import {
  type AcquireOptions,
  CODES,
  type ErrorCode,
  type Lock,
  LockLostError,
  LockserverClient,
  type ScopeOptions,
} from 'lockserver-client'

const client: LockserverClient = new LockserverClient()

const always: Lock = await client.acquire('types')
await always.release()
const perhaps: Lock | null = await client.acquire('types', false)
await perhaps?.release()
const timed: Lock = await client.acquire('types', { timeout: 5, expire: 10, renew: true, mode: 'exclusive', note: 'n' })
const token: number = timed.token
const signal: AbortSignal = timed.signal
const released: boolean = await timed.release()
await client.acquire('types')
const nothing: Promise<void> = client.release('types')
await nothing
const options: AcquireOptions = { blocking: false }
const either: Lock | null = await client.acquire('types', options)
await either?.release()
const scope: ScopeOptions = { expire: 5, signal }
const result: string = await client.withLock('types', scope, async (lock: Lock) => `token ${lock.token}`)
const number: number = await client.withLock('types', () => 1)
const code: ErrorCode = 'lock_lost'
const status: number | null = CODES[code]
{
  await using lock = await client.lock('types')
  lock.check()
}
{
  await using none = await client.acquire('types', false)
  none?.check()
}
const lost = new LockLostError('x')
const text: string = lost.code

// @ts-expect-error: it may be null
const certain: Lock = await client.acquire('types', false)
// @ts-expect-error: a slip
await client.acquire('types', { expires: 5 }).catch(() => undefined)
// @ts-expect-error: not a mode
await client.acquire('types', { mode: 'both' }).catch(() => undefined)
// @ts-expect-error: made by a client only
const made = () => new Lock()

await certain?.release()
await client.close()
console.log('types esm ok', [token, released, nothing, result, number, status, text, typeof made].length)
