import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { sayError } from '../api'
import { useSession } from '../hooks'
import type { Held } from '../table'
import type { Evicted } from '../wire'

/** Evict takes a lock from its holder, once its name was typed. */
export function Evict(props: { resource: string; held: Held; done: (said: string) => void }) {
  const { api } = useSession()
  const { resource, held, done } = props
  const dialog = useRef<HTMLDialogElement>(null)
  const [typed, setTyped] = useState('')
  const [error, setError] = useState('')
  const [asking, setAsking] = useState(false)
  useLayoutEffect(() => dialog.current?.showModal(), [])

  const submit = async (e: Event) => {
    e.preventDefault()
    if (typed !== resource || asking) return
    setAsking(true)
    setError('')
    try {
      // The token names this grant: a successor keeps the lock.
      await api.delete<Evicted>('lock', { resource, token: held.token })
      done(`The lock was taken from ${held.owner}.`)
    } catch (e) {
      setError(sayError(e))
      setAsking(false)
    }
  }
  return (
    <dialog ref={dialog} aria-labelledby="evict-title" onClose={() => done('')}>
      <form class="evict" onSubmit={submit}>
        <h2 id="evict-title">Take the lock from {held.owner}?</h2>
        <p>
          The next waiter gets it at once. <strong>{held.owner}</strong> is not stopped: it learns of this at its next renewal
          {held.end === null ? ', and it has no lease, so maybe never' : ''}. Until then both may work.
        </p>
        <label for="evict-name">
          To go on, type the name of the lock: <code>{resource}</code>
        </label>
        <input
          id="evict-name"
          value={typed}
          onInput={(e) => setTyped(e.currentTarget.value)}
          autocomplete="off"
          spellcheck={false}
          autocapitalize="off"
        />
        <p class="error" role="alert">
          {error}
        </p>
        <div class="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <button type="submit" class="danger" disabled={typed !== resource || asking}>
            Force release
          </button>
        </div>
      </form>
    </dialog>
  )
}
