import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { format, inspect } from 'node:util'
import * as sdk from 'lockserver-client'
import { root } from './support/binaries.js'
import { secret, TestServer } from './support/server.js'

const { CODES, LockedError, LockserverClient, LockserverError } = sdk
const cjs: typeof sdk = createRequire(import.meta.url)('lockserver-client')

let server: TestServer
before(async () => {
  server = await TestServer.start()
})
after(() => server.close())

test('the table of codes is the contract’s, and every code has its class', () => {
  const table = JSON.parse(readFileSync(join(root, '../conformance/contract.json'), 'utf8'))
  const camel = (code: string) => code.replace(/(?:^|_)(.)/g, (_, letter: string) => letter.toUpperCase())
  const expected = (table.codes as { code: string; status?: number }[]).map((row) => ({
    ...row,
    error: `${camel(row.code)}Error`,
  }))
  assert.deepEqual(CODES, Object.fromEntries(expected.map(({ code, status }) => [code, status ?? null])))
  for (const { code, error } of expected) {
    const type = (sdk as unknown as Record<string, new (message: string) => sdk.LockserverError>)[error]
    assert.ok(type, `${error} is exported`)
    const made = new type('message')
    assert.equal(made.code, code)
    assert.equal(made.name, error)
    assert.ok(made instanceof LockserverError && made instanceof Error)
    assert.match(made.stack ?? '', new RegExp(`^${error}: message`))
    assert.equal(Object.hasOwn(made, 'status'), false)
  }
  assert.deepEqual(
    Object.keys(sdk)
      .filter((name) => name.endsWith('Error'))
      .sort(),
    [...expected.map(({ error }) => error), 'LockserverError'].sort(),
  )
})

test('the ES module and the CommonJS one are the same, so instanceof holds between them', () => {
  assert.deepEqual(Object.keys(sdk).sort(), Object.keys(cjs).sort())
  for (const [name, value] of Object.entries(sdk)) assert.equal((cjs as never)[name], value, name)
  assert.ok(new cjs.LockedError('x') instanceof LockserverError)
})

test('a class that extends one of ours has ordinary instances', () => {
  class Mine extends LockedError {}
  assert.ok(new Mine('x') instanceof Mine)
  assert.ok(new Mine('x') instanceof LockedError)
  assert.ok(!(new LockedError('x') instanceof Mine))
  assert.equal(new Mine('x').code, 'locked')
})

function everything(value: unknown): string {
  const seen = new Set<unknown>()
  const texts: string[] = []
  const walk = (each: unknown) => {
    if ((typeof each !== 'object' && typeof each !== 'function') || each === null || seen.has(each)) return
    seen.add(each)
    texts.push(
      inspect(each, { showHidden: true, depth: 20, getters: true, customInspect: false }),
      inspect(each),
      format('%s %o %O', each, each, each),
    )
    try {
      texts.push(JSON.stringify(each) ?? '')
    } catch {
      // Cyclic: what is in it is walked through below.
    }
    for (const key of Reflect.ownKeys(each)) {
      const { value } = Object.getOwnPropertyDescriptor(each, key) ?? {}
      walk(value)
    }
    walk(Object.getPrototypeOf(each))
  }
  walk(value)
  return texts.join('\n')
}

test('the secret is in nothing that can be seen of a client, a lock or an error', async () => {
  const client = server.client()
  const lock = await client.acquire('shown', { expire: 5, renew: true })
  const stranger = new LockserverClient({ addr: server.addr, secret: `${secret}-not`, dotenv: false })
  const nowhere = server.client({ addr: '127.0.0.1:1' })
  const errors = await Promise.all([
    stranger.acquire('shown').catch((error) => error),
    nowhere.acquire('shown', { timeout: 0 }).catch((error) => error),
    client.lock('shown', { blocking: false }).catch((error) => error),
    client.acquire('').catch((error) => error),
  ])
  for (const error of errors) assert.ok(error instanceof LockserverError, String(error))
  for (const value of [client, lock, lock.signal, stranger, ...errors]) {
    assert.ok(!everything(value).includes(secret), `${inspect(value)} shows the secret`)
  }
  assert.match(inspect(client), /^LockserverClient \{ addr: '127\.0\.0\.1:\d+', owner: '.+' \}$/)
  await lock.release()
  await stranger.close()
})

test('causes are kept down to the system’s own error', async () => {
  const client = server.client({ addr: '127.0.0.1:1' })
  await assert.rejects(client.acquire('x', { timeout: 0 }), (error: Error) => {
    const chain: string[] = []
    for (let each: unknown = error; each instanceof Error; each = each.cause)
      chain.push((each as { code?: string }).code ?? each.name)
    assert.deepEqual(chain, ['lock_timeout', 'connection_failed', 'ECONNREFUSED'])
    return true
  })
})
