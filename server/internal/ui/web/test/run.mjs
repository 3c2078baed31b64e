// Builds the tests and runs them against the server in LOCKSERVER_BIN. Arguments go to node --test.
import { spawnSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { build } from 'esbuild'

const root = new URL('..', import.meta.url).pathname
rmSync(`${root}build/test`, { recursive: true, force: true })
const names = readdirSync(`${root}test`).filter((name) => name.endsWith('.test.ts'))
await build({
  absWorkingDir: root,
  entryPoints: names.map((name) => `test/${name}`),
  outdir: 'build/test',
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  jsx: 'automatic',
  jsxImportSource: 'preact',
})
const files = names.map((name) => `build/test/${name.replace(/ts$/, 'js')}`)
const { status } = spawnSync(process.execPath, ['--test', '--test-reporter=spec', ...process.argv.slice(2), ...files], {
  cwd: root,
  stdio: 'inherit',
})
process.exit(status ?? 1)
