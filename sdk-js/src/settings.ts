import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isIPv4, isIPv6 } from 'node:net'
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import type { SecureContextOptions } from 'node:tls'
import { CertificateFiles } from './certificate.js'
import { ConfigInvalidError } from './errors.js'

/** How to trust the server, for an address with `https://`; as for `node:tls`. */
export type TlsOptions = Pick<SecureContextOptions, 'ca' | 'cert' | 'key' | 'passphrase'> & {
  /** The name that the server's certificate must have. Default: the host of the address. */
  servername?: string
  /** False takes any certificate: whoever is in between then reads the secret. Default: true. */
  rejectUnauthorized?: boolean
}

/** What a client is made from. What is absent or empty comes from the environment, then from the `.env` file. */
export interface LockserverClientOptions {
  /**
   * Where the server is: `host:port`, `[v6]:port`, or an `http://` or `https://` URL with an optional path prefix. Of the
   * servers of a cluster, an array, or a string with commas between them: one is asked until it fails, and then the next.
   * Default: `LOCKSERVER_ADDR`, then `127.0.0.1:8080`; the port, 8080.
   */
  addr?: string | readonly string[] | undefined
  /**
   * The label under which this client holds locks, 1 to 256 bytes. It is no credential.
   * Default: `LOCKSERVER_OWNER`, then host name, process id and random characters, new for every client.
   */
  owner?: string | undefined
  /** The secret that the server was started with. Default: `LOCKSERVER_SECRET`; there must be one somewhere. */
  secret?: string | undefined
  /**
   * False leaves the file `.env` in the working directory unread. Default: true; it is looked for only where a setting is
   * found nowhere else, need not be there, and is an error where it cannot be read.
   */
  dotenv?: boolean | undefined
  /** Certificates, for an address with `https://`. */
  tls?: TlsOptions | undefined
  /**
   * The file of a certificate, in PEM, that is shown to an `https://` server that asks for one. It is read again for a new
   * connection once it has changed; while it cannot be used, what it held before is shown.
   * Default, unless `tls` has a `cert`: `LOCKSERVER_CLIENT_CERT`.
   */
  clientCert?: string | undefined
  /** The file of its private key. Default, unless `tls` has a `key`: `LOCKSERVER_CLIENT_KEY`. */
  clientKey?: string | undefined
  /**
   * A proxy through which every connection is tunnelled, with or without TLS: an `http://` or `https://` URL, which may have
   * `user:password@` in it. Default: none. The environment (`HTTP_PROXY` and the like) is never followed.
   */
  proxy?: string | undefined
  /**
   * What carries the requests: `session`, one connection for all of them; `http`, a connection for each; or `auto`, a session
   * where there can be one and HTTP elsewhere. Default: `LOCKSERVER_TRANSPORT`, then `auto`.
   */
  transport?: TransportName | undefined
}

/** What carries the requests. */
export type TransportName = 'auto' | 'session' | 'http'

export interface ServerAddress {
  /** Host and port, for messages. */
  readonly peer: string
  /** Scheme, host and port. */
  readonly origin: string
  /** What stands before every path; empty or beginning with a slash, never ending with one. */
  readonly prefix: string
}

export interface Settings {
  readonly addr: string
  readonly addresses: readonly ServerAddress[]
  readonly owner: string
  readonly secret: string
  readonly tls: TlsOptions | undefined
  readonly certificate: CertificateFiles | undefined
  readonly proxy: URL | undefined
  readonly transport: TransportName
}

/** How one of the servers is reached. */
export type Reach = Pick<Settings, 'secret' | 'tls' | 'certificate' | 'proxy'> & { readonly address: ServerAddress }

const defaultAddr = '127.0.0.1:8080'
const defaultPort = '8080'

