const { version } = require('lockserver-client/package.json')
require('./driver.cjs').run(require('lockserver-client'), 'js-cjs', version)
