import { useCallback, useEffect, useMemo, useState } from 'preact/hooks'
import type { Api } from '../api'
import { type Link, sleep } from '../follow'
import { SessionContext, useNow, useTask } from '../hooks'
import { hrefOf, type Route, useRoute } from '../route'
import type { Health } from '../wire'
import { LockPage } from './lock'
import { LocksPage } from './locks'
import { Logo } from './logo'
import { Overview } from './overview'

/** How often the server is asked for its role, in ms. */
const pulse = 5000

/** Frame is what all pages have around them. */
export function Frame({ api, forget }: { api: Api; forget: () => void }) {
  const route = useRoute()
  const [link, setLink] = useState<Link>({ state: 'connecting' })
  const health = useHealth(api)
  const session = useMemo(() => ({ api, link: setLink }), [api])
  useShortcuts(route)
  useEffect(() => {
    const what = { overview: 'Overview', locks: 'Locks', lock: route.page === 'lock' ? route.resource : '' }[route.page]
    document.title = `${what} · Lockserver`
  }, [route])
  const item = (to: Route, label: string) => (
    <a
      href={hrefOf(to)}
      aria-current={route.page === to.page || (to.page === 'locks' && route.page === 'lock') ? 'page' : undefined}
    >
      {label}
    </a>
  )
  return (
    <SessionContext.Provider value={session}>
      <header class="top">
        <a class="name" href={hrefOf({ page: 'overview' })}>
          <Logo /> Lockserver
        </a>
        <nav aria-label="Pages">
          {item({ page: 'overview' }, 'Overview')}
          {item({ page: 'locks' }, 'Locks')}
        </nav>
        <LinkState link={link} />
        {health && (
          <span class="health" title={health.role === 'standby' ? 'This server stands by; the leader answers.' : undefined}>
            {health.role === 'standby' ? 'stand-by' : 'leader'} <span class="quiet">{health.version}</span>
          </span>
        )}
        <button type="button" onClick={forget}>
          Forget secret
        </button>
      </header>
      <main class={`page ${route.page}`} data-link={link.state}>
        {route.page === 'overview' && <Overview />}
        {route.page === 'locks' && <LocksPage />}
        {route.page === 'lock' && <LockPage key={route.resource} resource={route.resource} />}
      </main>
    </SessionContext.Provider>
  )
}

function LinkState({ link }: { link: Link }) {
  useNow(1000)
  const words = useCallback(() => {
    switch (link.state) {
      case 'connecting':
        return '… connecting'
      case 'live':
        return '● live'
      case 'busy':
        return '◐ busy: renewed now and then'
      case 'gone':
        return `▲ ${link.why} Trying again.`
    }
  }, [link])
  return (
    <span class={`link ${link.state}`} role="status">
      {words()}
    </span>
  )
}

/** useHealth asks the server now and then which part it plays. */
function useHealth(api: Api): Health | undefined {
  const [health, set] = useState<Health>()
  useTask(
    async (signal) => {
      while (!signal.aborted) {
        // If it cannot be reached, the page that is shown says so.
        await api.get<Health>('healthz', {}, signal).then(set, () => {})
        await sleep(pulse, signal)
      }
    },
    [api],
  )
  return health
}

/** useShortcuts handles the keys that work everywhere. */
function useShortcuts(route: Route): void {
  useEffect(() => {
    const pressed = (e: KeyboardEvent) => {
      if (typing(e.target) || e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog[open]')) return
      if (e.key === 'Escape' && route.page === 'lock') location.hash = hrefOf({ page: 'locks' })
      if (e.key === '/') {
        e.preventDefault()
        if (route.page !== 'locks') location.hash = hrefOf({ page: 'locks' })
        else document.getElementById('search')?.focus()
      }
    }
    addEventListener('keydown', pressed)
    return () => removeEventListener('keydown', pressed)
  }, [route])
}

/** typing tells whether a key goes into a field. One of a dialog that was closed keeps the focus until the next frame. */
function typing(target: EventTarget | null): boolean {
  const field = target instanceof HTMLInputElement || target instanceof HTMLSelectElement
  return field && target.getClientRects().length > 0
}
