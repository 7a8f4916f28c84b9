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
const ready = () => say('client', 'ready')
let browser

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

const login = (username) => client.login({ username, password: 'secret' }) // runs in the page

const scenarios = {
  // loads is a page that cannot load the module of its requests at first.
  async loads() {
    const tab = await open('page', 'signed-out')
    await tab.do(login, 'alice')
    await tab.is('online')
    const ask = () => client.fetch('/api/me').then((response) => response.json(), (error) => error.code)
    await tab.tell(ask)
    ready() // to let it load
    await tab.until(() => fetch('/loads').then((response) => response.ok))
    await tab.tell(ask)
    await tab.tell(() => client.fetch('/elsewhere').then((response) => response.text()))
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
