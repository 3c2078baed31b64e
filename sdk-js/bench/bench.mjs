// Compares the client over a session with itself over HTTP, with a bare undici Pool that does the same two requests, with redlock on
// Redis, and with polling, all in one run.
// What counts are the ratios; the absolute numbers are this machine's. `SECONDS` is the length of one measurement (default 4).
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { LockserverClient } from 'lockserver-client'
import { Pool } from 'undici'
import { startRedlock } from './redis/redlock.mjs'

const root = new URL('..', import.meta.url).pathname
const length = Number(process.env.SECONDS ?? 4) * 1000
const secret = 'bench-secret-0123456789'

const directory = mkdtempSync(join(tmpdir(), 'lockserver-bench-'))
const binary = process.env.LOCKSERVER_BIN ?? join(directory, 'lockserver')
if (!process.env.LOCKSERVER_BIN) {
  const [code] = await once(
    spawn('go', ['build', '-o', binary, './cmd/lockserver'], { cwd: join(root, '../server'), stdio: 'inherit' }),
    'exit',
  )
  if (code !== 0) process.exit(code)
}
const server = spawn(binary, ['--port', '0', '--store', 'memory'], {
  cwd: directory,
  env: { LOCKSERVER_SECRET: secret, LOCKSERVER_LOG_LEVEL: 'error' },
  stdio: ['ignore', 'pipe', 'inherit'],
})
const [ready] = await once(createInterface({ input: server.stdout }), 'line')
const url = ready.slice(ready.indexOf('http'))

const [session, http] = ['session', 'http'].map(
  (transport) => new LockserverClient({ addr: url, secret, dotenv: false, transport }),
)
const redlock = await startRedlock(directory)
const pool = new Pool(url)
const headers = { 'content-type': 'application/json', 'x-lockserver-secret': secret }
async function post(path, body) {
  const { statusCode, body: answer } = await pool.request({ path, method: 'POST', headers, body: JSON.stringify(body) })
  return { statusCode, answer: await answer.json() }
}

const ours = (client) => async (resource) => {
  const lock = await client.acquire(resource)
  await lock.release()
}
const pairs = {
  'over a session': ours(session),
  'over HTTP': ours(http),
  'bare undici Pool': async (resource) => {
    const { answer } = await post('/acquire', { resource, owner: 'bare', id: String(Math.random()), wait: 10 })
    await post('/release', { resource, owner: 'bare', token: answer.token })
  },
  ...(redlock && { 'redlock on Redis': redlock.pair }),
}

let deadline = 0

/** Runs flows for a time; how often each second they did their work, and the processor time of this process for it. */
async function measure(flows, work, time = length) {
  let done = 0
  const end = performance.now() + time
  deadline = end
  const cpu = process.cpuUsage()
  const from = performance.now()
  await Promise.all(
    Array.from({ length: flows }, async (_, flow) => {
      while (performance.now() < end) {
        await work(flow)
        done++
      }
    }),
  )
  const { user, system } = process.cpuUsage(cpu)
  return { rate: (done * 1000) / (performance.now() - from), cpu: (user + system) / done }
}

/** The ratio is the median of those of the rounds, in each of which both ran one right after the other. */
function judge(ours, theirs, result, floor = 0) {
  const ratio = median(result[ours].rates.map((rate, round) => rate / result[theirs].rates[round]))
  console.log(`  ${ours} against ${theirs}: ratio ${ratio.toFixed(2)}${floor > 0 ? `, at least ${floor} wanted` : ''}`)
  if (ratio < floor) process.exitCode = 1
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1]

/** Measures each by turns, so that what else the machine does falls on all of them. */
async function byTurns(contestants, flows, rounds = 9) {
  const results = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, work] of Object.entries(contestants)) results[name].push(await measure(flows, work, length / rounds))
  }
  return Object.fromEntries(
    Object.entries(results).map(([name, all]) => [
      name,
      { rates: all.map(({ rate }) => rate), rate: median(all.map(({ rate }) => rate)), cpu: median(all.map(({ cpu }) => cpu)) },
    ]),
  )
}

for (const work of Object.values(pairs)) await measure(4, (flow) => work(`warm-${flow}`), length / 2)

for (const flows of [1, 16, 64]) {
  const result = await byTurns(
    Object.fromEntries(Object.entries(pairs).map(([name, work]) => [name, (flow) => work(`free-${flow}`)])),
    flows,
  )
  console.log(`\nuncontended acquire + release, ${flows} flow${flows > 1 ? 's' : ''}`)
  for (const [name, { rate, cpu }] of Object.entries(result)) {
    console.log(
      `  ${name.padEnd(20)} ${rate.toFixed(0).padStart(7)} pairs/s ${(cpu / 2).toFixed(0).padStart(5)} µs of client CPU a call`,
    )
  }
  judge('over HTTP', 'bare undici Pool', result, 0.85)
  if (flows !== 16) judge('over a session', 'over HTTP', result, flows === 1 ? 1.2 : 8)
  if (redlock) judge('over a session', 'redlock on Redis', result)
}

const clients = Array.from(
  { length: 8 },
  (_, i) => new LockserverClient({ addr: url, secret, dotenv: false, owner: `client-${i}` }),
)
/** Counts how often a lock went from one client to another; a client that takes it again by itself is no hand-off. */
function handOffs(acquire, release) {
  let holder
  return async (flow) => {
    for (let changed = false; !changed && performance.now() < deadline; ) {
      const lock = await acquire(flow)
      changed = holder !== flow
      holder = flow
      await release(flow, lock)
    }
  }
}
const contended = {
  'lockserver-client': handOffs(
    (flow) => clients[flow].acquire('contended'),
    (_, lock) => lock.release(),
  ),
  'polling each 100 ms': handOffs(
    async (flow) => {
      while ((await post('/acquire', { resource: 'polled', owner: `poller-${flow}` })).statusCode !== 200) {
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    },
    (flow) => post('/release', { resource: 'polled', owner: `poller-${flow}` }),
  ),
}
const handed = await byTurns(contended, 8, 3)
console.log('\nhand-offs of one lock among 8 clients')
for (const [name, { rate, cpu }] of Object.entries(handed)) {
  console.log(
    `  ${name.padEnd(20)} ${rate.toFixed(0).padStart(7)} hand-offs/s ${cpu.toFixed(0).padStart(5)} µs of client CPU a hand-off`,
  )
}
judge('lockserver-client', 'polling each 100 ms', handed, 30)

await Promise.all([session, http, ...clients].map((each) => each.close()))
await pool.close()
redlock?.close()
server.kill('SIGKILL')
rmSync(directory, { recursive: true, force: true })
