import { createRequire } from 'node:module'
import * as sdk from 'lockserver-client'
import driver from './driver.cjs'

const { version } = createRequire(import.meta.url)('lockserver-client/package.json')
driver.run(sdk, 'js-esm', version)
