// Takes a lock, says so, and lives until it is killed.
import { LockserverClient } from 'lockserver-client'

const [resource = '', options = '{}'] = process.argv.slice(2)
const lock = await new LockserverClient().acquire(resource, JSON.parse(options))
console.log(lock?.token)
setInterval(() => undefined, 60_000)
