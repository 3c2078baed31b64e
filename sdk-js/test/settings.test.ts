import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { LockserverClient, type LockserverClientOptions } from 'lockserver-client'
import { root } from './support/binaries.js'

const directory = mkdtempSync(join(tmpdir(), 'lockserver-js-settings-'))
after(() => rmSync(directory, { recursive: true, force: true }))

/** What a client makes of its settings in a process with an environment and a .env of its own. */
function found(
  env: Record<string, string>,
  dotenv: string | ((path: string) => void) | undefined,
  options: LockserverClientOptions = {},
): { addr?: string; owner?: string; error?: string; env: string[] } {
  rmSync(join(directory, '.env'), { recursive: true, force: true })
  if (typeof dotenv === 'string') writeFileSync(join(directory, '.env'), dotenv)
  else dotenv?.(join(directory, '.env'))
  const script = `
    import { LockserverClient } from ${JSON.stringify(join(root, 'dist/esm/index.js'))}
    let said
    try {
      const { addr, owner } = new LockserverClient(${JSON.stringify(options)})
      said = { addr, owner }
    } catch (error) {
      said = { error: error.name + ' ' + error.setting + ': ' + error.message }
    }
    console.log(JSON.stringify({ ...said, env: Object.keys(process.env).filter((key) => key.startsWith('LOCKSERVER')) }))`
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: directory,
    env: { PATH: process.env.PATH, ...env },
  })
  return JSON.parse(out.toString())
}

test('argument over environment over .env, each setting by itself', () => {
  const file = "LOCKSERVER_ADDR=file:1\nLOCKSERVER_OWNER='of the file'\nLOCKSERVER_SECRET=file-secret\n"
  assert.deepEqual(found({}, file), { addr: 'file:1', owner: 'of the file', env: [] })
  assert.deepEqual(found({ LOCKSERVER_ADDR: 'env:2' }, file), { addr: 'env:2', owner: 'of the file', env: ['LOCKSERVER_ADDR'] })
  assert.deepEqual(found({ LOCKSERVER_ADDR: 'env:2' }, file, { addr: 'arg:3', owner: 'arg' }), {
    addr: 'arg:3',
    owner: 'arg',
    env: ['LOCKSERVER_ADDR'],
  })
  assert.equal(found({ LOCKSERVER_ADDR: '' }, file, { addr: '', owner: '' }).addr, 'file:1', 'empty counts as absent')
})

test('several addresses are an array or have commas between them, and an error says which is wrong', () => {
  const env = { LOCKSERVER_SECRET: 's' }
  assert.equal(found({ ...env, LOCKSERVER_ADDR: 'a,http://b:1/x/' }, undefined).addr, 'a,http://b:1/x/')
  assert.equal(found(env, undefined, { addr: ['a', 'b:1'] }).addr, 'a,b:1')
  for (const [addr, why] of [
    ['a,b c,d', /addr "b c" \(2 of 3\) is not an address/],
    [['a', ''], /addr "" \(2 of 2\) is not an address/],
    [['http://u:hunter2,x@h', 'b'], /addr "http:\/\/\*\*\*@h,b" \(1 of 3\) is not an address/],
    [['a', 7], /addr must be a string or an array of strings, not an array/],
  ] as const) {
    assert.match(found(env, undefined, { addr: addr as string }).error ?? '', why)
  }
})

test('reading .env can be turned off, and changes nothing in the environment', () => {
  const file = 'LOCKSERVER_SECRET=file-secret\nLOCKSERVER_ADDR=file:1\n'
  assert.match(found({}, file, { dotenv: false }).error ?? '', /^ConfigInvalidError secret: .*LOCKSERVER_SECRET/)
  assert.deepEqual(found({ LOCKSERVER_SECRET: 'x' }, file, { dotenv: false }).addr, '127.0.0.1:8080')
})

test('a .env that is there but cannot be read is config_invalid and names its path; one that is not needed is not read', () => {
  for (const [make, code] of [
    [(path: string) => mkdirSync(path), 'EISDIR'],
    [(path: string) => symlinkSync(path, path), 'ELOOP'],
  ] as const) {
    const { error = '' } = found({ LOCKSERVER_SECRET: 's' }, make)
    assert.match(error, new RegExp(`^ConfigInvalidError dotenv: .*${code}`))
    assert.ok(error.includes(join(directory, '.env')), error)
    assert.equal(found({ LOCKSERVER_SECRET: 's' }, make, { dotenv: false }).addr, '127.0.0.1:8080')
    assert.equal(found({ LOCKSERVER_SECRET: 's' }, make, { addr: 'arg:3', owner: 'arg' }).addr, 'arg:3')
  }
})

