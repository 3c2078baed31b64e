import { useEffect, useRef, useState } from 'preact/hooks'
import { Api, Refusal, sayError } from '../api'
import { Logo } from './logo'

/** SecretForm asks for the secret, and lets it pass if the server accepts it. */
export function SecretForm(props: { error: string; accepted: (secret: string) => void }) {
  const [error, setError] = useState(props.error)
  const [asking, setAsking] = useState(false)
  const input = useRef<HTMLInputElement>(null)
  useEffect(() => input.current?.focus(), [])

  const submit = async (e: Event) => {
    e.preventDefault()
    const secret = input.current?.value ?? ''
    if (asking || secret === '') return
    setAsking(true)
    setError('')
    try {
      if (!/^[\x20-\x7e]+$/.test(secret)) throw new Error('A secret has printable ASCII characters only.')
      await new Api(secret, () => {}).get('locks', { limit: 1 })
      props.accepted(secret)
    } catch (e) {
      // An error with another code comes from behind the check of the secret.
      if (e instanceof Refusal && e.status === 503 && e.code) return props.accepted(secret)
      setError(e instanceof Refusal && e.status === 401 ? 'The server does not accept this secret.' : sayError(e))
      setAsking(false)
      input.current?.select()
    }
  }
  return (
    <main class="ask">
      <form onSubmit={submit}>
        <h1>
          <Logo /> Lockserver
        </h1>
        <label for="secret">Secret of this server</label>
        <input
          ref={input}
          id="secret"
          type="password"
          autocomplete="current-password"
          spellcheck={false}
          required
          aria-describedby="secret-error secret-about"
          aria-invalid={error !== ''}
        />
        <p id="secret-error" class="error" role="alert">
          {error}
        </p>
        <button type="submit" class="primary" disabled={asking}>
          {asking ? 'Asking…' : 'Open'}
        </button>
        <p id="secret-about" class="quiet">
          This tab keeps it until it is closed, and sends it to this server only, in a header.
        </p>
      </form>
    </main>
  )
}
