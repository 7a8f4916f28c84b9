// Tabs that use client/socketauth.js, in Chromium:
//
//   node helper_browser.mjs <scenario> <url> [options as JSON]
//
// What happens is printed as lines, like those of client.mjs, which the Go tests check.
import { launch } from './chromium.mjs'
import { print } from './peer.mjs'

const [scenario, url, options = '{}'] = process.argv.slice(2)
const page = url + '/page'
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

class Tab {
  static async open(name, context, at = page) {
    const tab = new Tab(name, await context.newPage())
    await tab.page.goto(at)
    return tab
  }

  constructor(name, page) {
    Object.assign(this, { name, page })
    page.setDefaultTimeout(30_000)
    page.on('pageerror', (error) => this.say('page error', error.message))
  }

  say(event, ...args) {
    print({ socket: this.name, event, args })
  }

  // is waits for a state, and prints it.
  async is(state) {
    await this.page.waitForFunction((state) => globalThis.client?.state === state, state, { polling: 20 })
    this.say('is', state)
  }

  do(f, ...args) {
    return this.page.evaluate(f, ...args)
  }

  async login(username = 'alice') {
    await this.do((username) => client.login({ username, password: 'secret' }), username)
  }

  async ask() {
    this.say('user', (await this.do(() => client.emitWithAck('who am I'))).user)
  }

  async tell(f) {
    this.say('tells', await this.do(f))
  }
}

const ready = () => print({ socket: 'client', event: 'ready', args: [] })
const browser = await launch()
const context = async (script) => {
  const context = await browser.newContext()
  if (script) await context.addInitScript(script)
  return context
}

