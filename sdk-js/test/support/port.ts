import { once } from 'node:events'
import { createServer } from 'node:net'

const perProcess = 10
let next = 0

/**
 * A port to listen on now, and again later. It lies below those that systems hand out by themselves, so that nothing
 * else is given it while nobody listens there; and each process that runs tests has a few of its own.
 */
export async function steadyPort(): Promise<number> {
  const first = 20_000 + (process.pid % 1_200) * perProcess
  while (next < perProcess) {
    const port = first + next++
    const probe = createServer().listen(port, '127.0.0.1')
    const free = await once(probe, 'listening').then(
      () => true,
      () => false,
    )
    if (!free) continue
    probe.close()
    await once(probe, 'close')
    return port
  }
  throw new Error(`no port is free from ${first} on`)
}
