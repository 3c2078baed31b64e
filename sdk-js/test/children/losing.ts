// Loses locks in every way while nobody listens: nothing of it may surface as an unhandled rejection.
import { LockserverClient } from 'lockserver-client'

const client = new LockserverClient()
const evict = (resource: string) =>
  fetch(`http://${process.env.LOCKSERVER_ADDR}/lock?resource=${resource}`, {
    method: 'DELETE',
    headers: { 'x-lockserver-secret': process.env.LOCKSERVER_SECRET ?? '' },
  })

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const evicted = await client.acquire('losing-evicted', { expire: 6, renew: true })
const silent = await client.acquire('losing-silent', { expire: 6, renew: true })
const lapsed = await client.acquire('losing-lapsed', { expire: 0.5 })
void silent.signal
const { signal } = lapsed
await evict('losing-evicted')
// A second, so that the timers of the one that lapses fire before anybody asks; the other learns it from its renewal.
await sleep(1000)
while (!evicted.lost) await sleep(20)
console.log(JSON.stringify([lapsed.lost, evicted.lost, silent.lost, signal.aborted]))
await Promise.all([lapsed.release(), evicted.release(), silent.release()])
const held = await client.acquire('losing-held')
const abort = new AbortController()
const waiting = client.acquire('losing-held', { signal: abort.signal }).catch(() => console.log('aborted'))
setTimeout(() => abort.abort(), 50)
await waiting
await held.release()
await client.close()
console.log('done')
