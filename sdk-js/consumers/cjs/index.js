// What a CommonJS module of a user does; also beside an ES module that has loaded the package, too.
const assert = require('node:assert/strict')
const { LockserverClient, LockserverError, LockTimeoutError } = require('lockserver-client')

async function main() {
  const client = new LockserverClient()
  const result = await client.withLock('consumer-cjs', async (lock) => {
    await assert.rejects(client.acquire('consumer-cjs', { timeout: 0 }), LockTimeoutError)
    return lock.token
  })
  assert.equal(typeof result, 'number')

  const esm = await import('lockserver-client')
  assert.equal(esm.LockserverClient, LockserverClient)
  await assert.rejects(new esm.LockserverClient({ secret: 'wrong' }).acquire('consumer-cjs'), (error) => {
    return error instanceof LockserverError && error instanceof esm.UnauthorizedError
  })
  console.log('cjs ok')
}

main()
