// Pages that use the client, in Node:
//
//   node helper.mjs <scenario> <version of socket.io-client, or "own"> <url> [options as JSON]
//
// Each state of a page is printed as a line, and so is what the page does. The Go test of the
// scenario's name checks them.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  Distant, Files, io, KEY, Locks, machine, Memory, Page, pattern, random, sleep, WebSocket,
} from './helper_page.mjs'
import { print } from './peer.mjs'

const [scenario, , url, options = '{}'] = process.argv.slice(2)

const ready = () => print({ socket: 'client', event: 'ready', args: [] })
const report = (...args) => print({ socket: 'client', event: 'report', args })
const goes = (page) => page.next('news') // the Go test has done its part

const scenarios = {
  // life is one page, from a wrong password to a logout.
  async life() {
    const page = new Page('page')
    await page.is('signed-out')
    await page.login('alice', 'wrong').catch((error) => page.say('error', error.code))
    await page.login()
    await page.is('online')
    await page.ask('echo', 'hello')
    await page.ask('refuse')
    await page.ask('no such event')
    await page.ask('binary', { size: 1000 }, pattern(1000), pattern(3))
    page.reload()
    await page.is('online')
    await page.ask('who am I')
    ready() // to lose the connection
    await page.is('offline')
    page.say('sent', page.client.emit('echo', 'lost'))
    await page.ask('echo', 'lost')
    await page.is('online')
    ready() // for the server to be restarted
    await page.is('offline')
    await page.is('online')
    await page.ask('who am I')
    page.say('told', await page.client.logout())
    page.say('left', page.kept, page.client.token)
    page.reload()
    await sleep(50)
    page.client.close()
  },

  // again is a login in two tabs where another user is signed in.
  async again() {
    const page = new Page('page')
    await page.is('signed-out')
    await page.login()
    await page.is('online')
    const tab = new Page('tab', { storage: page.storage, locks: page.locks })
    await tab.next('online')
    await page.login('bob')
    await tab.next('online') // the server has told it that its session is over
    for (const each of [page, tab]) {
      await each.ask('who am I')
      each.client.close()
    }
  },

  // files is an app that keeps its token in files. Its client is made twice, it is restarted, loses
  // its connection, and logs out.
  async files() {
    const folder = mkdtempSync(join(tmpdir(), 'storage-'))
    try {
      let storage = new Files(folder)
      const page = new Page('page', { storage, locks: undefined })
      await page.is('signed-out')
      await page.login()
      page.reload() // as a component that is made twice
      await page.is('online')
      await page.ask('who am I')
      const other = new Page('other', { storage, locks: undefined })
      await other.is('online')
      other.client.close()
      page.client.close()
      page.storage = storage = new Files(folder) // as in a new process
      page.open()
      await page.is('online')
      ready() // to lose the connection
      await page.is('offline')
      await page.is('online')
      page.say('told', await page.client.logout())
      page.say('left', readdirSync(folder))
      page.reload()
      await page.is('signed-out')
      page.client.close()
    } finally {
      rmSync(folder, { recursive: true })
    }
  },

  // shelves are tabs that share a storage of files. Each has a cache of its own, and they take
  // turns by locks.
  async shelves() {
    const folder = mkdtempSync(join(tmpdir(), 'storage-'))
    try {
      const locks = new Locks()
      const open = async (name) => new Page(name, { storage: new Files(folder), locks })
      const tabs = [await open('tab 0')]
      await tabs[0].is('signed-out')
      await tabs[0].login()
      tabs.push(await open('tab 1'), await open('tab 2'))
      for (const tab of tabs) await tab.is('online')
      for (let n = 0; n < 3; n++) {
        await Promise.all(tabs.map(async (tab) => {
          await random(50)
          tab.reload()
          await tab.is('online')
        }))
      }
      for (const tab of tabs) await tab.ask('who am I')
      await tabs[1].client.logout()
      for (const tab of tabs) {
        await tab.is('signed-out')
        tab.say('reason', tab.client.reason)
        tab.client.close()
      }
      report(readdirSync(folder))
    } finally {
      rmSync(folder, { recursive: true })
    }
  },

  // renewal is a page that is open for three lifetimes of a token while its wall clock is set back.
  async renewal({ stay }) {
    const page = new Page('page')
    await page.is('signed-out')
    await page.login()
    await page.is('online')
    const { now } = Date
    Date.now = () => now() - 3600_000
    await sleep(stay)
    await page.ask('who am I')
    page.client.close()
  },

  // expiry is a page that was closed until its token had expired.
  async expiry({ life }) {
    const page = new Page('page')
    await page.is('signed-out')
    await page.login()
    await page.is('online')
    page.client.close()
    await sleep(life)
    page.open()
    await page.is('expired')
    page.say('left', page.kept)
    await page.login()
    await page.is('online')
    page.client.close()
  },

  // asleep is a page whose machine sleeps for a moment, and then until after the renewal is due.
  async asleep() {
    const sleepFor = machine()
    const page = new Page('page')
    await page.is('signed-out')
    await page.login()
    await page.is('online')
    sleepFor(10_000)
    await sleep(100)
    page.say('replaced', page.heard.some((h) => h.event === 'renewed'))
    sleepFor(33_000)
    page.say('renewed', await Promise.race([page.next('renewed').then(() => true), sleep(10_000)]) ?? false)
    page.client.close()
  },

  // revoked is a page whose session is ended from another device, and one whose session is ended
  // after another user's token was stored in its place.
  async revoked() {
    const page = new Page('page')
    const other = new Page('other')
    await Promise.all([page.is('signed-out'), other.is('signed-out')])
    await page.login()
    await other.login('bob')
    await Promise.all([page.is('online'), other.is('online')])
    await page.ask('who am I')
    await other.ask('who am I')
    const carol = new Page('carol')
    await carol.is('signed-out')
    await carol.login('carol')
    carol.client.close()
    other.storage.setItem(KEY, carol.kept) // by a tab that has not told the server of bob's end
    ready() // both to be revoked
    await page.is('signed-out')
    page.say('left', page.kept)
    await other.is('offline')
    await other.is('online') // as carol
    await other.ask('who am I')
    page.client.close()
    other.client.close()
  },

  // dead is a token that the server refuses for good.
  async dead() {
    const storage = new Memory()
    storage.setItem(KEY, 'garbage')
    const garbage = new Page('garbage', { storage })
    await garbage.next('refused')
    await garbage.is('signed-out')
    garbage.say('left', garbage.kept)
    garbage.client.close()
  },

  // unavailable is a server whose store cannot be reached for some time, at a connect and at a
  // renewal.
  async unavailable() {
    const sleepFor = machine()
    const page = new Page('page')
    await page.is('signed-out')
    const loggedIn = page.login()
    for (const round of [1, 2]) {
      if (round === 2) sleepFor(33_000)
      const { code, retryAfter } = await page.next('refused')
      page.say('refused', code, retryAfter, page.kept !== null)
      ready()
      if (round === 1) await loggedIn // it was delayed, and has not failed
      await page.is('online')
      if (round === 2) await page.next('renewed')
      await page.ask('echo', 'in')
      ready()
      if (round === 1) await goes(page)
    }
    page.client.close()
  },

  // crowded is a user who has too many connections.
  async crowded() {
    const first = new Page('first')
    const second = new Page('second')
    await Promise.all([first.is('signed-out'), second.is('signed-out')])
    await first.login()
    await first.is('online')
    await second.login().catch((error) => second.say('login', error.code, error.retryAfter))
    const { code, retryAfter } = await second.next('refused')
    second.say('refused', code, retryAfter, second.kept !== null)
    await second.is('offline')
    await sleep(1500) // thirty times its own delay
    second.say('told', await second.client.logout())
    second.client.close()
    first.client.close()
  },

  // banned is a user whom OnAuthenticated refuses, and another one who logs in after that.
  async banned() {
    const page = new Page('page')
    await page.is('signed-out')
    await page.login().catch((error) => page.say('login', error.code))
    await page.is('offline')
    page.say('reason', page.client.reason)
    page.say('told', await page.client.logout())
    await page.login('bob')
    page.say('is', page.client.state)
    await page.ask('who am I')
    page.client.close()
  },

  // lost is a page whose connection breaks several times, when a token is offered and when it is
  // acknowledged.
  async lost() {
    let breaks = 6
    const storage = new Memory()
    const breaking = (socket, close) => {
      const on = socket.on.bind(socket)
      socket.on = (event, f) => on(event, event !== 'authenticated' ? f : (token, acknowledge) => {
        if (breaks === 0) return f(token, acknowledge)
        if (breaks-- % 2) return close() // before it is stored
        f(token, () => close()) // before it is acknowledged
      })
      return socket
    }
    const page = new Page('page', io
      ? { storage, io: (origin, options) => {
          const socket = io(origin, options)
          return breaking(socket, () => socket.io.engine.close())
        } }
      : { storage, WebSocket: class extends WebSocket {
          set onmessage(f) {
            super.onmessage = (event) => {
              if (breaks > 0 && String(event.data).includes('"authenticated"')) {
                if (breaks-- % 2) return this.terminate()
                this.send = () => this.terminate()
              }
              f(event)
            }
          }
        } })
    await page.is('signed-out')
    await page.login()
    while (breaks > 0) await sleep(10)
    await page.is('online')
    await sleep(100)
    await page.is('online')
    report(breaks)
    await page.ask('echo', 'in')
    page.client.close()
  },

  // tabs share a storage, with locks or without, while they are reloaded, lose their connections,
  // and the server is restarted.
  async tabs({ count, locks, rounds, restarts, patient }) {
    const shared = { storage: new Distant(locks ? 20 : 40), locks: locks ? new Locks() : null, quiet: true }
    const tabs = Array.from({ length: count }, (_, n) => {
      return new Page('tab ' + n, { ...shared, storage: shared.storage.another?.() ?? shared.storage })
    })
    const all = (state) => Promise.all(tabs.map((tab) => tab.is(state)))
    await all('signed-out')
    await tabs[0].login()
    await tabs[0].is('online')
    await sleep(100)
    for (const tab of tabs.slice(1)) tab.reload() // there are no storage events here
    await all('online')
    for (let round = 0; round < rounds; round++) {
      await Promise.all(tabs.map(async (tab) => {
        await random(300)
        if (patient) await tab.is('online') // so that no presentation is interrupted
        if (Math.random() < 0.7) tab.reload()
        await random(100)
        if (patient) await tab.is('online')
        if (Math.random() < 0.5) tab.reload()
      }))
      await all('online')
    }
    for (let n = 0; n < restarts; n++) {
      ready() // to lose the connection, or for a restart
      await Promise.all(tabs.map((tab) => tab.next('offline')))
      await all('online')
      for (const tab of tabs) tab.heard.length = 0
    }
    for (const tab of tabs) await tab.ask('who am I')
    await tabs.at(-1).client.logout()
    await all('signed-out')
    for (const tab of tabs) tab.say('signed-out', tab.client.reason)
    for (const tab of tabs) tab.client.close()
    await sleep(100)
    report(shared.storage.getItem(KEY))
  },

  // refresh are five tabs whose user's role changes, and who proves again who they are in one of
  // them.
  async refresh({ locks, rounds }) {
    const shared = { storage: new Distant(locks ? 20 : 40), locks: locks ? new Locks() : null, quiet: true }
    const tabs = Array.from({ length: 5 }, (_, n) => {
      return new Page('tab ' + n, { ...shared, storage: shared.storage.another() })
    })
    const all = (state) => Promise.all(tabs.map((tab) => tab.is(state)))
    await all('signed-out')
    await tabs[0].login()
    await tabs[0].is('online')
    await sleep(100)
    for (const tab of tabs.slice(1)) tab.reload() // there are no storage events here
    await all('online')
    for (const { client } of tabs) await client.emitWithAck('role') // the server knows that they are in
    // A tab whose presentation is interrupted, as on a busy machine without locks, connects again.
    const role = async ({ client }) => {
      for (;;) {
        const reply = await client.emitWithAck('role').catch(() => undefined)
        if (reply !== undefined) return reply
        await sleep(20)
      }
    }
    for (let n = 0; n < rounds; n++) {
      ready() // for the role to change
      while (!(await fetch(`${url}/step?${n + 1}`)).ok) await sleep(20)
      const roles = await Promise.all(tabs.map(role))
      const response = await tabs[n % 5].client.fetch('/api/role')
      print({ socket: 'client', event: 'roles', args: [[...new Set([...roles, await response.json()])]] })
      await sleep(100) // until all see what was stored last
    }
    await tabs[2].client.reauthenticate({ username: 'alice', password: 'secret' })
    for (const tab of tabs) await tab.ask('who am I')
    for (const tab of tabs) tab.client.close()
  },

  // stolen is a tab that loses its turn while it waits for an answer. It must not change the
  // storage.
  async stolen({ early }) {
    const late = []
    const slow = (holds) => class extends WebSocket {
      set onmessage(f) {
        super.onmessage = (event) => {
          if (!holds || !String(event.data).includes('"authenticated"')) return f(event)
          holds = false
          late.push(() => f(event))
        }
      }
    }
    const shared = { storage: new Memory(), locks: null }
    const frozen = new Page('frozen', { ...shared, WebSocket: slow(true) })
    await frozen.is('signed-out')
    const loggedIn = frozen.login()
    while (late.length < 1) await sleep(10)
    // As if another tab had taken it for frozen.
    shared.storage.setItem(KEY + '.turn', '-'.repeat(12))
    const other = new Page('other', { ...shared, WebSocket: slow(early) })
    if (early) while (late.length < 2) await sleep(10) // what it presented is still in the storage
    else await other.is('online')
    const token = shared.storage.getItem(KEY)
    late[0]()
    report(shared.storage.getItem(KEY) === token)
    late[1]?.()
    await other.is('online')
    await frozen.is('offline')
    await frozen.is('online')
    await loggedIn
    await other.ask('who am I')
    await frozen.ask('who am I')
    frozen.client.close()
    other.client.close()
  },

  // full are pages whose storage is refused, is full from the start, or becomes full.
  async full() {
    const refuse = () => { throw new Error('SecurityError') }
    const refused = new Page('refused', { storage: { getItem: refuse, setItem: refuse, removeItem: refuse } })
    const full = new Page('full', { storage: Object.assign(new Memory(), { setItem: refuse }) })
    const filling = new Page('filling', { locks: null })
    for (const page of [refused, full, filling]) {
      await page.is('signed-out')
      await page.login()
      await page.is('online')
      if (page === filling) {
        const { storage } = page
        const setItem = storage.setItem.bind(storage)
        storage.setItem = (key, value) => {
          if (value.length > (storage.getItem(key)?.length ?? 0) || key === KEY && value !== '') refuse()
          setItem(key, value)
        }
      }
      ready() // to lose the connection
      await page.is('offline')
      await page.is('online')
      await page.ask('who am I')
      page.say('shared', page.client.shared, page.storage === refused.storage ? null : page.storage.getItem(KEY))
      page.say('notices', page.heard.filter((h) => h.event.startsWith('storage')).map((h) => h.event))
      await page.client.logout()
      await page.login() // nobody is locked out
      await page.is('online')
      page.client.close()
    }
  },

  // twoUsers are two users of one storage. A connection presents only tokens of its own session.
  async twoUsers() {
    const sleepFor = machine()
    const alice = new Page('alice')
    await alice.is('signed-out')
    await alice.login()
    await alice.is('online')
    const bob = new Page('bob')
    await bob.is('signed-out')
    await bob.login('bob')
    await bob.is('online')
    await bob.ask('who am I')
    bob.client.close()
    alice.storage.setItem(KEY, bob.kept) // by a tab that could not tell the server of alice's end
    alice.heard.length = 0
    sleepFor(33_000)
    await alice.next('connecting') // at her renewal
    await alice.is('online')
    await alice.ask('who am I')
    alice.client.close()
  },
}

await scenarios[scenario](JSON.parse(options))
process.exit()
