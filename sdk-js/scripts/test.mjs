// Builds everything that the tests need, and runs them.
// Arguments are names of test files (without .test.ts); without any, all of them.
// NODES says on which versions of Node.js, with spaces between them; "this" is the one that runs this script. Without it they are
// the oldest that is supported and the current LTS.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const nodes = (process.env.NODES || '24.21.0 20.18.1').split(/\s+/).filter(Boolean)
/** On the first only: slow, and not different from one version to the other. */
const onceOnly = ['load', 'package']
/** On the first they run a second time, over HTTP alone: they are about locks, and locks are the same over both. */
const overHttp = ['abort', 'acquire', 'lease', 'network', 'process', 'release', 'scope']

const run = (command, args, options = {}) => execFileSync(command, args, { cwd: root, stdio: 'inherit', ...options })

/** The program of one version of Node.js, as its package on npm has it. */
function node(version) {
  if (version === 'this') return process.execPath
  const platform = process.platform === 'win32' ? 'win' : process.platform
  const prefix = join(root, 'build/node', version)
  const name = `node-${platform}-${process.arch}`
  const program = join(prefix, 'node_modules', name, 'bin', platform === 'win' ? 'node.exe' : 'node')
  if (!existsSync(program)) {
    mkdirSync(prefix, { recursive: true })
    run('npm', ['install', '--silent', '--no-audit', '--no-fund', '--no-save', '--prefix', prefix, `${name}@${version}`])
  }
  const found = execFileSync(program, ['--version']).toString().trim()
  if (found !== `v${version}`) throw new Error(`${program} is ${found}, not v${version}`)
  return program
}

function go(variable, name, directory, source) {
  if (process.env[variable]) return
  const out = join(root, 'build/bin', name)
  run('go', ['build', '-o', out, source], { cwd: join(root, '..', directory) })
  process.env[variable] = out
}

run(process.execPath, ['scripts/build.mjs'])
rmSync(join(root, 'build/test'), { recursive: true, force: true })
run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.test.json'])
go('LOCKSERVER_BIN', 'lockserver', 'server', './cmd/lockserver')
go('TOXIPROXY_BIN', 'toxiproxy', 'conformance', 'github.com/Shopify/toxiproxy/v2/cmd/server')

const chosen = process.argv.slice(2)
const all = readdirSync(join(root, 'build/test'))
  .filter((file) => file.endsWith('.test.js'))
  .map((file) => file.slice(0, -'.test.js'.length))
const names = chosen.length > 0 ? chosen : all

let failed = false
function runTests(program, names, transport = '') {
  if (names.length === 0) return
  const over = transport && ` over ${transport}`
  console.log(`\nNode.js ${execFileSync(program, ['--version']).toString().trim()}${over}: ${names.join(', ')}`)
  const files = names.map((name) => join('build/test', `${name}.test.js`))
  const options = ['--test', '--test-reporter=spec', '--test-concurrency=4', '--test-timeout=300000']
  const env = { ...process.env, LOCKSERVER_TRANSPORT: transport }
  const { status } = spawnSync(program, [...options, ...files], { cwd: root, stdio: 'inherit', env })
  failed ||= status !== 0
}
for (const [i, version] of nodes.entries()) {
  const those = i === 0 ? names : names.filter((name) => !onceOnly.includes(name))
  runTests(node(version), those)
  if (i === 0)
    runTests(
      node(version),
      those.filter((name) => overHttp.includes(name)),
      'http',
    )
}
process.exit(failed ? 1 : 0)
