// The same package, as a CommonJS module sees its types.
import { type Lock, LockedError, LockserverClient } from 'lockserver-client'

const client = new LockserverClient({ owner: 'types-cjs' })

async function main(): Promise<void> {
  const lock: Lock = await client.acquire('types-cjs')
  try {
    await client.lock('types-cjs', { blocking: false })
  } catch (error) {
    if (!(error instanceof LockedError)) throw error
    const owner: string | undefined = error.holders[0]?.owner
    console.log('types cjs ok', owner)
  }
  await lock.release()
}

main()