/** Argument over environment over `.env`. Reading the file changes nothing in the process's environment. */
export function resolveSettings(options: LockserverClientOptions): Settings {
  let file: Record<string, string | undefined> | undefined
  const optional = ['transport', 'clientCert', 'clientKey']
  type Name = 'addr' | 'owner' | 'secret' | 'transport' | 'clientCert' | 'clientKey'
  const find = (name: Name, variable: string): string | undefined => {
    const option: unknown = options[name]
    const given =
      name === 'addr' && Array.isArray(option) && option.every((one) => typeof one === 'string') ? option.join() : option
    if (given !== undefined && given !== null && typeof given !== 'string') {
      throw mustBe(name, name === 'addr' ? 'a string or an array of strings' : 'a string', given)
    }
    if (given) return given
    if (process.env[variable]) return process.env[variable]
    // Few set those: a file that nothing else is missing from is not read for their sake.
    if (!optional.includes(name)) file ??= options.dotenv === false ? {} : readDotenv()
    return file?.[variable] || undefined
  }
  const addr = find('addr', 'LOCKSERVER_ADDR') ?? defaultAddr
  const secret = find('secret', 'LOCKSERVER_SECRET')
  if (secret === undefined) {
    throw invalid('secret', 'no secret: give `secret`, or set LOCKSERVER_SECRET in the environment or in .env')
  }
  // A header's value loses spaces at its ends on the way.
  if (!/^[\x20-\x7e]+$/.test(secret) || secret !== secret.trim()) {
    throw invalid('secret', 'the secret may only have printable ASCII characters, and no spaces at its ends')
  }
  const owner = find('owner', 'LOCKSERVER_OWNER') ?? defaultOwner()
  const bytes = Buffer.byteLength(owner)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (bytes > 256 || /[\x00-\x1f\x7f-\x9f]/.test(owner) || !isWellFormed(owner)) {
    throw invalid('owner', `owner ${JSON.stringify(owner)} must have 1 to 256 bytes and no control characters`)
  }
  const transport = parseTransport(find('transport', 'LOCKSERVER_TRANSPORT') ?? 'auto')
  const { tls } = options
  const own = tls?.cert !== undefined || tls?.key !== undefined
  const certificate = own
    ? undefined
    : files(find('clientCert', 'LOCKSERVER_CLIENT_CERT'), find('clientKey', 'LOCKSERVER_CLIENT_KEY'))
  const proxy = parseProxy(options.proxy)
  return { addr, addresses: parseAddrs(addr), owner, secret, tls, certificate, proxy, transport }
}

function files(cert: string | undefined, key: string | undefined): CertificateFiles | undefined {
  if (cert === undefined && key === undefined) return undefined
  const both = 'allowed are both or none (LOCKSERVER_CLIENT_CERT, LOCKSERVER_CLIENT_KEY)'
  if (cert === undefined) throw invalid('clientCert', `clientCert is missing, and clientKey is ${JSON.stringify(key)}; ${both}`)
  if (key === undefined) throw invalid('clientKey', `clientKey is missing, and clientCert is ${JSON.stringify(cert)}; ${both}`)
  return new CertificateFiles(cert, key)
}

function readDotenv(): Record<string, string | undefined> {
  try {
    return parseDotenv(readFileSync('.env', 'utf8').replace(/^\uFEFF/, ''))
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw invalid('dotenv', `cannot read ${resolve('.env')} (dotenv: false leaves it out): ${(cause as Error).message}`, cause)
  }
}

/** `NAME=value`, the value in quotes or not; a comment after it begins with space and `#`. */
const setting =
  /[^\S\n]*(?:(?:export[^\S\n]+)?([\w.-]+)[^\S\n]*=[^\S\n]*(?:'([^']*)'|"((?:[^"\\]|\\[\s\S])*)"|((?!['"])[^\n]*?)))?[^\S\n]*(?:(?:^|(?<=\s))#[^\n]*|(?<=['"])#[^\n]*)?(?:\n|$)/y

/**
 * Reads the file as the server and the other SDKs do, who share it: Node.js's own parser takes a `#` within a word for a
 * comment, and passes over lines that it does not understand. No error quotes the file, because it may hold the secret.
 */
function parseDotenv(text: string): Record<string, string> {
  const found: Record<string, string> = {}
  const lines = text.replace(/\r\n?/g, '\n')
  for (let at = 0; at < lines.length; at = setting.lastIndex) {
    setting.lastIndex = at
    const parts = lines.includes('\0') ? null : setting.exec(lines)
    if (parts === null) throw new Error(`line ${lines.slice(0, at).split('\n').length} is not of the form NAME=value`)
    const [, name, single, double, plain = ''] = parts
    if (name === undefined) continue
    found[name] = single ?? double?.replace(/\\([\s\S])/g, (_, sign: string) => escapes[sign] ?? sign) ?? plain
  }
  return found
}

const escapes: Record<string, string> = { n: '\n', r: '\r', t: '\t' }

