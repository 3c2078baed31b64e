// Takes a lock as told, says so, and ends its main function.
import { LockserverClient } from 'lockserver-client'

const [resource = '', options = '{}'] = process.argv.slice(2)
const lock = await new LockserverClient().acquire(resource, JSON.parse(options))
console.log(lock?.token ?? 'refused')
