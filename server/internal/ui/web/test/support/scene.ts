// A server at work, for the pictures of the dashboard in the README.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Browser, Tab } from './browser'
import type { Server } from './server'

/** The settings of the server. */
export const settings = ['--history', '100000']

/** Picture is a page to be shown. */
export interface Picture {
  name: string
  hash: string
  scheme: 'light' | 'dark'
  /** What is there once the page is whole. */
  text: string
}

export const pictures: Picture[] = [
  { name: 'lock', hash: '#/lock/deploy%2Fshop', scheme: 'light', text: 'asks for it back' },
  { name: 'overview', hash: '', scheme: 'light', text: 'Most waited for' },
  { name: 'locks', hash: '#/locks', scheme: 'dark', text: 'deploy/shop' },
]

/** The size of each picture, in pixels. */
export const size = { width: 1100, height: 720 }

/** take returns a picture, as a PNG. */
export async function take(browser: Browser, server: Server, picture: Picture): Promise<Buffer> {
  const options = { viewport: size, colorScheme: picture.scheme, locale: 'en-GB', timezoneId: 'UTC' }
  const tab = await Tab.open(browser, () => server, options)
  await tab.enter(picture.hash)
  await tab.page.getByText(picture.text).first().waitFor()
  await tab.live()
  const png = await tab.page.screenshot({ animations: 'disabled', caret: 'hide' })
  await tab.close()
  return png
}

/**
 * work has workers take turns at some jobs for so long, in ms, while others hold locks all the time, and one lock gets a past of ten times
 * hold ms.
 */
export async function work(server: Server, ms: number, hold: number): Promise<void> {
  await server.acquire('backup/db-1', 'cron-7', { expire: 3600, note: 'full' })
  await server.acquire('billing/archive', 'worker-2', { expire: 300, note: 'October' })
  for (const owner of ['web-1', 'web-2', 'web-3']) await server.acquire('catalogue', owner, { mode: 'shared', expire: 600 })
  for (const owner of ['train-11', 'train-12', 'eval-4']) await server.acquire('gpu', owner, { limit: 4 })
  const until = Date.now() + ms
  const jobs = ['billing/close-month', 'reindex/catalogue', 'reports/nightly']
  let turn = 0
  const worker = async (owner: string) => {
    while (Date.now() < until) {
      const resource = jobs[turn++ % jobs.length] as string
      const got = await server.ask('POST', '/acquire', { resource, owner, id: `${turn}`, expire: 60, wait: 60 })
      await sleep(20 + ((turn * 37) % 200))
      await server.ask('POST', '/release', { resource, owner, token: got.body.token })
    }
  }
  const workers = Array.from({ length: 7 }, (_, i) => worker(`worker-${i + 1}`))
  await Promise.all([...workers, sleep(Math.max(0, ms - 10 * hold)).then(() => deploy(server, hold))])
}

/** deploy gives one lock a past that can be seen, a holder, and a queue. */
async function deploy(server: Server, unit: number): Promise<void> {
  const resource = 'deploy/shop'
  const hold = async (owner: string, ms: number) => {
    await server.acquire(resource, owner, { expire: 60, note: 'release 2.4' })
    await sleep(ms)
    await server.release(resource, owner)
  }
  await hold('ci-4711', 5 * unit)
  await server.acquire(resource, 'ci-4712', { expire: (3 * unit) / 1000, note: 'release 2.4' })
  // The next one waits until the lease of that one, which was lost, has run out.
  await server.ask('POST', '/acquire', { resource, owner: 'ci-4713', wait: 60, id: 'q', expire: 60 })
  await sleep(2 * unit)
  await server.release(resource, 'ci-4713')
  await server.acquire(resource, 'migrate-88', { expire: 600, note: 'schema 88' })
  await server.ask('POST', '/renew', { resource, owner: 'migrate-88' })
  for (const [ahead, owner] of ['ci-4714', 'ci-4715'].entries()) {
    void server.ask('POST', '/acquire', { resource, owner, wait: 600, id: 'q' }).catch(() => {})
    await waiters(server, resource, ahead + 1)
  }
  await server.ask('POST', '/yield', { resource, by: 'the release manager' })
}

/** waiters resolves once so many wait: requests of different connections may pass one another. */
async function waiters(server: Server, resource: string, n: number): Promise<void> {
  while ((await server.ask('GET', `/lock?resource=${encodeURIComponent(resource)}`)).body.waiters !== n) await sleep(5)
}
