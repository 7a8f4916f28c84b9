// Pages that use client/socketauth.js in one browser, and what happens to browsers: they are
// reloaded, killed, closed, started again, and stopped for a while; their tabs are hidden; the
// network fails.
//
//   node helper_browsers.mjs <Chromium, Firefox or WebKit> <url that answers when sockets have ended>
//     <url of each site below>
//
// They have a screen, without which they throttle nothing.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { print } from './peer.mjs'
import * as browsers from './process_browser.mjs'
import { isTold } from './told.mjs'

const [kind, stopped, ...urls] = process.argv.slice(2)
const screen = await browsers.display()

// Profile is what a browser keeps while it does not run.
class Profile {
  folder = mkdtempSync(join(tmpdir(), 'profile-'))

  // start starts the browser with the profile. In WebKit it has so many tabs.
  async start(tabs) {
    this.browser = await browsers[kind].start(this.folder, { display: screen, tabs })
    return this.browser
  }

  async remove() {
    await this.browser?.kill()
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

// Site is a server with its tabs.
class Site {
  constructor(name, url) {
    Object.assign(this, { name, url })
  }

  say(event, ...args) {
    print({ socket: this.name, event, args })
  }

  // open opens a number of tabs at once.
  async open(browser, count) {
    this.tabs = await Promise.all(Array.from({ length: count }, () => browser.open(this.url + '/page')))
    await this.until(() => globalThis.client !== undefined)
  }

  // until waits until something is true in all tabs.
  async until(f, ...args) {
    await Promise.all(this.tabs.map((tab) => tab.until(f, ...args)))
  }

  // are waits until all tabs are in a state.
  async are(state) {
    await this.until((state) => globalThis.client?.state === state, state)
    this.say('are', state)
  }

  // each prints what a function returns in the tabs, each value once.
  async each(event, f) {
    const all = await Promise.all(this.tabs.map((tab) => tab.do(f)))
    const texts = new Set(all.map((value) => JSON.stringify(value)))
    this.say(event, ...Array.from(texts, (text) => JSON.parse(text ?? 'null')))
  }

  // came prints the states through which the tabs have come.
  async came() {
    for (const tab of this.tabs) console.error(this.name, JSON.stringify(await tab.do(() => globalThis.heard)))
    await this.each('came', () => globalThis.states)
  }

  // users prints who the server says the tabs are.
  async users() {
    await this.until(async () => {
      globalThis.user = (await client.emitWithAck('who am I')).user
      return true
    })
    await this.each('users', () => globalThis.user)
  }

  login(username) {
    return this.tabs.at(-1).do((username) => client.login({ username, password: 'secret' }), username)
  }

  async logout() {
    this.say('told', await this.tabs[0].do(() => client.logout()))
    await this.are('signed-out')
    await this.each('reasons', () => client.reason)
  }

  // reload reloads all tabs at once.
  async reload() {
    await Promise.all(this.tabs.map((tab) => tab.do(() => {
      globalThis.isLeft = true
      location.reload()
    })))
    await this.until(() => !globalThis.isLeft)
    await this.are('online')
  }
}

const [plain, bound, early, steady, asleep, brief] =
  ['plain', 'bound', 'early', 'steady', 'asleep', 'brief'].map((name, n) => new Site(name, urls[n]))

// together does the same on sites at the same time.
const together = (sites, f) => Promise.all(sites.map(f))

// lacks returns which of the parts of a browser that the client uses are not there.
function lacks() {
  const parts = {
    'WebSocket': globalThis.WebSocket,
    'localStorage': globalThis.localStorage,
    'sessionStorage': globalThis.sessionStorage,
    'IndexedDB': globalThis.indexedDB,
    'Web Locks': navigator.locks,
    'Web Cryptography': globalThis.crypto?.subtle,
  }
  return Object.keys(parts).filter((name) => !parts[name])
}

// throttled reports whether short timers take about a second. Browsers begin with that after some
// timers that one another set.
async function throttled() {
  let long = 0
  for (let n = 0; n < 50 && long < 2; n++) {
    const began = performance.now()
    await new Promise((resolve) => setTimeout(resolve, 10))
    if (performance.now() - began > 500) long++
  }
  return long === 2
}

// hidden has many tabs wait for their turn, of which one is visible and asks last.
async function hidden(browser, site) {
  const [visible, ...others] = site.tabs
  // A page of the origin without a client.
  const holder = await browser.open(site.url + '/socketauth/socketauth.js')
  await holder.until(() => location.pathname === '/socketauth/socketauth.js')
  await visible.front()
  for (const tab of others) await tab.until(() => document.visibilityState === 'hidden')
  await visible.until(() => document.visibilityState === 'visible')
  const slow = await Promise.all(others.map((tab) => tab.do(throttled)))
  site.say('throttled', slow.every(Boolean))

  await holder.do(() => new Promise((granted) => {
    navigator.locks.request('socketauth:socketauth.token', () => {
      granted()
      return new Promise((release) => { globalThis.release = release })
    })
  }))
  const noteWhenOnline = () => { client.on('state', (state) => { if (state === 'online') globalThis.since = Date.now() }) }
  for (const tab of others) await tab.do(noteWhenOnline)
  const all = async (f = () => true) => { // the tabs that wait, and the holder
    for (;;) {
      const ids = await holder.do(async () => {
        const { held, pending } = await navigator.locks.query()
        return [...new Set([...held, ...pending].map(({ clientId }) => clientId))]
      })
      if (ids.length === others.length + 2 && f(ids)) return ids
      await browsers.pause(20)
    }
  }
  site.say('ready') // to lose the connection for a moment
  const before = await all()
  await visible.do(() => { location.reload() }) // so that it is the last to ask
  await all((ids) => ids.some((id) => !before.includes(id)))
  await visible.do(noteWhenOnline)
  await holder.do(() => globalThis.release())
  await site.are('online')
  const [first, ...rest] = await Promise.all(site.tabs.map((tab) => tab.do(() => globalThis.since)))
  site.say('before the visible tab', rest.filter((since) => since < first).length)
}

const runs = [
  // Five tabs at once. The browser is killed right after first logins and after renewals.
  async (profile) => {
    const browser = await profile.start(9)
    await together([plain, bound], async (site) => {
      await site.open(browser, site === plain ? 5 : 2)
      await site.are('signed-out')
      if (site === plain) site.say('browser', browser.version, await site.tabs[0].do(lacks))
      await site.login('alice')
      await site.are('online') // without a reload
      await site.reload()
      await site.users()
      await site.each('bound', () => client.bound)
      site.say('ready') // to have the claims changed
      await site.until(() => {
        const text = client.token?.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')
        return text && JSON.parse(atob(text)).version === 2
      })
      site.say('renewed')
    })
    await together([early, steady], async (site) => {
      await site.open(browser, 1)
      await site.are('signed-out')
    })
    await together([plain, bound], (site) => site.reload())
    await together([early, steady], (site) => site.login('alice'))
    await together([early, steady], (site) => site.are('online'))
    await browser.kill()
  },

  // Everything is there again, and hidden tabs let a visible one go first. Then the browser is
  // closed, so that all tokens are in localStorage.
  async (profile) => {
    const browser = await profile.start(10)
    await together([plain, bound, early, steady], async (site) => {
      await site.open(browser, { plain: 5, bound: 2 }[site.name] ?? 1)
      await site.are('online')
      await site.came()
      await site.users()
    })
    await bound.each('bound', () => client.bound)
    await hidden(browser, plain)
    await together([plain, bound], async (site) => {
      await site.logout()
      await site.login('carol')
      await site.are('online')
    })
    await browser.close()
  },

  // The browser is killed when localStorage has, on disk, the token of a session that was logged
  // out without a network, of one that another has replaced, and one that others have replaced.
  async (profile) => {
    const browser = await profile.start(6)
    await together([plain, bound, early, steady], async (site) => {
      await site.open(browser, site === plain || site === bound ? 2 : 1)
      await site.are('online')
    })
    await together([plain, bound, early, steady], async (site) => {
      if (site === early) return site.logout()
      if (site === steady) return site.reload().then(() => site.reload())
      site.say('ready') // to lose the connection
      await site.are('offline')
    })
    await together([plain, bound, early, steady], (site) => { // at the last moment
      if (site === early) return site.login('bob')
      return site === steady ? site.reload() : site.logout()
    })
    await early.are('online')
    await browser.kill()
    plain.say('ready') // to have the connections back
    bound.say('ready')
  },

  // Nobody is signed in again who logged out, and nobody is signed out.
  async (profile) => {
    const browser = await profile.start(4)
    await together([plain, bound, early, steady], async (site) => {
      await site.open(browser, 1)
      await site.are(site === plain || site === bound ? 'signed-out' : 'online')
      await site.came()
      if (site === early || site === steady) return site.users()
      await site.tabs[0].until(isTold)
      site.say('knows')
    })
    await browser.close()
  },
]

// sleep stops a browser with signed-in pages, whose tokens expire meanwhile in one case.
async function sleep(profile) {
  const browser = await profile.start(4)
  await together([asleep, brief], async (site) => {
    await site.open(browser, 2)
    await site.login('alice')
    await site.are('online')
  })
  await together([asleep, brief], (site) => site.until(() => { globalThis.states.length = 0; return true }))
  await browser.stop()
}

// wake lets it go on once the server has ended all its connections.
async function wake({ browser }) {
  await fetch(stopped) // which is answered then
  browser.resume()
  await asleep.until(() => globalThis.states.includes('offline') && client.state === 'online')
  asleep.say('woke')
  await asleep.came()
  await asleep.users()
  await brief.are('expired')
  await brief.each('reasons', () => client.reason)
  await brief.login('alice')
  await brief.are('online')
  await browser.close()
}

const [first, second] = [new Profile(), new Profile()]
const timed = async (f, profile) => {
  const began = Date.now()
  await f(profile)
  console.error(`${kind}: ${Date.now() - began} ms`)
}
try {
  await timed(sleep, second)
  for (const run of runs) await timed(run, first)
  await timed(wake, second)
} finally {
  await first.remove()
  await second.remove()
}
process.exit()
