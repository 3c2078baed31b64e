/** The longest line of a stream of events, and the largest answer in place of one, in bytes. */
export const lineMax = 2 ** 20

/** Who takes a stream of events. */
export interface Follower {
  /** Milliseconds within which something must come. */
  readonly silence: number
  /** The id of the last event; empty at first. */
  last: string
  /** Whether nothing more is to be read until `resume` has been called. */
  readonly full: boolean
  resume: () => void
  /** The answer is a stream of events. */
  begun(): void
  /** Takes an event, or says what is wrong with it. */
  take(kind: string, data: string): string | undefined
}

/** Reads server-sent events (WHATWG HTML, section 9.2). */
export class EventReader {
  readonly #follower: Follower
  readonly #text = new TextDecoder()
  #rest = ''
  #id: string
  #kind = ''
  #data: string[] = []

  constructor(follower: Follower) {
    this.#follower = follower
    this.#id = follower.last
  }

  /** Takes the next bytes, or says what is wrong with them. */
  read(bytes: Uint8Array): string | undefined {
    const lines = (this.#rest + this.#text.decode(bytes, { stream: true })).split('\n')
    this.#rest = lines.pop() as string
    for (const line of lines) {
      const wrong = this.#line(line.endsWith('\r') ? line.slice(0, -1) : line)
      if (wrong !== undefined) return wrong
    }
    return this.#rest.length > lineMax ? `a line of more than ${lineMax} bytes` : undefined
  }

  #line(line: string): string | undefined {
    if (line === '') return this.#end()
    const colon = line.indexOf(':')
    const name = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1))
    if (name === 'id') this.#id = value
    else if (name === 'event') this.#kind = value
    else if (name === 'data') this.#data.push(value)
    return undefined
  }

  /** A block is over. One without data only says how far the stream has come. */
  #end(): string | undefined {
    const [kind, data] = [this.#kind, this.#data]
    this.#kind = ''
    this.#data = []
    this.#follower.last = this.#id
    return data.length > 0 ? this.#follower.take(kind, data.join('\n')) : undefined
  }
}
