// A real Chromium without a window.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AxeResults } from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'

export type { Browser }

import { patience, type Server, secret } from './server'

const places = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/** program returns where the browser is; undefined if there is none, which is an error where CI is set. */
export function program(): string | undefined {
  const found = [process.env.CHROMIUM_BIN, ...places].find((place) => place && existsSync(place))
  if (found) return found
  const how =
    'NO CHROMIUM: the dashboard was not tested in a browser. Install one (apt-get install chromium) or name it in CHROMIUM_BIN.'
  assert.ok(!process.env.CI, how)
  console.error(`*** ${how} ***`)
  return undefined
}

export function launch(executablePath: string): Promise<Browser> {
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
}

/** tell prints what each tab shows, for whoever has to find out why a test failed. */
export async function tell(browser: Browser): Promise<void> {
  for (const page of browser.contexts().flatMap((context) => context.pages())) {
    const shown = await Promise.race([page.evaluate(look), sleep(5000, 'it does not answer')]).catch(String)
    console.log(`the tab at ${page.url()}: ${typeof shown === 'string' ? shown : JSON.stringify(shown, null, 2)}`)
  }
}

/** look runs in the page. */
function look() {
  const focused = document.activeElement
  return {
    link: document.querySelector<HTMLElement>('main')?.dataset.link,
    dialogs: [...document.querySelectorAll('dialog')].map((dialog) => (dialog.open ? 'open' : 'closed')),
    focus: focused && (focused.cloneNode(false) as Element).outerHTML,
    text: document.body.innerText.split('\n'),
  }
}

/** What Chromium itself says of requests that fail, as they should in some tests. */
export const failedRequest = /^Failed to load resource/

export class Tab {
  private readonly complaints: string[] = []

  private constructor(
    readonly page: Page,
    private readonly origin: () => string,
  ) {}

  /** open opens a tab that notes each error, and each request to anybody else. */
  static async open(browser: Browser, server: () => Server, options: BrowserContextOptions = {}): Promise<Tab> {
    const context = await browser.newContext({ reducedMotion: 'reduce', ...options })
    const page = await context.newPage()
    page.setDefaultTimeout(patience)
    const tab = new Tab(page, () => server().url)
    page.on('console', (m) => ['error', 'warning'].includes(m.type()) && tab.complaints.push(m.text()))
    page.on('pageerror', (e) => tab.complaints.push(`${e.stack ?? e}`))
    page.on('request', (r) => {
      if (!r.url().startsWith(`${tab.origin()}/`)) tab.complaints.push(`request to ${r.url()}`)
      if (r.url().includes(secret)) tab.complaints.push(`the secret is in ${r.url()}`)
    })
    return tab
  }

  /** enter opens the page and gives it the secret. */
  async enter(hash = '', given = secret): Promise<void> {
    await this.page.goto(`${this.origin()}/ui${hash}`)
    await this.page.getByLabel('Secret of this server').fill(given)
    await this.page.keyboard.press('Enter')
  }

  /** live waits until the page follows the server. */
  async live(): Promise<void> {
    await this.page.locator('main[data-link=live]').waitFor()
  }

  /** accessible has axe look at the page as it is. */
  async accessible(): Promise<void> {
    const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
    const { readFileSync } = await import('node:fs')
    await this.page.evaluate(readFileSync(axe, 'utf8'))
    const { violations } = (await this.page.evaluate('axe.run()')) as AxeResults
    const said = violations.map(
      (v) => `${v.id}: ${v.help}\n  ${v.nodes.map((n) => `${n.html} ${n.failureSummary}`).join('\n  ')}`,
    )
    assert.deepEqual(said, [])
  }

  /** close fails if there was an error, or a request to anybody else. */
  async close(allowed?: RegExp): Promise<void> {
    assert.ok(!this.page.url().includes(secret))
    await this.page.context().close()
    assert.deepEqual(
      this.complaints.filter((c) => !allowed?.test(c)),
      [],
    )
  }
}
