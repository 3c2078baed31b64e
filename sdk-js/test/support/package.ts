import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from './binaries.js'
import { secret, type TestServer } from './server.js'

/** The package as npm packs it, from what has been built. */
export function tarball(): string {
  const directory = mkdtempSync(join(tmpdir(), 'lockserver-js-pack-'))
  execFileSync('npm', ['pack', root, '--silent', '--ignore-scripts', '--pack-destination', directory], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return join(directory, readdirSync(directory)[0] ?? '')
}

/** A project of a user: a directory outside the repository, with the packed package installed. */
export class Project {
  readonly directory = mkdtempSync(join(tmpdir(), 'lockserver-js-project-'))

  static async with(tarball: string, source?: string): Promise<Project> {
    const project = new Project()
    if (source) cpSync(source, project.directory, { recursive: true })
    await project.run(
      undefined,
      'npm',
      'install',
      '--no-audit',
      '--no-fund',
      '--no-save',
      '--prefer-offline',
      '--silent',
      tarball,
    )
    return project
  }

  /** Runs a program there, with the settings of a server; resolves to what it printed, rejects if it fails. */
  async run(server: TestServer | undefined, command: string, ...args: string[]): Promise<string> {
    const child = spawn(command, args, {
      cwd: this.directory,
      env: { ...process.env, ...(server && { LOCKSERVER_ADDR: server.addr, LOCKSERVER_SECRET: secret }) },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let out = ''
    let all = ''
    child.stdout.on('data', (chunk) => {
      out += chunk
      all += chunk
    })
    child.stderr.on('data', (chunk) => {
      all += chunk
    })
    const [code] = await once(child, 'close')
    if (code !== 0) throw new Error(`${command} ${args.join(' ')} exited with ${code}:\n${all}`)
    return out
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}