test('a transport that is none is config_invalid, wherever it is found', () => {
  const env = { LOCKSERVER_SECRET: 's' }
  const wrong = /^ConfigInvalidError transport: transport "carrier pigeon" must be "auto", "session" or "http"$/
  assert.match(found({ ...env, LOCKSERVER_TRANSPORT: 'carrier pigeon' }, '').error ?? '', wrong)
  assert.match(found(env, "LOCKSERVER_TRANSPORT='carrier pigeon'").error ?? '', wrong)
  assert.equal(found({ ...env, LOCKSERVER_TRANSPORT: 'http' }, "LOCKSERVER_TRANSPORT='carrier pigeon'").error, undefined)
})

test('no secret anywhere, or one that no header can carry, is config_invalid', () => {
  assert.match(found({}, undefined).error ?? '', /^ConfigInvalidError secret/)
  assert.deepEqual(found({}, '\uFEFFLOCKSERVER_ADDR=bom:4\nLOCKSERVER_SECRET=s\n').addr, 'bom:4')
  for (const secret of ['with\nnewline', 'ümlaut', 'tab\t']) {
    assert.throws(
      () => new LockserverClient({ secret, dotenv: false }),
      (error: Error & { code: string }) => error.code === 'config_invalid' && !error.message.includes(secret),
    )
  }
})

test('addresses that are none are config_invalid, and say what is allowed', () => {
  for (const addr of [
    'a:1,b:x',
    'http://a,,http://b',
    'host:',
    'host:0',
    'host:65536',
    'host:80:80',
    'ftp://host',
    'host/path',
    'http://user:hunter2@host',
    'http://user:hunter2/3@host',
    'http://host?x=1',
    'http://host#x',
    '::1',
    '[::1',
    'ho st',
    'http://',
    '://x',
    '[zz]:1',
    'a@b',
    'a\\b',
    'a%41',
    'http://a/b\\c',
    ...['host ', 'http://host/a b', 'hóst', 'http://host/é', 'http://host/%zz', 'a..b', '[fe80::1%25eth0]:1', '[fe80::1%eth0]'],
    ...['[1.2.3.4]', '[::1]x', '256.1.1.1', '127.1', '1.2.3.0x4', 'http://@host', 'user:hunter2@host', 'x'.repeat(64), 'host\n'],
  ]) {
    assert.throws(
      () => new LockserverClient({ addr, secret: 's', dotenv: false }),
      (error: Error & { code: string; setting: string }) => {
        assert.equal(error.code, 'config_invalid', addr)
        assert.equal(error.setting, 'addr')
        assert.match(error.message, /allowed are/)
        assert.ok(!error.message.includes('hunter2'))
        return true
      },
    )
  }
  for (const addr of [
    'host',
    'host:1',
    '[::1]',
    '[::1]:8080',
    'http://host',
    'HTTPS://host:443/a/b/',
    'http://host//',
    'http://[fe80::1]:80',
    '10.0.0.1',
    'a_b.c-d.',
    "http://host/a%2Fb/%27'()/",
  ]) {
    assert.equal(new LockserverClient({ addr, secret: 's', dotenv: false }).addr, addr)
  }
})

test('proxies that are none are config_invalid, and what was given is not shown', () => {
  for (const proxy of [
    'host:1',
    'socks5://h',
    'http://',
    'http://u:hunter2@h/path',
    'http://u:hunter2@h?x',
    'http://hunter2%@h',
    'http://hunter2%ff@h',
    'http://u:hunter2@h:0',
    'http://u:hunter2@[::1%25eth0]',
    'http://u:hunter2@h/?',
    'ftp://h',
  ]) {
    assert.throws(
      () => new LockserverClient({ secret: 's', dotenv: false, proxy }),
      (error: Error & { code: string; setting: string }) => {
        assert.deepEqual([error.code, error.setting], ['config_invalid', 'proxy'], proxy)
        assert.ok(!error.message.includes('hunter2'), error.message)
        return true
      },
    )
  }
})

test('settings of another type, and owners that cannot be, are config_invalid', () => {
  for (const [setting, value] of [
    ['addr', 8080],
    ['secret', {}],
    ['owner', 1],
    ['proxy', 8080],
    ['owner', 'x'.repeat(257)],
    ['owner', 'new\nline'],
    ['owner', 'é'.repeat(129)],
    ['owner', '\ud800'],
  ] as const) {
    assert.throws(() => new LockserverClient({ secret: 's', dotenv: false, [setting]: value } as never), {
      code: 'config_invalid',
      setting,
    })
  }
})

test('the owner of a client is its own: host, process and something random', () => {
  const owners = Array.from({ length: 100 }, () => new LockserverClient({ secret: 's', dotenv: false }).owner)
  assert.equal(new Set(owners).size, 100)
  for (const owner of owners) assert.ok(owner.startsWith(`${hostname()}-${process.pid}-`), owner)
})
