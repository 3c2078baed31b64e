import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The directory of the package. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '../../..')

/** The program that an environment variable names, or the one that is built from the repository. */
function program(variable: string, name: string, directory: string, source: string): string {
  const given = process.env[variable]
  if (given) return given
  const out = join(root, 'build/bin', name)
  if (existsSync(out)) return out
  mkdirSync(dirname(out), { recursive: true })
  execFileSync('go', ['build', '-o', out, source], { cwd: join(root, '..', directory), stdio: 'inherit' })
  return out
}

export const lockserverBinary = () => program('LOCKSERVER_BIN', 'lockserver', 'server', './cmd/lockserver')
export const toxiproxyBinary = () =>
  program('TOXIPROXY_BIN', 'toxiproxy', 'conformance', 'github.com/Shopify/toxiproxy/v2/cmd/server')
