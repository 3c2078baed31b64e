import { isUtf8 } from 'node:buffer'
import { randomFillSync } from 'node:crypto'
import { FIGURES } from './contract.js'

// The frames of a WebSocket (RFC 6455), as far as a session needs them: text and control frames, without extensions.
// undici's own WebSocket would do as well, and a measurement could not tell the two apart; but it hides with which status
// and code an upgrade was refused, which decides whether HTTP takes the place of the session.

export const TEXT = 1
const BINARY = 2
export const CLOSE = 8
export const PING = 9
export const PONG = 10

const largest = FIGURES.sessionAnswers
/** The largest payload of a control frame. */
const largestControl = 125
/** Room for the longest header, and for the payload to begin at a multiple of four. */
const headroom = 20

/** The other side does not keep to the protocol. */
export class FrameError extends Error {}

const masks = new Int32Array(1024)
let masksUsed = masks.length

/** A whole frame, masked, as a client sends it. */
export function frame(opcode: number, payload: string | Buffer): Buffer {
  const length = Buffer.byteLength(payload)
  const bytes = Buffer.allocUnsafe(headroom + length + 3)
  const start = headroom - (bytes.byteOffset & 3)
  if (typeof payload !== 'string') payload.copy(bytes, start)
  else bytes.write(payload, start, length === payload.length ? 'latin1' : 'utf8')
  mask(bytes, start, length)
  let head = start - 6
  if (length > 0xffff) {
    head -= 8
    bytes.writeBigUInt64BE(BigInt(length), head + 2)
  } else if (length > largestControl) {
    head -= 2
    bytes.writeUInt16BE(length, head + 2)
  }
  bytes[head] = 0x80 | opcode
  bytes[head + 1] = 0x80 | (length > 0xffff ? 127 : length > largestControl ? 126 : length)
  return bytes.subarray(head, start + length)
}

/** Writes a new mask before the payload, which begins at a multiple of four, and masks it, a word at a time. */
function mask(bytes: Buffer, start: number, length: number): void {
  if (masksUsed === masks.length) {
    randomFillSync(masks)
    masksUsed = 0
  }
  const key = masks[masksUsed++] as number
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + start - 4, 1 + ((length + 3) >> 2))
  words[0] = key
  for (let i = 1; i < words.length; i++) words[i] = (words[i] as number) ^ key
}

/** Takes what comes over a connection, cut wherever it may be, and passes on what it holds. */
export class FrameReader {
  readonly #on: (opcode: number, payload: Buffer) => void
  #chunks: Buffer[] = []
  #size = 0
  /** How many bytes there must be before there is anything to read. */
  #needed = 2
  /** What came of a message that is not whole yet. */
  #parts: Buffer[] | undefined
  #partsSize = 0

  /** `on` gets whole messages, which are text, and control frames. */
  constructor(on: (opcode: number, payload: Buffer) => void) {
    this.#on = on
  }

  /** Throws {@link FrameError} at what no server may send. */
  read(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    if (this.#size < this.#needed) return
    const bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks)
    let at = 0
    for (;;) {
      const length = this.#length(bytes, at)
      if (length > bytes.length - at) {
        this.#needed = length
        break
      }
      this.#frame(bytes.subarray(at, at + length))
      at += length
    }
    this.#size = bytes.length - at
    this.#chunks = this.#size === 0 ? [] : [bytes.subarray(at)]
  }

  /** How long the frame is that begins there, or how much of it must have come before that can be said. */
  #length(bytes: Buffer, at: number): number {
    const left = bytes.length - at
    if (left < 2) return 2
    const head = bytes[at] as number
    const opcode = head & 0xf
    const short = bytes[at + 1] as number
    if ((head & 0x70) !== 0 || short > 127) throw new FrameError('a frame is masked, or of an extension')
    if (opcode >= CLOSE && (opcode > PONG || short > largestControl || head < 0x80)) {
      throw new FrameError('a control frame cannot be')
    }
    if (opcode === BINARY) throw new FrameError('a message is binary')
    if (opcode < CLOSE && (opcode > TEXT || (opcode === TEXT) === (this.#parts !== undefined))) {
      throw new FrameError('a frame is out of place')
    }
    if (short <= largestControl) return 2 + short
    if (left < headerOf(short)) return headerOf(short)
    const length = short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2))
    if (length > largest - this.#partsSize) throw new FrameError('a message is too large')
    return headerOf(short) + length
  }

  #frame(bytes: Buffer): void {
    const head = bytes[0] as number
    const opcode = head & 0xf
    const payload = bytes.subarray(headerOf(bytes[1] as number))
    if (opcode >= CLOSE) {
      this.#on(opcode, payload)
      return
    }
    const last = head >= 0x80
    if (last && this.#parts === undefined) {
      this.#message(payload)
      return
    }
    this.#parts ??= []
    this.#parts.push(payload)
    this.#partsSize += payload.length
    if (this.#partsSize > largest) throw new FrameError('a message is too large')
    if (!last) return
    const whole = Buffer.concat(this.#parts)
    this.#parts = undefined
    this.#partsSize = 0
    this.#message(whole)
  }

  #message(payload: Buffer): void {
    if (!isUtf8(payload)) throw new FrameError('a message is not UTF-8')
    this.#on(TEXT, payload)
  }
}

function headerOf(short: number): number {
  return short === 127 ? 10 : short === 126 ? 4 : 2
}
