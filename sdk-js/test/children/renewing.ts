// Holds a lock whose renewals begin to go nowhere, and ends its main function while one is under way. It is the second
// one, on a connection that has carried a renewal before.
import { LockserverClient } from 'lockserver-client'

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const lock = await new LockserverClient().acquire('silent-renewal', { expire: 12, renew: true })
await sleep(4600)
lock.check()
console.log('renewed once')
await sleep(4000)
console.log('a renewal is under way')
