import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Child } from './support/child.js'
import { TestServer } from './support/server.js'

let server: TestServer
before(async () => {
  server = await TestServer.start()
})
after(() => server.close())

test('200 flows on one client: never two in one lock, none left out, nothing left behind', async () => {
  const client = server.client()
  const rooms = ['crowd-0', 'crowd-1', 'crowd-2'].map((resource) => ({ resource, inside: 0, visits: 0 }))
  await Promise.all(
    Array.from({ length: 200 }, async () => {
      for (const room of [...rooms, ...rooms, ...rooms]) {
        await client.withLock(room.resource, async () => {
          assert.equal(++room.inside, 1)
          await new Promise((resolve) => setImmediate(resolve))
          room.inside--
          room.visits++
        })
      }
    }),
  )
  for (const { resource, visits } of rooms) {
    assert.equal(visits, 600)
    assert.equal(await server.look(resource), undefined)
  }
})

const acquisitions = Number(process.env.SOAK_ACQUISITIONS ?? 100_000)

test(`memory stays level over ${acquisitions} acquisitions`, async () => {
  const child = new Child('churn.js', server, [String(acquisitions)])
  const heaps: number[] = []
  for (let fifth = 0; fifth < 5; fifth++) heaps.push(Number(await child.line()))
  const { code, stderr } = await child.ended
  assert.equal(stderr, '')
  assert.equal(code, 0)
  const [first = 0] = heaps
  const last = heaps.at(-1) ?? 0
  const shown = heaps.map((bytes) => `${(bytes / 1e6).toFixed(2)} MB`).join(', ')
  console.log(`heap after each ${acquisitions / 5} acquisitions: ${shown}`)
  // 80,000 acquisitions that left 10 bytes each would show.
  assert.ok(last - first < 800_000, `the heap grew: ${shown}`)
})
