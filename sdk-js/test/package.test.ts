import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { root } from './support/binaries.js'
import { Project, tarball } from './support/package.js'
import { TestServer } from './support/server.js'

let server: TestServer
let packed: string
/** Has the consumers in directories of their own, each with a package.json, and the installed tarball above them. */
let project: Project
before(async () => {
  server = await TestServer.start()
  packed = tarball()
  project = await Project.with(packed, join(root, 'consumers'))
})
after(async () => {
  await server.close()
  project.remove()
  rmSync(dirname(packed), { recursive: true })
})

const tsc = join(root, 'node_modules/typescript/bin/tsc')

test('the tarball has what it needs and no more', () => {
  const files = execFileSync('tar', ['-tzf', packed]).toString().trim().split('\n')
  for (const file of [
    'package.json',
    'README.md',
    'LICENSE',
    'dist/esm/index.js',
    'dist/esm/index.d.ts',
    'dist/cjs/index.js',
    'dist/cjs/index.d.ts',
  ]) {
    assert.ok(files.includes(`package/${file}`), `${file} is there`)
  }
  assert.deepEqual(
    files.filter(
      (file) => !/^package\/(package\.json|README\.md|LICENSE|dist\/(esm|cjs)\/([a-z]+(\.d\.ts|\.js)|package\.json))$/.test(file),
    ),
    [],
  )
})

test('attw finds nothing wrong with the types of either format', () => {
  execFileSync(
    process.execPath,
    [join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js'), packed, '--profile', 'node16'],
    { stdio: 'pipe' },
  )
})

test('the lock file names no registry of its own', () => {
  for (const match of readFileSync(join(root, 'package-lock.json'), 'utf8').matchAll(/"resolved": "([^"]+)"/g)) {
    assert.match(match[1] ?? '', /^https:\/\/registry\.npmjs\.org\//)
  }
})

for (const name of ['esm', 'cjs', 'original']) {
  test(`the ${name} consumer runs with the installed tarball`, async () => {
    assert.equal(await project.run(server, process.execPath, `${name}/index.js`), `${name} ok\n`)
  })
}

test('the types consumer compiles, without skipLibCheck, and runs', async () => {
  await project.run(undefined, process.execPath, tsc, '-p', 'types', '--typeRoots', join(root, 'node_modules/@types'))
  assert.match(await project.run(server, process.execPath, 'types/out/esm.mjs'), /^types esm ok/)
  assert.match(await project.run(server, process.execPath, 'types/out/cjs.cjs'), /^types cjs ok/)
})

test('every public name has its documentation in the types that are shipped', () => {
  const declared = ['client', 'contract', 'errors', 'lock', 'options', 'settings', 'watch']
    .map((file) => readFileSync(join(root, `dist/cjs/${file}.d.ts`), 'utf8'))
    .join('\n')
  const exported = [...readFileSync(join(root, 'dist/cjs/index.d.ts'), 'utf8').matchAll(/\{([^}]+)\}/g)].flatMap(([, names]) =>
    (names ?? '').split(',').map((name) => name.trim()),
  )
  assert.ok(exported.length > 25)
  for (const name of exported) {
    assert.match(
      declared,
      new RegExp(`\\*/\\nexport (declare )?(abstract )?(class|interface|type|const) ${name}\\b`),
      `${name} is documented`,
    )
  }
})

test('every snippet of the README runs', async (t) => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const snippets = [...readme.matchAll(/^```(\w+)(?: (\w+))?\n(.*?)^```$/gms)].map(([, language = '', tag = '', text = '']) => ({
    language,
    tag,
    text,
  }))
  writeFileSync(join(project.directory, 'tsconfig.json'), readFileSync(join(root, 'consumers/types/tsconfig.json')))
  let count = 0
  for (const { language, tag, text } of snippets) {
    const name = `snippet-${++count}`
    await t.test(`${count}: ${language} ${text.split('\n')[0]}`, async () => {
      if (language === 'js' || language === 'cjs') {
        const file = `${name}.${language === 'js' ? 'mjs' : 'cjs'}`
        writeFileSync(join(project.directory, file), text)
        assert.notEqual(await project.run(server, process.execPath, file), '')
      } else if (language === 'ts') {
        writeFileSync(join(project.directory, `${name}.mts`), text)
        await project.run(undefined, process.execPath, tsc, '--typeRoots', join(root, 'node_modules/@types'))
        assert.notEqual(await project.run(server, process.execPath, `out/${name}.mjs`), '')
      } else if (tag === 'install') {
        // The repository's address leads to this checkout.
        const checkout = join(root, '..')
        const redirect = {
          GIT_CONFIG_COUNT: '2',
          GIT_CONFIG_KEY_0: `url.file://${checkout}.insteadOf`,
          GIT_CONFIG_VALUE_0: 'https://github.com/lockserver/lockserver',
        }
        const fresh = new Project()
        writeFileSync(join(fresh.directory, 'package.json'), '{ "private": true }')
        const safe = { GIT_CONFIG_KEY_1: 'safe.directory', GIT_CONFIG_VALUE_1: '*' }
        Object.assign(process.env, redirect, safe)
        try {
          await fresh.run(undefined, 'sh', '-ec', text)
        } finally {
          for (const key of [...Object.keys(redirect), ...Object.keys(safe)]) delete process.env[key]
        }
        assert.equal(
          await fresh.run(undefined, process.execPath, '-p', 'typeof require("lockserver-client").LockserverClient'),
          'function\n',
        )
        fresh.remove()
      } else {
        assert.equal(language, 'sh', 'a language that this test knows')
        writeFileSync(join(project.directory, '.env'), text)
        const script = 'const { addr } = new (require("lockserver-client").LockserverClient)(); console.log(addr)'
        assert.equal(await project.run(undefined, process.execPath, '-e', script), '127.0.0.1:8080\n')
      }
    })
  }
  assert.equal(count, 9)
})
