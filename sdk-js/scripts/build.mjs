// Builds the package: CommonJS in dist/cjs, and in dist/esm an ES module that hands on its names. So there is one copy of every class,
// whichever way it is loaded, and `instanceof` holds between the two.
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const tsc = join(root, 'node_modules/typescript/bin/tsc')

// Made beside dist and put in its place, so that whoever uses the package meanwhile finds the old one or the new one.
const made = join(root, `build/dist-${process.pid}`)
execFileSync(process.execPath, [tsc, '-p', 'tsconfig.cjs.json', '--outDir', join(made, 'cjs')], { cwd: root, stdio: 'inherit' })
writeFileSync(join(made, 'cjs/package.json'), '{ "type": "commonjs" }\n')
mkdirSync(join(made, 'esm'))
const names = Object.keys(createRequire(import.meta.url)(join(made, 'cjs/index.js')))
writeFileSync(join(made, 'esm/index.js'), `export { ${names.join(', ')} } from '../cjs/index.js'\n`)
writeFileSync(join(made, 'esm/index.d.ts'), "export * from '../cjs/index.js'\n")
rmSync(join(root, 'dist'), { recursive: true, force: true })
renameSync(made, join(root, 'dist'))

// The licence of the whole repository goes into the package, too.
copyFileSync(join(root, '../LICENSE'), join(root, 'LICENSE'))
