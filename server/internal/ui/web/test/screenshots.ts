// Makes the pictures of the dashboard in the README, in the folder that is given. Needs a server in LOCKSERVER_BIN and a Chromium.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { launch, program } from './support/browser'
import { pictures, settings, take, work } from './support/scene'
import { Server } from './support/server'

const [folder] = process.argv.slice(2)
const chromium = program()
assert.ok(folder && chromium, 'usage: screenshots FOLDER, with a Chromium')
const server = await Server.start(settings)
const browser = await launch(chromium)
await work(server, 90_000, 4000) // enough for the plots, and for the page to be there while the lock is held
for (const picture of pictures) {
  const png = await take(browser, server, picture)
  writeFileSync(`${folder}/${picture.name}.png`, png)
  console.log(`${picture.name}.png ${png.length} bytes`)
}
await browser.close()
await server.kill()
