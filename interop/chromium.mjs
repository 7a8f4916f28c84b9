import { chromium } from 'playwright-core'

// launch starts Debian's Chromium, without all that it would do besides.
export function launch(...args) {
  return chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync', ...args,
    ],
  })
}
