// Builds the page into ../dist, which is committed, so that the server builds without Node.js. With --check it only says whether what is
// there is what the sources give.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { build } from 'esbuild'

const dist = new URL('../dist/', import.meta.url)
const source = new URL('src/', import.meta.url)

const made = await build({
  absWorkingDir: new URL('.', import.meta.url).pathname,
  entryPoints: { app: 'src/main.tsx' },
  outdir: 'out',
  write: false,
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['chrome110', 'firefox115', 'safari16.4'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'eof',
  charset: 'utf8',
})
const files = new Map(made.outputFiles.map((f) => [f.path.split('/').at(-1), Buffer.from(f.contents)]))
for (const name of ['index.html', 'icon.svg']) files.set(name, readFileSync(new URL(name, source)))

const there = readdirSync(dist)
if (process.argv.includes('--check')) {
  const wrong = [...files].filter(
    ([name, content]) => !there.includes(name) || !readFileSync(new URL(name, dist)).equals(content),
  )
  const names = [...wrong.map(([name]) => name), ...there.filter((name) => !files.has(name))]
  if (names.length > 0) {
    console.error(
      `server/internal/ui/dist is not what the sources give (${names.join(', ')}): run make -C server/internal/ui/web build`,
    )
    process.exit(1)
  }
} else {
  for (const name of there) if (!files.has(name)) rmSync(new URL(name, dist))
  for (const [name, content] of files) writeFileSync(new URL(name, dist), content)
  for (const [name, content] of files) console.log(`${name} ${content.length}`)
}
