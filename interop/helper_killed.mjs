// A page that uses client/socketauth.js, in a browser that is killed and started again with its
// profile:
//
//   node helper_killed.mjs <Chromium or Firefox> <url>
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { print } from './peer.mjs'
import * as browsers from './process_browser.mjs'

const [kind, url] = process.argv.slice(2)
const folder = mkdtempSync(join(tmpdir(), 'profile-'))
const say = (event, ...args) => print({ socket: 'page', event, args })
const ready = () => print({ socket: 'client', event: 'ready', args: [] })
let browser, page

// open starts the browser with the page.
async function open() {
  // Until the network is back.
  while (!await fetch(url + '/page').then((answer) => answer.ok, () => false));
  browser = await browsers[kind].start(folder)
  page = await browser.open(url + '/page')
}

async function is(state) {
  await page.until((state) => globalThis.client?.state === state, state)
  say('is', state)
}

// comes prints the states through which the page has come to a state.
async function comes(state) {
  await page.until((state) => globalThis.client?.state === state, state)
  say('comes', await page.do(() => globalThis.states))
}

const login = (username) => page.do((username) => client.login({ username, password: 'secret' }), username)
const ask = async () => say('user', (await page.do(() => client.emitWithAck('who am I'))).user)

// isTold reports whether the server knows of all logouts. Until then the tokens are kept.
const isTold = () => new Promise((resolve) => {
  const open = indexedDB.open('socketauth', 1)
  open.onsuccess = () => {
    const request = open.result.transaction('tokens').objectStore('tokens').get('socketauth.token.ended')
    request.onsuccess = () => {
      open.result.close()
      resolve(request.result.length > 0 && request.result.every((end) => !end.token))
    }
  }
})

try {
  await open()
  await comes('signed-out')
  await login('alice')
  await is('online')
  await browser.kill() // right after the first login
  await open()
  await comes('online')
  await ask()
  await browser.close() // with alice's token in localStorage

  await open()
  await is('online')
  say('told', await page.do(() => client.logout()))
  await login('bob')
  await is('online')
  await browser.kill() // with another session's token in localStorage, which is dead
  await open()
  await comes('online')
  await ask()
  await browser.close() // with bob's token in localStorage

  await open()
  await is('online')
  ready() // to lose the connection
  await is('offline')
  say('told', await page.do(() => client.logout()))
  await browser.kill()
  ready() // to have the connection back
  await open()
  await comes('signed-out')
  await page.until(isTold)
  await browser.close()
} finally {
  await browser?.kill()
  rmSync(folder, { recursive: true, force: true })
}
process.exit()
