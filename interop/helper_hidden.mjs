// Many tabs that use client/socketauth.js, of which one is visible, in a Chromium with a screen
// that throttles the timers of the others:
//
//   node helper_hidden.mjs <url> <number of hidden tabs>
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { print } from './peer.mjs'
import { Chromium, display } from './process_browser.mjs'

const [url, count] = process.argv.slice(2)
const folder = mkdtempSync(join(tmpdir(), 'profile-'))
const report = (event, ...args) => print({ socket: 'client', event, args })
const isOnline = () => globalThis.client?.state === 'online'

const browser = await Chromium.start(folder, { display: await display() })
try {
  const visible = await browser.open(url + '/page')
  await visible.until(() => globalThis.client?.state === 'signed-out')
  await visible.do(() => client.login({ username: 'alice', password: 'secret' }))
  await visible.until(isOnline)
  const hidden = []
  for (let n = 0; n < count; n++) hidden.push(await browser.open(url + '/page'))
  for (const tab of hidden) await tab.until(isOnline)
  // A page of the origin without a client.
  const holder = await browser.open(url + '/socketauth/socketauth.js')
  await holder.until(() => location.pathname === '/socketauth/socketauth.js')
  await visible.front()
  for (const tab of hidden) await tab.until(() => document.visibilityState === 'hidden')

  // Where timers are throttled, four timers of 10 ms, one after the other, take some seconds.
  const throttled = await Promise.all(hidden.map((tab) => tab.do(async () => {
    const began = performance.now()
    for (let n = 0; n < 4; n++) await new Promise((resolve) => setTimeout(resolve, 10))
    return performance.now() - began > 2_000
  })))
  report('throttled', throttled.every(Boolean), await visible.do(() => document.visibilityState))

  await holder.do(() => new Promise((granted) => {
    navigator.locks.request('socketauth:socketauth.token', () => {
      granted()
      return new Promise((release) => { globalThis.release = release })
    })
  }))
  for (const tab of hidden) {
    await tab.do(() => { client.on('state', (state) => { if (state === 'online') globalThis.since = Date.now() }) })
  }
  const line = () => holder.do(async () => {
    const { held, pending } = await navigator.locks.query()
    return [...new Set([...held, ...pending].map(({ clientId }) => clientId))]
  })
  const all = async (f = () => true) => { // the requests that wait, and the holder
    for (;;) {
      const ids = await line()
      if (ids.length === hidden.length + 2 && f(ids)) return ids
    }
  }
  report('ready') // to lose the connection for a moment
  const before = await all()
  await visible.do(() => { location.reload() }) // so that it is the last to ask
  await all((ids) => ids.some((id) => !before.includes(id)))
  await visible.do(() => { client.on('state', (state) => { if (state === 'online') globalThis.since = Date.now() }) })
  const began = Date.now()
  await holder.do(() => globalThis.release())
  const since = []
  for (const tab of [visible, ...hidden]) {
    await tab.until(isOnline)
    since.push(await tab.do(() => globalThis.since))
  }
  console.error('ms from the free turn to being in, the visible tab first:', since.map((at) => at - began).join(' '))
  report('before the visible tab', since.filter((at) => at < since[0]).length)
  await browser.close()
} finally {
  await browser.kill()
  rmSync(folder, { recursive: true, force: true })
}
process.exit()
