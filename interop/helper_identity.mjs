// Tabs that use client/socketauth.js for requests with the token, for claims that change and for
// proving again who the user is:
//
//   node helper_identity.mjs <scenario> <Chromium or Firefox> <url> [options as JSON]
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { print } from './peer.mjs'
import * as browsers from './process_browser.mjs'

const [scenario, kind, url, options = '{}'] = process.argv.slice(2)
const folder = mkdtempSync(join(tmpdir(), 'profile-'))
const say = (socket, event, ...args) => print({ socket, event, args })
let browser, step = 0

// next lets the Go test do its next step.
async function next() {
  say('client', 'ready')
  for (step++; !(await fetch(`${url}/step?${step}`)).ok;) await new Promise((resolve) => setTimeout(resolve, 20))
}

// open opens a tab, and waits until it is in a state.
async function open(name, state) {
  const tab = await browser.open(url + '/page')
  tab.is = async (state) => {
    await tab.until((state) => globalThis.client?.state === state, state)
    say(name, 'is', state)
  }
  tab.tell = async (f, ...args) => say(name, 'tells', await tab.do(f, ...args))
  await tab.is(state)
  return tab
}

// tabs opens five tabs that share a session.
async function tabs() {
  const all = [await open('tab 0', 'signed-out')]
  await all[0].do(login, 'alice')
  await all[0].is('online')
  for (let n = 1; n < 5; n++) all.push(await open('tab ' + n, 'online'))
  return all
}

// What runs in the page.
const login = (username) => client.login({ username, password: 'secret' })
const prove = (credentials) => client.reauthenticate(credentials).then(() => 'proved', (error) => error.code)
const session = async () => (await client.emitWithAck('who am I')).session
const role = () => client.emitWithAck('role')
const remove = () => client.emitWithAck('delete').catch(({ code, details }) => [code, Object.keys(details).sort()])
const removeByRequest = async () => {
  const response = await client.fetch('/api/delete', { method: 'DELETE' })
  return [response.status, (await response.json()).code]
}

const scenarios = {
  // loads is a page that cannot load the module of its requests at first.
  async loads() {
    const tab = await open('page', 'signed-out')
    await tab.do(login, 'alice')
    await tab.is('online')
    const ask = () => client.fetch('/api/me').then((response) => response.json(), (error) => error.code)
    await tab.tell(ask)
    await next() // lets it load
    await tab.tell(ask)
    await tab.tell(() => client.fetch('/elsewhere').then((response) => response.text()))
  },

  // refresh is a user with five tabs whose role changes, while the tabs go on asking.
  async refresh({ rounds }) {
    const all = await tabs()
    for (const tab of all) {
      await tab.do(() => {
        globalThis.failed = []
        globalThis.asking = setInterval(() => {
          const fail = (error) => failed.push(error.code)
          globalThis.asked = Promise.all([
            client.emitWithAck('role').catch(fail),
            client.fetch('/api/role').then(async (response) => response.ok || fail(await response.json()), fail),
            globalThis.asked,
          ])
        }, 100)
      })
    }
    for (let n = 0; n < rounds; n++) {
      await next() // the role has changed
      const roles = await Promise.all(all.map((tab) => tab.do(role)))
      const byRequest = await Promise.all(all.map((tab) => tab.do(() => client.fetch('/api/role').then((response) => response.json()))))
      say('client', 'roles', [...new Set([...roles, ...byRequest])])
      for (const tab of all) await tab.do(() => Promise.resolve(globalThis.asked).then(() => {})) // a request is repeated only once
    }
    for (const tab of all) {
      await tab.do(() => clearInterval(asking))
      await tab.tell(() => [states, failed])
    }
  },

  // requests is a user with five tabs whose connections are lost, and no websocket gets through.
  async requests({ rounds }) {
    const all = await tabs()
    await next() // the connections are lost
    for (const tab of all) await tab.is('offline')
    // Some answers get lost too.
    const ask = async () => {
      for (;;) {
        const response = await client.fetch('/api/role')
        if (response.ok) return response.json()
        if (response.status !== 401) return response.status
      }
    }
    for (let n = 0; n < rounds; n++) {
      await next() // the role has changed
      const roles = await Promise.all(all.map((tab) => tab.do(ask)))
      say('client', 'roles', [...new Set(roles)])
    }
    const again = async (credentials) => {
      for (;;) {
        const result = await client.reauthenticate(credentials).then(() => 'proved', (error) => error.code)
        if (result !== 'network') return result
      }
    }
    await all[0].tell(again, { username: 'alice', password: 'wrong' })
    await all[0].tell(again, { username: 'alice', password: 'secret' })
    await all[0].tell(removeByRequest)
    await all[3].tell(removeByRequest)
    await next() // the network is back
    for (const tab of all) {
      await tab.is('online')
      await tab.tell(role)
    }
  },

  // stepUp is a user with five tabs who is asked to prove again who they are.
  async stepUp() {
    const all = await tabs()
    const before = await all[0].do(session)
    await next() // all proofs until now are too old
    for (const tab of [all[0], all[4]]) {
      await tab.tell(remove)
      await tab.tell(removeByRequest)
    }
    await all[0].tell(prove, { username: 'alice', password: 'wrong' })
    await all[0].tell(prove, { username: 'bob', password: 'secret' })
    await all[0].tell(remove)
    await all[0].tell(prove, { username: 'alice', password: 'secret' })
    await all[0].tell(remove) // at once
    await all[0].tell(removeByRequest)
    for (const [n, tab] of all.entries()) { // soon
      await tab.until(() => client.emitWithAck('delete').then(() => true))
      say('tab ' + n, 'same session', before === await tab.do(session))
      await tab.tell(() => states)
    }
  },
}

try {
  browser = await browsers[kind].start(folder)
  await scenarios[scenario](JSON.parse(options))
  await browser.close()
} finally {
  await browser?.kill()
  rmSync(folder, { recursive: true, force: true })
}
process.exit()
