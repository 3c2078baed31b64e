// Builds both module formats from one source: dist/esm and dist/cjs, each with its declarations.
import { execFileSync } from 'node:child_process'
import { copyFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const tsc = join(root, 'node_modules/typescript/bin/tsc')

// Made beside dist and put in its place, so that whoever uses the package meanwhile finds the old one or the new one.
const made = join(root, `build/dist-${process.pid}`)
for (const [project, format] of [
  ['tsconfig.json', 'esm'],
  ['tsconfig.cjs.json', 'cjs'],
]) {
  execFileSync(process.execPath, [tsc, '-p', project, '--outDir', join(made, format)], { cwd: root, stdio: 'inherit' })
}
writeFileSync(join(made, 'cjs/package.json'), '{ "type": "commonjs" }\n')
rmSync(join(root, 'dist'), { recursive: true, force: true })
renameSync(made, join(root, 'dist'))

// The licence of the whole repository goes into the package, too.
copyFileSync(join(root, '../LICENSE'), join(root, 'LICENSE'))
