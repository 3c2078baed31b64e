import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, afterEach, before, describe, type TestContext, test } from 'node:test'
import type { Browser } from 'playwright-core'
import { failedRequest, launch, program, Tab, tell } from './support/browser'
import { pictures, settings, take, work } from './support/scene'
import { patience, Server, secret, stopAll } from './support/server'

const chromium = program()
const root = `${process.cwd()}/../../../../` // make runs the tests in the folder of the dashboard

describe('dashboard', { skip: !chromium, timeout: 8 * patience }, () => {
  let browser: Browser
  before(async () => {
    browser = await launch(chromium ?? '')
  })
  afterEach(async (t) => {
    if (!(t as TestContext & { passed: boolean }).passed) await tell(browser) // the types do not have it yet
    await Promise.all(browser.contexts().map((context) => context.close()))
    await stopAll()
  })
  after(() => browser?.close())

  test('asks for the secret, refuses a wrong one, and keeps the right one out of every address', async () => {
    const server = await Server.start()
    const tab = await Tab.open(browser, () => server)
    const { page } = tab
    await tab.enter('', 'wrong')
    await page.getByRole('alert').getByText('does not accept this secret').waitFor()
    await tab.accessible()
    await tab.enter('#/locks')
    await page.getByText('Nobody holds a lock.').waitFor()
    assert.deepEqual(await page.evaluate(() => [localStorage.length, document.cookie, sessionStorage.length]), [0, '', 1])
    await page.reload()
    await page.getByText('Nobody holds a lock.').waitFor()
    await page.getByRole('button', { name: 'Forget secret' }).click()
    await page.getByLabel('Secret of this server').waitFor()
    assert.equal(await page.evaluate(() => sessionStorage.length), 0)
    await tab.close(failedRequest)
  })

  test('shows a lock within 200 ms of its grant, its renewal, its waiters and its end', async () => {
    const server = await Server.start()
    const tab = await Tab.open(browser, () => server)
    const { page } = tab
    await tab.enter('#/locks')
    await page.getByText('Nobody holds a lock.').waitFor()
    await tab.live()
    // The page notes when it first shows a name; its clock is that of this process.
    await page.evaluate(() => {
      const seen: Record<string, number> = {}
      Object.assign(window, { seen })
      new MutationObserver(() => {
        for (const a of document.querySelectorAll('.body .resource a')) seen[a.textContent ?? ''] ??= Date.now()
      }).observe(document.body, { childList: true, subtree: true, characterData: true })
    })
    const took: number[] = []
    for (let i = 0; i < 11; i++) {
      const name = `live-${i}`
      await server.acquire(name, 'worker-1', { expire: 30, note: 'from the test' })
      const granted = Date.now()
      await page.getByRole('link', { name, exact: true }).waitFor()
      const seen = (await page.evaluate((n) => (window as unknown as { seen: Record<string, number> }).seen[n], name)) ?? 0
      took.push(seen - granted)
    }
    took.sort((a, b) => a - b)
    console.log(`shown after a grant, in ms: ${took.join(' ')}`)
    assert.ok((took[5] ?? Number.POSITIVE_INFINITY) < 200, `the median of ${took} is over 200 ms`)

    const row = page.getByRole('row').filter({ hasText: 'live-3' })
    await row.getByText('from the test').waitFor()
    await row.getByText(/^(29|30) s$/).waitFor()
    await server.ask('POST', '/renew', { resource: 'live-3', owner: 'worker-1', expire: 600 })
    await row.getByText(/^(9 m 5\d s|10 m)$/).waitFor()
    const waits = server.ask('POST', '/acquire', { resource: 'live-3', owner: 'worker-2', wait: 60, id: 'w' })
    await row.getByText(/^1 waiting$/).waitFor()
    await server.release('live-3', 'worker-1')
    assert.equal((await waits).status, 200)
    await row.getByText('worker-2').waitFor()
    await row.getByText('no end').waitFor()
    await server.release('live-3', 'worker-2')
    await row.waitFor({ state: 'detached' })
    await tab.close()
  })

  test('tells kinds and permits, also where the list does not name all holders', async () => {
    const server = await Server.start()
    await server.acquire('catalogue', 'reader-1', { mode: 'shared' })
    await server.acquire('catalogue', 'reader-2', { mode: 'shared' })
    for (let i = 0; i < 15; i++) await server.acquire('gpu', `job-${i}`, { limit: 20 })
    const tab = await Tab.open(browser, () => server)
    const { page } = tab
    await tab.enter('#/locks')
    await page.getByRole('row').filter({ hasText: 'catalogue' }).getByText('shared × 2').waitFor()
    const gpu = page.getByRole('row').filter({ hasText: 'gpu' })
    await gpu.getByText('15 of 20').waitFor()
    await tab.live()
    await server.release('gpu', 'job-3')
    await server.release('gpu', 'job-14')
    await gpu.getByText('13 of 20').waitFor()
    await tab.close()
  })

  test('finds locks, and force-releases one once its name was typed', async () => {
    const server = await Server.start(['--history', '1000'])
    const name = 'reports/ä & <b> 100%'
    await server.acquire(name, 'worker-1', { expire: 600, note: 'nightly' })
    await server.acquire('billing', 'worker-9')
    const waits = server.ask('POST', '/acquire', { resource: name, owner: 'worker-2', wait: 60, id: 'w', note: 'next' })
    const tab = await Tab.open(browser, () => server)
    const { page } = tab
    await tab.enter('#/locks')
    await page.getByText('2 locks').waitFor()
    await tab.accessible()
    await page.keyboard.press('/')
    await page.keyboard.type('NIGHT')
    await page.getByText('1 of 2 locks').waitFor()
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name }).waitFor()
    await page.getByText('exclusive · 1 holder · 1 waiter').waitFor()
    await page.getByRole('row').filter({ hasText: 'worker-2' }).getByText('waits').waitFor()
    await page.getByRole('listitem').filter({ hasText: 'worker-2 waits' }).waitFor()
    await tab.accessible()

    await page.getByRole('button', { name: 'Force release…' }).click()
    const go = page.getByRole('button', { name: 'Force release', exact: true })
    assert.ok(await go.isDisabled())
    await page.keyboard.type('reports/')
    assert.ok(await go.isDisabled())
    await tab.accessible()
    await page.keyboard.press('Escape')
    await go.waitFor({ state: 'detached' })
    await page.getByRole('button', { name: 'Force release…' }).click()
    await page.keyboard.type(name)
    await page.keyboard.press('Enter')
    await page.getByText('The lock was taken from worker-1.').waitFor()
    assert.equal((await waits).body.owner, 'worker-2')
    await page.getByRole('listitem').filter({ hasText: 'worker-1 force-released' }).waitFor()
    await page.getByRole('row').filter({ hasText: 'worker-2' }).getByText('no end').waitFor()

    // The next one goes away while it is about to be taken: nobody else is hit.
    await page.getByRole('button', { name: 'Force release…' }).click()
    await page.keyboard.type(name)
    await server.release(name, 'worker-2')
    await server.acquire(name, 'worker-3')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').getByText('nobody holds').waitFor()
    await page.keyboard.press('Escape')
    await go.waitFor({ state: 'detached' })
    await page.getByRole('row').filter({ hasText: 'worker-3' }).waitFor()
    await page.keyboard.press('Escape')
    await page.getByText('0 of 2 locks').waitFor()
    await tab.close(failedRequest)
  })

  test('takes a click and a key that come before a closed dialog is gone', async () => {
    const server = await Server.start()
    await server.acquire('job', 'worker-1')
    const tab = await Tab.open(browser, () => server)
    const { page } = tab
    await tab.enter('#/lock/job')
    const open = page.getByRole('button', { name: 'Force release…' })
    const field = page.getByLabel('type the name')
    // The browser tells of the end of a dialog in the next frame; this comes before.
    const onceClosed = (then: 'click' | 'Escape') =>
      page.evaluate((then) => {
        const seen = new MutationObserver(() => {
          seen.disconnect()
          if (then === 'click') document.querySelector<HTMLElement>('td button')?.click()
          else document.activeElement?.dispatchEvent(new KeyboardEvent('keydown', { key: then, bubbles: true }))
        })
        seen.observe(document.querySelector('dialog') as Element, { attributeFilter: ['open'] })
      }, then)
    const frames = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
    await open.click()
    await page.keyboard.type('jo')
    await onceClosed('click')
    await page.keyboard.press('Escape')
    await frames()
    assert.equal(await field.inputValue(), '')
    await page.keyboard.type('j')
    assert.equal(await field.inputValue(), 'j')

    // Nothing is left that the focus could go back to, so that the field keeps it until the next frame.
    await server.release('job', 'worker-1')
    await server.acquire('job', 'worker-2')
    await page.getByRole('row').filter({ hasText: 'worker-2' }).waitFor()
    await onceClosed('Escape')
    await page.keyboard.press('Escape')
    await page.getByText('1 lock', { exact: true }).waitFor()
    await tab.close(failedRequest)
  })

  test('shows who held a lock when, who waits behind whom and how long, and who asks for it', async () => {
    const server = await Server.start(settings)
    await work(server, 0, 100)
    const tab = await Tab.open(browser, () => server)
    const { page } = tab
    await tab.enter('#/lock/deploy%2Fshop')
    const row = (owner: string) => page.getByRole('row').filter({ has: page.getByText(owner, { exact: true }) })
    await row('ci-4714').getByText('migrate-88, who holds it').waitFor()
    await row('ci-4715').getByText('ci-4714', { exact: true }).waitFor()
    await row('ci-4715')
      .getByText(/^not known$|, nine in ten up to /)
      .waitFor()
    await page.getByRole('term').filter({ hasText: 'Held lately' }).waitFor()
    await page
      .getByText(/^[1-9]\d\d ms, nine in ten up to/)
      .first()
      .waitFor()
    await page.getByText('3 past holds').waitFor()
    await row('migrate-88').getByText('the release manager asks for it back').waitFor()
    await row('migrate-88')
      .getByText(/^\d+ s ago$/)
      .waitFor()
    const strip = page.getByRole('img', { name: 'Who held the lock, the newest first.' })
    const told = (await strip.getAttribute('aria-label')) ?? ''
    const when = 'from \\d\\d:\\d\\d:\\d\\d\\.\\d\\d\\d'
    const ended = (owner: string, how: string) => `${owner}: ${when} for [\\d.]+ m?s, ${how}`
    const past = [ended('ci-4713', 'released'), ended('ci-4712', 'lease ran out'), ended('ci-4711', 'released')]
    assert.match(told, new RegExp(`migrate-88: ${when}, held; ${past.join('; ')}\\.$`))
    assert.equal(await strip.locator('.hold').count(), 4)
    await page
      .getByRole('listitem')
      .filter({ hasText: 'migrate-88 was asked to give it back' })
      .getByText('by the release manager')
      .waitFor()
    await tab.accessible()
    await server.release('deploy/shop', 'migrate-88')
    await page.getByRole('img', { name: /ci-4714: from [^;]*, held; migrate-88: [^;]*, released;/ }).waitFor()
    await page.getByText('asks for it back').waitFor({ state: 'detached' })
    await tab.close(failedRequest)

    // make screenshots would make what the README has.
    const readme = readFileSync(`${root}README.md`, 'utf8')
    for (const picture of pictures) {
      const made = await take(browser, server, { ...picture, text: picture.name === 'lock' ? 'ci-4714' : picture.text })
      assert.ok(readme.includes(`docs/images/${picture.name}.png`), picture.name)
      const kept = readFileSync(`${root}docs/images/${picture.name}.png`)
      assert.deepEqual(kept.subarray(0, 24), made.subarray(0, 24), `${picture.name}.png is of another size: run make screenshots`)
      assert.ok(kept.length < 150_000, `${picture.name}.png has ${kept.length} bytes`)
    }
  })

  test('says so if the server keeps no history, and shows what happens from then on', async () => {
    const server = await Server.start()
    const tab = await Tab.open(browser, () => server)
    const { page } = tab
    await tab.enter('#/lock/job')
    await page.getByText('Nobody holds this lock.').waitFor()
    await page.getByText('keeps no history').waitFor()
    await tab.live()
    await server.acquire('job', 'worker-1', { expire: 0.05 })
    await page.getByRole('listitem').filter({ hasText: 'worker-1 lease ran out' }).waitFor()
    await page.getByText('Nobody holds this lock.').waitFor()
    await tab.close(failedRequest)
  })

  test('goes on where it was after the server was gone', async () => {
    let server = await Server.start()
    await server.acquire('before', 'worker-1')
    const tab = await Tab.open(browser, () => server)
    const { page } = tab
    await tab.enter('#/locks')
    await page.getByRole('link', { name: 'before' }).waitFor()
    const { port } = server
    await server.kill()
    await page.getByText('The server cannot be reached.').or(page.getByText('The connection has ended.')).waitFor()
    assert.ok(await page.getByRole('link', { name: 'before' }).isVisible())
    server = await Server.start([], port)
    await server.acquire('after', 'worker-1')
    await page.getByRole('link', { name: 'after' }).waitFor()
    await page.getByRole('link', { name: 'before' }).waitFor({ state: 'detached' }) // the store was in memory
    await tab.live()
    await tab.close(failedRequest)
  })

  test('shows 10,000 locks, of which it draws those that can be seen', async () => {
    const server = await Server.start()
    await server.fill(10_000)
    const tab = await Tab.open(browser, () => server)
    const { page } = tab
    await tab.enter('#/locks')

    await page.getByText('10,000 locks').waitFor()
    const measured = await page.evaluate(async () => {
      const body = document.querySelector('.list .body') as HTMLElement
      const gaps: number[] = []
      let rows = 0
      let last = performance.now()
      for (let i = 0; i < 120; i++) {
        body.scrollTop += 2500
        await new Promise(requestAnimationFrame)
        gaps.push(performance.now() - last)
        last = performance.now()
        rows = Math.max(rows, document.querySelectorAll('.body .row').length)
      }
      return { rows, median: gaps.sort((a, b) => a - b)[60] ?? 0, longest: gaps.at(-1) }
    })
    console.log(
      `10,000 locks: at most ${measured.rows} rows, frames of ${measured.median} ms, the longest ${measured.longest} ms`,
    )
    assert.ok(measured.rows < 80, `${measured.rows} rows`)
    assert.ok(measured.median < 100, `a frame takes ${measured.median} ms`)
    await page.getByRole('button', { name: 'Lock' }).click()
    await page.getByRole('link', { name: 'jobs/09999' }).waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('worker-96')
    await page.getByText('103 of 10,000 locks').waitFor()
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('End')
    await page.locator('a:focus', { hasText: 'jobs/00096' }).waitFor()
    await tab.close()
  })

  test('shows how the server does, and what is waited for', async () => {
    const server = await Server.start()
    await server.acquire('job', 'worker-1')
    const waits = server.ask('POST', '/acquire', { resource: 'job', owner: 'worker-2', wait: 60, id: 'w' })
    const tab = await Tab.open(browser, () => server, { colorScheme: 'dark' })
    const { page } = tab
    await tab.enter()
    await page.getByRole('row').filter({ hasText: 'job' }).waitFor()
    await page.getByText('deepest queue 1').waitFor()
    assert.equal(await page.getByRole('img').count(), 6)
    await page.getByText(/^leader \S/).waitFor()
    await tab.accessible()
    await server.release('job', 'worker-1')
    await waits
    await tab.close()
  })

  test('is not there with --ui=false', async () => {
    const server = await Server.start(['--ui=false'])
    for (const path of ['/ui', '/ui/', '/ui/app.js']) {
      assert.equal((await server.ask('GET', path, undefined, '')).status, 401)
      assert.equal((await server.ask('GET', path, undefined, secret)).status, 404)
    }
  })
})
