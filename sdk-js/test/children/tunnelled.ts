// Holds a lock through a proxy, and ends its main function once that has been renewed.
import { LockserverClient } from 'lockserver-client'

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const client = new LockserverClient({ proxy: process.argv[2] })
const lock = await client.acquire('tunnelled', { expire: 3, renew: true })
await sleep(1500)
lock.check()
console.log('renewed')
