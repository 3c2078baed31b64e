// Requests to the server that the page came from. The secret goes into a header and nowhere else.

/** Refusal is an answer of the server that is no success. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail)
  }
}

/** Unreachable says that there was no answer. */
export class Unreachable extends Error {}

export type Query = Record<string, string | number | undefined>

/** How long an answer may take, in ms; a stream only has to begin in that time. */
const patience = 15_000

// The page is at /ui/ of the server, wherever a proxy has put that.
const root = new URL('..', document.baseURI)

export class Api {
  constructor(
    private readonly secret: string,
    private readonly refused: () => void, // called when the server does not accept the secret
  ) {}

  /** get asks for JSON. */
  async get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
    return (await this.send('GET', path, query, {}, signal)).json() as Promise<T>
  }

  async delete<T>(path: string, query: Query): Promise<T> {
    return (await this.send('DELETE', path, query, {})).json() as Promise<T>
  }

  /** stream begins an answer that goes on until the signal ends it. */
  async stream(
    path: string,
    query: Query,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array>> {
    const { body } = await this.send('GET', path, query, headers, signal, true)
    if (!body) throw new Unreachable('The answer has no body.')
    return body
  }

  private async send(
    method: string,
    path: string,
    query: Query,
    headers: Record<string, string>,
    signal?: AbortSignal,
    goesOn = false,
  ): Promise<Response> {
    const url = new URL(path, root)
    for (const [name, value] of Object.entries(query))
      if (value !== undefined && value !== '') url.searchParams.set(name, `${value}`)
    const slow = new AbortController()
    const timer = setTimeout(() => slow.abort(), patience)
    const signals = signal ? [slow.signal, signal] : [slow.signal]
    let response: Response
    try {
      response = await fetch(url, {
        method,
        headers: { ...headers, 'X-LOCKSERVER-SECRET': this.secret },
        signal: AbortSignal.any(signals),
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        referrerPolicy: 'no-referrer',
      })
      // The timer bounds a body too; that of a stream is watched by its reader.
      if (response.ok && goesOn) return response
      const text = await response.text()
      if (response.ok) return new Response(text, { status: response.status })
      throw refusal(response.status, text)
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof Refusal) {
        if (error.status === 401) this.refused()
        throw error
      }
      throw new Unreachable(
        slow.signal.aborted ? `The server has not answered within ${patience / 1000} s.` : 'The server cannot be reached.',
      )
    } finally {
      clearTimeout(timer)
    }
  }
}

function refusal(status: number, text: string): Refusal {
  try {
    const { code, detail } = JSON.parse(text) as { code?: string; detail?: string }
    if (code) return new Refusal(status, code, detail ?? code)
  } catch {
    // An answer without JSON is a proxy's.
  }
  return new Refusal(status, '', `The answer was ${status}, without a reason; it may be a proxy's.`)
}

/** sayError tells people what went wrong. */
export function sayError(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