/** New for every client, so that two clients never take each other's locks for their own. */
function defaultOwner(): string {
  const host =
    hostname()
      .replace(/[^\x21-\x7e]/g, '')
      .slice(0, 200) || 'host'
  return `${host}-${process.pid}-${randomBytes(6).toString('hex')}`
}

/** What addresses are made of. It is less than a URL may have, so that all languages' SDKs take the same ones. */
const host = /([\w-]{1,63}(?:\.[\w-]{1,63})*\.?|\[[\dA-F:.]+\])(?::(\d{1,5}))?/.source
const address = new RegExp(`^(?:(https?)://)?${host}(/(?:[\\w.~!$&'()*+;=:@/-]|%[\\dA-F]{2})*)?$`, 'i')
const proxyAddress = new RegExp(`^(https?)://(?:((?:[\\w.~!$&'()*+,;=:-]|%[\\dA-F]{2})*)@)?${host}/?$`, 'i')
/** A host that ends like this is an IPv4 address or nothing. */
const number = /(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/i

/** The addresses of a list with commas between them. */
function parseAddrs(list: string): ServerAddress[] {
  const entries = list.split(',')
  return entries.map((entry, i) => {
    const parsed = parseAddr(entry)
    if (typeof parsed !== 'string') return parsed
    // A URL may have a password in it, perhaps with commas, which must not get into a message.
    const shown = list.includes('@') ? list.replace(/^(.*?\/\/)?.*@/s, '$1***@') : entry
    const which = entries.length > 1 ? ` (${i + 1} of ${entries.length})` : ''
    const allowed = 'allowed are host:port, [v6]:port, or an http:// or https:// URL with an optional path'
    const several = 'and several of them with commas, and no spaces, between them'
    throw invalid('addr', `addr ${JSON.stringify(shown)}${which} ${parsed}; ${allowed}, ${several}`)
  })
}

/** One address, or what is wrong with it. */
function parseAddr(addr: string): ServerAddress | string {
  const parts = address.exec(addr)
  if (parts === null) return 'is not an address'
  const [, scheme = 'http', name = '', port = defaultPort, path = ''] = parts
  if (parts[1] === undefined && path !== '') return 'has a path but no http:// before it'
  if (!canBe(name, port)) return 'has a host or port that cannot be'
  const peer = `${name}:${port}`
  return { peer, origin: `${scheme.toLowerCase()}://${peer}`, prefix: path.replace(/\/+$/, '') }
}

function canBe(name: string, port: string): boolean {
  if (Number(port) < 1 || Number(port) > 65535) return false
  return name.startsWith('[') ? isIPv6(name.slice(1, -1)) : !number.test(name) || isIPv4(name)
}

/** The value is not shown in the error, because a password may be in it. */
function parseProxy(proxy: unknown): URL | undefined {
  if (proxy === undefined || proxy === null || proxy === '') return undefined
  if (typeof proxy !== 'string') throw mustBe('proxy', 'a string', proxy)
  const [, , credentials = '', name = '', port = '1'] = proxyAddress.exec(proxy) ?? []
  try {
    decodeURIComponent(credentials)
    if (name !== '' && canBe(name, port)) return new URL(proxy)
  } catch {}
  throw invalid('proxy', 'proxy must be an http:// or https:// URL of a host, with or without user:password@ and port')
}

function parseTransport(transport: string): TransportName {
  if (transport === 'auto' || transport === 'session' || transport === 'http') return transport
  throw invalid('transport', `transport ${JSON.stringify(transport)} must be "auto", "session" or "http"`)
}

/** What a value of a wrong type is, for messages. */
export function kind(value: unknown): string {
  if (typeof value === 'number' || value === null) return String(value)
  if (typeof value === 'string') return `the string ${JSON.stringify(value)}`
  return Array.isArray(value) ? 'an array' : typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/** Whether a string has no lone surrogates, which UTF-8 cannot carry. */
export function isWellFormed(value: string): boolean {
  return Buffer.from(value).toString() === value
}

/** The error about a setting or an option. */
export function invalid(setting: string, message: string, cause?: unknown): ConfigInvalidError {
  return new ConfigInvalidError(message, cause === undefined ? { setting } : { setting, cause })
}

/** The error about one of a wrong type. */
export function mustBe(setting: string, what: string, value: unknown): ConfigInvalidError {
  return invalid(setting, `${setting} must be ${what}, not ${kind(value)}`)
}
