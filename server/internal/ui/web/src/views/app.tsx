import { useCallback, useMemo, useState } from 'preact/hooks'
import { Api } from '../api'
import { Frame } from './frame'
import { SecretForm } from './secret'

/** Under this name the tab keeps the secret until it is closed. */
const kept = 'lockserver-secret'

export function App() {
  const [secret, setSecret] = useState(() => sessionStorage.getItem(kept) ?? '')
  const [error, setError] = useState('')
  const forget = useCallback((why: string) => {
    sessionStorage.removeItem(kept)
    setError(why)
    setSecret('')
  }, [])
  const api = useMemo(() => new Api(secret, () => forget('The server does not accept the secret any more.')), [secret, forget])
  if (secret) return <Frame api={api} forget={() => forget('')} />
  return (
    <SecretForm
      error={error}
      accepted={(given) => {
        sessionStorage.setItem(kept, given)
        setError('')
        setSecret(given)
      }}
    />
  )
}
