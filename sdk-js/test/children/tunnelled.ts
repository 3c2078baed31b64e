// Over HTTP, holds a lock through a proxy, and ends its main function while a renewal is under way.
import { LockserverClient } from 'lockserver-client'

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const client = new LockserverClient({ proxy: process.argv[2], transport: 'http' })
const lock = await client.acquire('tunnelled', { expire: 6, renew: true })
await sleep(3500)
lock.check()
console.log('a renewal is under way')