const scenarios = {
  // readme is a page that runs the lines of the README by itself, up to the logout.
  async readme() {
    const tab = await Tab.open('page', await context())
    const status = tab.page.locator('#status')
    await status.getByText('signed-out: logged_out').waitFor()
    tab.say('status', await status.textContent())
  },

  // react is a React page that is opened by a link with a code and keeps its token in memory.
  async react() {
    const body = JSON.stringify({ username: 'alice', password: 'secret' })
    const answer = await fetch(url + '/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
    const tab = await Tab.open('tab', await context(), new URL((await answer.json()).url, url).href)
    const status = tab.page.locator('#status')
    const tell = () => tab.tell(() => [globalThis.made, document.getElementById('status').textContent])
    await tab.is('online')
    await status.getByText('online').waitFor()
    await tell()
    await tab.ask()
    await tab.do(() => globalThis.leave())
    await status.waitFor({ state: 'detached' })
    await tab.do(() => globalThis.render())
    await tab.is('online')
    await status.getByText('online').waitFor()
    await tell()
    await tab.do(() => client.logout())
    await tab.is('signed-out')
    await tab.do(() => globalThis.leave())
    await status.waitFor({ state: 'detached' })
    await tab.do(() => globalThis.render())
    await tab.is('signed-out')
  },

  // vue is a Vue page, whose client is wrapped in a proxy.
  async vue() {
    const tab = await Tab.open('tab', await context())
    await tab.login()
    await tab.is('online')
    await tab.ask()
    await tab.page.locator('#status').getByText('online true').waitFor()
    await tab.tell(() => [isProxy(client), client.emit('nothing'), client.token !== null, document.getElementById('status').textContent, client.snapshot === client.snapshot, client.user])
    await tab.tell(async () => {
      await other.value.login({ username: 'alice', password: 'secret' })
      return [(await other.value.emitWithAck('who am I')).user, other.value.state, other.value.shared]
    })
    await tab.tell(async () => [await client.logout(), await other.value.logout(), client.token])
  },

  // importMap is a page with a part of React and one of Vue, which finds their packages by an import
  // map.
  async importMap() {
    const tab = await Tab.open('tab', await context())
    const shows = async (text) => {
      await tab.page.waitForFunction((text) => {
        const found = [...document.querySelectorAll('output')]
        return found.length === 2 && found.every((output) => output.textContent === text)
      }, text, { polling: 20 })
      await tab.tell(() => [...document.querySelectorAll('output')].map((output) => output.textContent))
    }
    await shows('signed-out ')
    await tab.login()
    await shows('online alice')
    for (const text of ['one', 'two']) await tab.do((text) => client.emitWithAck('speak', 'user', 'alice', text), text)
    await shows('online alice one two')
    await tab.do(() => client.logout())
    await shows('signed-out  one two')
  },

  // snapshots are two tabs that show the client's snapshot, with the client's own Socket.IO and with
  // socket.io-client 2.5.0.
  async snapshots() {
    for (const version of ['own', '2.5.0']) {
      const home = await context()
      const open = (name) => Tab.open(`${version}, ${name}`, home, `${page}?${version}`)
      const until = (tab, role) => tab.page.waitForFunction((role) => client.claims?.role === role, role, { polling: 20 })
      const one = await open('one')
      await one.is('signed-out')
      await one.tell(() => client.ready().catch(({ code, details }) => [code, details.reason ?? null, client.snapshot.user]))
      await one.login()
      await one.tell(async () => [await client.ready() === client.snapshot, client.user, client.claims])
      const two = await open('two')
      await two.tell(async () => [(await client.ready()).user, client.claims])
      await two.do(() => client.emitWithAck('nothing')) // the server knows that it is in
      await one.do(() => { globalThis.before = client.claims })
      ready() // for another role
      for (const tab of [one, two]) await until(tab, 'writer')
      await one.tell(() => [before.role, Object.isFrozen(client.claims), client.state])

      await two.do(() => {
        globalThis.heard = []
        globalThis.first = []
        globalThis.undo = client.onAny((...event) => heard.push(event.map((part) => typeof part)))
        client.once('news', (text) => first.push(text))
        client.once('question', (text, reply) => reply(text + '!', { of: 'tab two' }))
      })
      await one.do(async () => {
        for (const text of ['a', 'b']) await client.emitWithAck({ event: 'speak', timeout: 5000 }, 'user', client.user, text)
      })
      await two.tell(() => client.emitWithAck('ask me', 'who'))
      await two.tell(() => [undo(), first, heard].slice(1))
      await two.tell(async () => {
        const why = new Error('the dialog was closed')
        const dialog = new AbortController()
        const settles = (promise) => promise.catch((error) => error === why ? 'aborted' : error.code)
        const waiting = [{ event: 'wait', timeout: 200 }, { event: 'wait', signal: dialog.signal }].map((event) => settles(client.emitWithAck(event)))
        const late = await waiting[0]
        dialog.abort(why)
        return [late, await waiting[1], await client.emitWithAck({ event: 'echo', signal: new AbortController().signal }, 'still here')]
      })

      await two.do(() => { shown.length = 0 })
      await one.tell(() => client.logout())
      await two.is('signed-out')
      await two.tell(() => shown.splice(0))
      await one.login('bob')
      await two.is('online')
      await two.tell(() => {
        client.close()
        return [client.snapshot.state, client.user, shown.at(0), shown.slice(-2)]
      })
      await home.close()
    }
  },

  // cached is a page that is opened twice by one browser.
  async cached() {
    const all = await context()
    for (const name of ['first', 'second']) {
      const tab = await Tab.open(name, all)
      await tab.is('signed-out')
      await tab.page.close()
    }
  },

  // tabs are opened, closed and reloaded at any time, lose their connections, and come back after
  // two restarts of the server.
  async tabs({ count, locks }) {
    const together = await context(locks ? undefined : () => { delete Navigator.prototype.locks })
    const tabs = await Promise.all(Array.from({ length: count }, (_, n) => Tab.open('tab ' + n, together)))
    await tabs[0].is('signed-out')
    await tabs[0].tell(() => navigator.locks !== undefined)
    const all = (state) => Promise.all(tabs.map((tab) => tab.is(state)))
    await tabs.at(-1).login()
    await all('online') // without a reload
    await Promise.all(tabs.map(async (tab) => {
      for (let n = 0; n < 2; n++) {
        await sleep(500 * Math.random())
        await tab.page.reload()
      }
    }))
    await all('online')
    for (let n = 0; n < 2; n++) {
      ready() // to lose the connection, and then for a restart
      await all('offline')
      ready()
      await all('online')
    }
    for (const tab of tabs) await tab.ask()
    await tabs[0].tell(() => client.logout())
    await all('signed-out')
    for (const tab of tabs) await tab.tell(() => client.reason)
    await Promise.all(tabs.map((tab) => tab.page.reload()))
    await all('signed-out')
    await tabs[0].tell(() => localStorage.getItem('socketauth.token'))
  },

  // back is a visitor who opens a link with a code, reloads the page, leaves it, comes back, and
  // opens the link once more.
  async back() {
    const home = await context()
    const tab = await Tab.open('tab', home)
    const link = await tab.do(async () => {
      const body = JSON.stringify({ username: 'alice', password: 'secret' })
      const answer = await fetch('/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
      return (await answer.json()).url
    })
    await tab.page.goto('about:blank')
    await tab.page.goto(link)
    await tab.tell(() => location.pathname + location.search + location.hash)
    await tab.page.reload() // maybe before it is online
    await tab.page.reload()
    await tab.is('online')
    await tab.page.goto(url + '/page?2')
    await tab.is('online')
    await tab.page.goBack()
    await tab.is('online')
    await tab.page.reload()
    await tab.is('online')
    const again = await Tab.open('again', home, link)
    await again.is('online')
    await again.ask()
    const forged = `x.${btoa(JSON.stringify({ sid: 'x', token_use: 'code' }))}.x`
    await again.page.goto(page + '?3#code=' + forged) // anybody can send one
    await again.page.waitForFunction(() => location.hash === '' && client.token !== null)
    await again.is('online')
    await again.ask()
    await tab.do((hash) => { location.hash = hash }, new URL(link).hash)
    await tab.page.waitForFunction(() => location.hash === '')
    await tab.is('online')
    await tab.ask()

    const other = await Tab.open('other', await context())
    await other.login('bob') // the server has an AppURL: it is this page
    await other.is('online')
    await other.ask()
    await other.tell(() => location.hash)
  },

  // away are two tabs that have no network when their token expires.
  async away({ ms }) {
    const home = await context()
    const tabs = [await Tab.open('tab', home), await Tab.open('other', home)]
    await tabs[0].login()
    for (const tab of tabs) await tab.is('online')
    ready() // to lose the connection
    for (const tab of tabs) await tab.is('offline')
    await sleep(ms)
    ready() // for the network to be back
    for (const tab of tabs) await tab.page.waitForFunction(() => !['online', 'offline'].includes(client.state))
    for (const tab of tabs) await tab.tell(() => [client.state, client.reason])
  },

  // clock is a page whose machine wakes up before its token expires.
  async clock({ ms }) {
    const tab = await Tab.open('tab', await context())
    await tab.login()
    await tab.is('online')
    await tab.do(() => {
      globalThis.renewed = 0
      client.on('notice', (notice) => { if (notice === 'renewed') globalThis.renewed++ })
    })
    const wake = (ms) => {
      const { now } = Date
      Date.now = () => now() + ms
      document.dispatchEvent(new Event('visibilitychange'))
    }
    await tab.do(wake, -3600_000)
    await tab.do(wake, 3600_000 + ms)
    await tab.page.waitForFunction(() => globalThis.renewed > 0)
    await tab.tell(() => [globalThis.renewed, client.state])
  },

  // storage are pages whose storage is refused, is full from the start, or becomes full.
  async storage() {
    const refuse = () => {
      Object.defineProperty(globalThis, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })
    }
    const fill = () => {
      let size = 1 << 20
      for (let n = 0; size > 0; n++) {
        try {
          localStorage.setItem('filling ' + n, 'x'.repeat(size))
        } catch {
          size >>= 1
        }
      }
    }
    const unlocked = () => { delete Navigator.prototype.locks }
    const cases = { refused: [refuse], full: [fill], 'full, no locks': [fill, unlocked], later: [], 'later, no locks': [unlocked] }
    for (const [name, scripts] of Object.entries(cases)) {
      const home = await context()
      for (const script of scripts) await home.addInitScript(script)
      const tab = await Tab.open(name, home)
      await tab.login()
      await tab.is('online')
      if (name.startsWith('later')) await tab.do(fill)
      await tab.page.reload()
      await tab.is('online')
      await tab.tell(() => client.shared)
      if (name === 'full') { // a duplicated tab has a copy of sessionStorage
        const [popup] = await Promise.all([tab.page.waitForEvent('popup'), tab.do(() => { open(location.href) })])
        const copy = new Tab('copy', popup)
        await copy.is('signed-out')
        await copy.login('bob')
        await copy.is('online')
        await copy.ask()
      }
      await tab.page.reload()
      await tab.is('online')
      await tab.ask()
      await tab.tell(() => client.logout())
      await tab.is('signed-out')
      await tab.login()
      await tab.is('online')
    }
  },

  // devices are two browsers of one user. One ends the other's session.
  async devices() {
    const home = await context()
    const tabs = [await Tab.open('tab 0', home), await Tab.open('tab 1', home)]
    await tabs[0].login()
    const other = await Tab.open('other', await context())
    await other.login()
    for (const tab of [...tabs, other]) await tab.is('online')
    tabs[0].say('session', (await tabs[0].do(() => client.emitWithAck('who am I'))).session)
    ready() // to be revoked
    for (const tab of tabs) await tab.is('signed-out')
    await tabs[0].tell(() => localStorage.getItem('socketauth.token'))
    await other.ask()
  },
}

await scenarios[scenario](JSON.parse(options))
await browser.close()
