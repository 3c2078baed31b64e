import type { Lock } from './lock.js'

/** Runs a body under a lock, and leaves the scope in whatever way the body ends. The body's own error comes first. */
export async function within<T>(lock: Lock, body: (lock: Lock) => Promise<T> | T): Promise<T> {
  let result: T
  try {
    result = await body(lock)
  } catch (error) {
    await leave(lock).catch(() => undefined)
    throw error
  }
  await leave(lock)
  return result
}

function leave(lock: Lock): Promise<void> {
  return lock[Symbol.asyncDispose]()
}
