// A program as it was written for the 0.1 client: CommonJS, positional arguments, the result taken for a boolean.
const { LockserverClient } = require('lockserver-client')

const worker = new LockserverClient({
  addr: process.env.LOCKSERVER_ADDR,
  owner: 'worker-1',
  secret: process.env.LOCKSERVER_SECRET,
})
const rival = new LockserverClient({ owner: 'worker-2' })

async function main() {
  if (worker.owner !== 'worker-1' || worker.addr !== process.env.LOCKSERVER_ADDR) throw new Error('settings')
  const got = await worker.acquire('report')
  if (!got) throw new Error('the lock is free')
  if (await rival.acquire('report', false)) throw new Error('the lock is taken')
  await worker.release('report')

  const short = await rival.acquire('report', true, 0.2)
  if (!short) throw new Error('the lock is free again')
  if (!(await worker.acquire('report', true, 5))) throw new Error('the lease has ended')
  await worker.release('report')

  let failed = false
  await worker.release('report').catch(() => {
    failed = true
  })
  if (!failed) throw new Error('nothing was held')
  console.log('original ok')
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
