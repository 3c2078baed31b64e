import { createContext } from 'preact'
import { useContext, useEffect, useMemo, useReducer, useRef, useState } from 'preact/hooks'
import type { Api } from './api'
import type { Link } from './follow'

export interface Session {
  api: Api
  /** Tells the frame of the page how it is connected. */
  link: (link: Link) => void
}

export const SessionContext = createContext<Session | undefined>(undefined)

export function useSession(): Session {
  const session = useContext(SessionContext)
  if (!session) throw new Error('no session')
  return session
}

/** The least time between two drawings, in ms. The first comes at once. */
const frame = 100

/** useRedraw returns a function that draws the component again soon, and not too often. */
export function useRedraw(): () => void {
  const [, draw] = useReducer((n: number) => n + 1, 0)
  const [redraw, stop] = useMemo(() => {
    let drawn = 0
    let timer: ReturnType<typeof setTimeout> | undefined
    const later = () => {
      timer ??= setTimeout(
        () => {
          timer = undefined
          drawn = performance.now()
          draw(undefined)
        },
        Math.max(0, drawn + frame - performance.now()),
      )
    }
    return [later, () => clearTimeout(timer)]
  }, [])
  useEffect(() => stop, [stop])
  return redraw
}

/** useNow returns the time, in ms since the epoch, and draws the component again so often. */
export function useNow(every: number): number {
  const [, tick] = useReducer((n: number) => n + 1, 0)
  useEffect(() => {
    const timer = setInterval(() => tick(undefined), every)
    return () => clearInterval(timer)
  }, [every])
  return Date.now()
}

/** useMatches tells whether a media query holds. */
export function useMatches(query: string): boolean {
  const media = useMemo(() => matchMedia(query), [query])
  const [matches, set] = useState(media.matches)
  useEffect(() => {
    const changed = () => set(media.matches)
    changed()
    media.addEventListener('change', changed)
    return () => media.removeEventListener('change', changed)
  }, [media])
  return matches
}

/** useVisible tells whether somebody may see the page. It says no only after some time, as people look away and come back. */
export function useVisible(): boolean {
  const [visible, set] = useState(true)
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const changed = () => {
      clearTimeout(timer)
      if (document.visibilityState === 'visible') set(true)
      else timer = setTimeout(() => set(false), 60_000)
    }
    document.addEventListener('visibilitychange', changed)
    return () => {
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', changed)
    }
  }, [])
  return visible
}

/** useTask runs a task as long as the page is visible, from anew when one of the inputs changes. */
export function useTask(task: (signal: AbortSignal) => Promise<void>, inputs: unknown[]): void {
  const visible = useVisible()
  const latest = useRef(task)
  latest.current = task
  useEffect(() => {
    if (!visible) return
    const end = new AbortController()
    void latest.current(end.signal)
    return () => end.abort()
  }, [visible, ...inputs])
}
