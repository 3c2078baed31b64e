// What people use in its place: redlock, over one connection to a Redis that keeps nothing on disk, as the lock server does here.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import Redis from 'ioredis'
import Redlock from 'redlock'

/** Undefined where there is no redis-server, which is said loudly. */
export async function startRedlock(directory) {
  if (spawnSync('redis-server', ['--version']).status !== 0) {
    console.log('NOT COMPARED WITH REDLOCK: there is no redis-server on this machine')
    return undefined
  }
  const free = createServer().listen(0, '127.0.0.1')
  await once(free, 'listening')
  const { port } = free.address()
  free.close()
  const args = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--dir', directory, '--loglevel', 'warning']
  const server = spawn('redis-server', args, { stdio: 'ignore' })
  const redis = new Redis({ port })
  redis.on('error', () => undefined) // until it is up
  await new Promise((resolve) => redis.once('ready', resolve))
  const redlock = new Redlock([redis])
  return {
    pair: async (resource) => {
      const lock = await redlock.lock(resource, 30_000)
      await lock.unlock()
    },
    close: () => {
      redis.disconnect()
      server.kill('SIGKILL')
    },
  }
}
