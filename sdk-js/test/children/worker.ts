// Several threads take turns, each with a client of its own, and end by themselves.
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { LockserverClient } from 'lockserver-client'

const client = new LockserverClient({ transport: 'session' })
if (isMainThread) {
  const counter = new Int32Array(new SharedArrayBuffer(8))
  const workers = [1, 2, 3].map(() => new Worker(fileURLToPath(import.meta.url)))
  const exits = workers.map((worker) => new Promise((resolve) => worker.on('exit', resolve)))
  for (const worker of workers) worker.postMessage(counter)
  console.log(JSON.stringify([await Promise.all(exits), counter[0], counter[1]]))
} else {
  parentPort?.once('message', async (counter: Int32Array) => {
    for (let i = 0; i < 50; i++) {
      await client.withLock('threads', async () => {
        const before = counter[0] as number
        await new Promise((resolve) => setImmediate(resolve))
        if (counter[0] !== before) counter[1] = (counter[1] as number) + 1
        counter[0] = before + 1
      })
    }
  })
}
