// Loses locks in every way while nobody listens: nothing of it may surface as an unhandled rejection.
import { LockserverClient } from 'lockserver-client'

const client = new LockserverClient()
const evict = (resource: string) =>
  fetch(`http://${process.env.LOCKSERVER_ADDR}/lock?resource=${resource}`, {
    method: 'DELETE',
    headers: { 'x-lockserver-secret': process.env.LOCKSERVER_SECRET ?? '' },
  })

const lapsed = await client.acquire('losing-lapsed', { expire: 0.2 })
const evicted = await client.acquire('losing-evicted', { expire: 0.3, renew: true })
const silent = await client.acquire('losing-silent', { expire: 0.3, renew: true })
void silent.signal
const { signal } = lapsed
await evict('losing-evicted')
await new Promise((resolve) => setTimeout(resolve, 500))
console.log(JSON.stringify([lapsed.lost, evicted.lost, silent.lost, signal.aborted]))
await Promise.all([lapsed.release(), evicted.release(), silent.release()])
const held = await client.acquire('losing-held')
const abort = new AbortController()
client.acquire('losing-held', { signal: abort.signal }).catch(() => console.log('aborted'))
setTimeout(() => abort.abort(), 50)
await new Promise((resolve) => setTimeout(resolve, 150))
await held.release()
await client.close()
console.log('done')
