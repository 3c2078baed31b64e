// Acquires and releases very often, in every usual way, and reports the heap after each fifth of the work.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { LockserverClient } from 'lockserver-client'

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')
const total = Number(process.argv[2])
const flows = 16
const client = new LockserverClient()

let done = 0
const forms: ((resource: string) => Promise<unknown>)[] = [
  (resource) => client.acquire(resource).then((lock) => lock.release()),
  (resource) => client.withLock(resource, (lock) => void lock.signal),
  (resource) =>
    client.acquire(resource, { expire: 60, renew: true, signal: new AbortController().signal }).then((lock) => lock.release()),
  (resource) => client.acquire(resource, true, 60).then(() => client.release(resource)),
  (resource) =>
    client
      .acquire(resource, { expire: 30, timeout: 5 })
      .then(() => client.acquire(resource, false))
      .then(() => client.release(resource)),
]

for (let fifth = 1; fifth <= 5; fifth++) {
  const until = (total * fifth) / 5
  await Promise.all(
    Array.from({ length: flows }, async (_, flow) => {
      while (done < until)
        await (forms[done++ % forms.length] as (resource: string) => Promise<unknown>)(`churn-${flow}-${done % 1000}`)
    }),
  )
  collect()
  console.log(process.memoryUsage().heapUsed)
}
await client.close()
