import { chromium } from 'playwright-core'

// launch starts Debian's Chromium, without all that it would do besides.
export function launch(...args) {
  return chromium.launch({ ...options, args: [...options.args, ...args] })
}

// launchIn starts it with the profile in a folder, as one context.
export function launchIn(folder) {
  return chromium.launchPersistentContext(folder, options)
}

const options = {
  executablePath: '/usr/bin/chromium',
  args: [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
}
