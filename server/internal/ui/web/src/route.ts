// Where the user is, in the part of the address that no server gets. No secret is in it.
import { useEffect, useState } from 'preact/hooks'

export type Route = { page: 'overview' } | { page: 'locks' } | { page: 'lock'; resource: string }

export function hrefOf(route: Route): string {
  if (route.page === 'lock') return `#/lock/${encodeURIComponent(route.resource)}`
  return route.page === 'locks' ? '#/locks' : '#/'
}

export function routeOf(hash: string): Route {
  const [, page, name] = /^#\/([a-z]*)(?:\/(.*))?$/.exec(hash) ?? []
  if (page === 'locks') return { page }
  if (page === 'lock' && name) {
    try {
      return { page, resource: decodeURIComponent(name) }
    } catch {
      // An address that was typed wrongly leads to the overview.
    }
  }
  return { page: 'overview' }
}

export function useRoute(): Route {
  const [route, set] = useState(() => routeOf(location.hash))
  useEffect(() => {
    const changed = () => set(routeOf(location.hash))
    addEventListener('hashchange', changed)
    return () => removeEventListener('hashchange', changed)
  }, [])
  return route
}
