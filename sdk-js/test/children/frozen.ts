// Works with locks while all that tells the time, or puts something off, is replaced by what stands still, as test frameworks do it.
import { LockserverClient } from 'lockserver-client'

const { setTimeout } = globalThis
const client = new LockserverClient({ transport: process.argv[2] as 'session' })
const timer = { ref: () => timer, unref: () => timer, refresh: () => timer, hasRef: () => false }
const still = () => timer
Object.assign(globalThis, {
  ...{ setTimeout: still, setInterval: still, setImmediate: still, queueMicrotask: still },
  ...{ clearTimeout: still, clearInterval: still, clearImmediate: still },
})
Object.assign(performance, { now: () => 0 })
Object.assign(Date, { now: () => 0 })

const lock = await client.acquire('frozen', { expire: 0.6, renew: true })
await new Promise((resolve) => setTimeout(resolve, 1500))
lock.check()
const second = client.withLock('frozen', () => 'then another')
console.log(await client.acquire('frozen', false), await lock.release(), await second)
try {
  await client.acquire('frozen-2').then(() => client.acquire('frozen-2', { timeout: 0.05 }))
} catch (error) {
  console.log((error as { code: string }).code)
}
await client.close()
