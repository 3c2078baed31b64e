// Server-sent events (WHATWG HTML, section 9.2) out of a body, as EventSource cannot send the secret in a header.

export interface Message {
  /** The last id so far; '' for none. */
  id: string
  event: string
  /** Undefined if the block had no data: then it only says how far the stream has come. */
  data: string | undefined
}

/** parse returns a function that takes text as it comes, and returns the messages that are whole by then. */
export function parser(): (text: string) => Message[] {
  let rest = ''
  let id = ''
  let event = ''
  let data: string | undefined
  return (text) => {
    const messages: Message[] = []
    const lines = (rest + text).split('\n') // the server ends its lines so
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') {
        messages.push({ id, event: event || 'message', data })
        event = ''
        data = undefined
        continue
      }
      const colon = line.indexOf(':')
      if (colon === 0) continue // a comment
      const name = colon < 0 ? line : line.slice(0, colon)
      const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)
      if (name === 'id') id = value
      if (name === 'event') event = value
      if (name === 'data') data = data === undefined ? value : `${data}\n${value}`
    }
    return messages
  }
}
