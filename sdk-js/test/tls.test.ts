import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createServer } from 'node:tls'
import { LockserverClient, type LockserverClientOptions } from 'lockserver-client'
import { Certificate } from './support/certificate.js'
import { TestServer } from './support/server.js'

const valid = new Certificate()
const expired = new Certificate('--start-date', 'Jan 1 15:04:05 2020', '--duration', '24h')
let server: TestServer
let stale: TestServer
before(async () => {
  server = await TestServer.start('memory', valid.args)
  stale = await TestServer.start('memory', expired.args)
})
after(async () => {
  await Promise.all([server.close(), stale.close()])
  valid.remove()
  expired.remove()
})

test('locks over TLS, with a certificate that the client was told to trust', async () => {
  const client = server.client({ addr: `https://${server.addr}`, tls: { ca: valid.pem } })
  const lock = await client.acquire('secure', { expire: 30, renew: true })
  assert.equal(await client.acquire('secure', false), null)
  await lock.renew()
  assert.equal(await lock.release(), true)
})

const port = (of: TestServer) => of.addr.slice(of.addr.lastIndexOf(':') + 1)
const distrust: Record<string, { code: string; options: () => LockserverClientOptions }> = {
  'nobody vouches for': { code: 'DEPTH_ZERO_SELF_SIGNED_CERT', options: () => ({ addr: `https://${server.addr}` }) },
  'is another name’s': {
    code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    options: () => ({ addr: `https://localhost:${port(server)}`, tls: { ca: valid.pem } }),
  },
  'has expired': {
    code: 'CERT_HAS_EXPIRED',
    options: () => ({ addr: `https://${stale.addr}`, tls: { ca: expired.pem } }),
  },
}

for (const [what, { code, options }] of Object.entries(distrust)) {
  test(`a certificate that ${what} is connection_failed at once, whatever is called`, async () => {
    const client = server.client(options())
    // Tried again and again, the one with a limit would end in lock_timeout, and the others after that.
    for (const call of [
      () => client.acquire('x', { timeout: 5 }),
      () => client.acquire('x', { timeout: 0 }),
      () => client.acquire('x', false),
      () => client.acquire('x'),
      () => client.release('x'),
      () => client.release('x', { token: 1 }),
    ]) {
      await assert.rejects(call(), (error: Error & { code: string; cause: { code: string } }) => {
        assert.equal(error.code, 'connection_failed')
        assert.equal(error.cause.code, code)
        return true
      })
    }
  })
}

test('https:// to a port without TLS is connection_failed at once, and says so', async () => {
  const plain = await TestServer.start()
  await assert.rejects(plain.client({ addr: `https://${plain.addr}` }).acquire('x', { timeout: 5 }), {
    code: 'connection_failed',
    message: `acquire "x": ${plain.addr} does not speak TLS: is it an http:// address?`,
  })
  await plain.close()
})

test('a server with which no version of TLS is in common is connection_failed at once', async () => {
  const { pem: cert, key } = valid
  const old = createServer({ cert, key, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })
  old.listen(0, '127.0.0.1')
  await once(old, 'listening')
  const addr = `https://127.0.0.1:${(old.address() as AddressInfo).port}`
  await assert.rejects(server.client({ addr, tls: { ca: cert } }).acquire('x', { timeout: 5 }), {
    code: 'connection_failed',
    message: /no version of TLS in common/,
  })
  old.close()
})

test('a server that wants a certificate gets it from files, again once they change, and one without is told at once', async (t) => {
  const [right, stranger] = [valid, new Certificate()] // the server admits its own
  const directory = mkdtempSync(join(tmpdir(), 'lockserver-js-client-'))
  const [clientCert, clientKey] = ['cert.pem', 'key.pem'].map((name) => join(directory, name)) as [string, string]
  let tick = 0
  const show = (cert: Certificate, key: Certificate) => {
    tick += 1
    for (const [file, content] of [
      [clientCert, cert.pem],
      [clientKey, key.key],
    ] as const) {
      writeFileSync(file, content)
      utimesSync(file, tick, tick)
    }
  }
  const strict = await TestServer.start('memory', [...valid.args, '--tls-client-ca', right.file])
  t.after(async () => {
    await strict.close()
    rmSync(directory, { recursive: true })
    stranger.remove()
  })
  for (const transport of ['http', 'session'] as const) {
    const common = { addr: `https://${strict.addr}`, transport }
    const works = async (client: LockserverClient) => assert.equal(await client.withLock('certified', () => 1), 1)
    const refused = (client: LockserverClient, why: string) =>
      assert.rejects(client.acquire('refused'), {
        code: 'connection_failed',
        message: `acquire "refused": ${strict.addr} does not accept this client's certificate, or wants one: ${why}`,
      })
    await refused(strict.client({ ...common, tls: { ca: valid.pem } }), 'certificate required')
    await works(strict.client({ ...common, tls: { ca: valid.pem, cert: right.pem, key: right.key } }))

    show(stranger, stranger)
    const client = strict.client({ ...common, tls: { ca: valid.pem }, clientCert, clientKey })
    await refused(client, 'bad certificate')
    show(right, right)
    await works(client)
    show(right, stranger) // the one is there, the other not yet
    await works(client)
  }
  for (const [options, setting] of [
    [{ clientCert }, 'clientKey'],
    [{ clientKey }, 'clientCert'],
    [{ clientCert, clientKey }, 'clientCert'],
    [{ clientCert: join(directory, 'absent'), clientKey }, 'clientCert'],
  ] as const) {
    assert.throws(() => new LockserverClient({ secret: 'x', ...options }), {
      code: 'config_invalid',
      setting,
      message: /allowed are/,
    })
  }
})
