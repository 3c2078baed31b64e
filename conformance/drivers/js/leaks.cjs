// Names what runs in this process, timers and sockets that do not keep it alive included: Node lists only those that do.
const { createHook } = require('node:async_hooks')

const watched = new Set(['Timeout', 'TCPWRAP', 'TLSWRAP', 'TCPCONNECTWRAP', 'GETADDRINFOREQWRAP'])
const running = new Map()

exports.watch = () => {
  createHook({
    trackPromises: false,
    init: (id, type) => watched.has(type) && running.set(id, type),
    destroy: (id) => running.delete(id),
  }).enable()
}

/** What still runs. Gives it a moment to end. */
exports.left = async () => {
  for (const end = performance.now() + 3000; running.size > 0 && performance.now() < end; ) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  return [...running.values()]
}
