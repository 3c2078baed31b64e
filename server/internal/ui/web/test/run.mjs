// Builds the tests and runs them against the server in LOCKSERVER_BIN. Arguments go to node --test; with "screenshots FOLDER" it makes the
// pictures of the README instead.
import { spawnSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { build } from 'esbuild'

const root = new URL('..', import.meta.url).pathname
rmSync(`${root}build/test`, { recursive: true, force: true })
const names = readdirSync(`${root}test`).filter((name) => name.endsWith('.ts'))
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
const built = (name) => `build/test/${name.replace(/ts$/, 'js')}`
const [what, ...rest] = process.argv.slice(2)
const args =
  what === 'screenshots'
    ? [built('screenshots.ts'), ...rest]
    : [
        '--test',
        '--test-reporter=spec',
        ...process.argv.slice(2),
        ...names.filter((name) => name.endsWith('.test.ts')).map(built),
      ]
const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' })
process.exit(status ?? 1)
