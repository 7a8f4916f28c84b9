// A user whose session is bound to the device, in a browser that is killed once, and a thief who has
// all that a script could copy there, in a browser of their own and in Node:
//
//   node helper_bound.mjs <Chromium or Firefox> <url> <presentations by Node>
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { print } from './peer.mjs'
import * as browsers from './process_browser.mjs'
import { attack, dump, parse } from './thief.mjs'

const [kind, url, count] = process.argv.slice(2)
const folders = ['owner', 'thief'].map((name) => mkdtempSync(join(tmpdir(), name + '-')))
const say = (socket, event, ...args) => print({ socket, event, args })
// Firefox makes websockets wait for up to a minute where earlier ones have failed.
const prefs = { 'network.websocket.delay-failed-reconnects': false }
let owner, thief, step = 0

// next lets the Go test do its next step.
async function next() {
  say('client', 'ready')
  const done = () => fetch(`${url}/step?${step}`).then(({ ok }) => ok, () => false)
  for (step++; !await done();) await new Promise((resolve) => setTimeout(resolve, 20))
}

// open opens a tab, and waits until it is in a state.
async function open(browser, name, state, query = '') {
  const tab = await browser.open(url + '/page' + query)
  tab.is = async (state) => {
    await tab.until((state) => globalThis.client?.state === state, state)
    say(name, 'is', state)
  }
  tab.tell = async (f, ...args) => say(name, 'tells', await tab.do(f, ...args))
  await tab.is(state)
  return tab
}

// What runs in the page.
const login = (username) => client.login({ username, password: 'secret' })
const ask = async () => [client.bound, (await client.emitWithAck('who am I')).user, await (await client.fetch('/api/me')).json()]
const role = async () => (await client.fetch('/api/role')).json()
const take = () => globalThis.loot.splice(0)

async function reload(tab) {
  await tab.do(() => {
    globalThis.isOld = true
    setTimeout(() => location.reload())
  })
  await tab.until(() => globalThis.client && !globalThis.isOld)
}

try {
  owner = await browsers[kind].start(folders[0], { prefs })
  const first = await open(owner, 'first', 'signed-out')
  await first.tell((username) => client.login({ username, password: 'secret' }).catch((error) => error.code), 'alice')
  await next() // the code that makes proofs can be loaded
  await first.do(login, 'alice')
  await first.is('online')
  await owner.kill() // right after the login
  owner = await browsers[kind].start(folders[0], { prefs })
  const tabs = []
  for (let n = 0; n < 5; n++) tabs.push(await open(owner, 'tab ' + n, 'online'))
  const loot = []
  const note = async (tab) => loot.push(...await tab.do(take))
  await Promise.all(tabs.map(async (tab) => {
    await note(tab)
    await reload(tab)
    await tab.is('online')
    await tab.tell(ask)
    await note(tab)
  }))
  await next() // the server is restarted
  for (const tab of tabs) await tab.is('online')
  for (const tab of tabs) await tab.tell(ask)
  for (const tab of tabs) await note(tab)
  const [tab, ...others] = tabs
  for (const other of others) await other.do(() => client.close())
  for (let n = 0; n < 3; n++) { // the role changes, so that the token is replaced
    await next()
    await tab.tell(role)
  }
  await next() // no websocket gets through
  await tab.is('offline')
  await next() // and the role changes
  await tab.tell(role)
  await next() // all is well again
  await tab.is('online')
  await tab.tell(ask)
  await note(tab)
  const copy = await tab.do(dump)
  say('tab 0', 'keys', copy.keys.length, copy.material)
  const stolen = parse([...loot, JSON.stringify(copy)])
  say('thief', 'has', stolen.tokens.length > 5, stolen.proofs.length > 10)
  await tab.do(() => { for (const list of [states, notices]) list.length = 0 })

  thief = await browsers[kind].start(folders[1], { prefs })
  // A machine whose clock is wrong is as good as any other for its own session.
  for (const [user, skew] of [['bob', 86_400_000], ['carol', -86_400_000]]) {
    const own = await open(thief, user, 'signed-out', '?skew=' + skew)
    await own.do(login, user)
    await own.is('online')
    await own.tell(ask)
    await own.do(() => client.logout())
    await own.is('signed-out')
    await own.do(() => client.close()) // it would see what the next tab stores
  }
  const other = await open(thief, 'thief', 'signed-out')
  await other.do(({ localStorage: items }) => { for (const [key, value] of Object.entries(items)) localStorage.setItem(key, value) }, copy)
  await reload(other)
  await other.until(() => globalThis.client?.reason === 'key_lost')
  await other.tell(() => [states.at(-1), client.token])
  say('thief', 'gets', ...await other.do(attack, { url, count: 100, ...stolen }))
  globalThis.WebSocket = createRequire(import.meta.resolve('socket.io-client-4.8.4'))('ws')
  say('thief', 'gets', ...await attack({ url, count: Number(count), ...stolen }))
  await thief.close()

  await tab.tell(ask)
  await tab.tell(() => [states, notices])
  await next()
  await tab.tell(role)
  await tab.tell(() => client.logout())
  await owner.close()
} finally {
  await owner?.kill()
  await thief?.kill()
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
}
process.exit()
