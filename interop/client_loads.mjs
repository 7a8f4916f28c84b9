// A page that uses client/socketauth.js, and cannot load its other modules at first:
//
//   node client_loads.mjs <Chromium or Firefox> <url>
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { print } from './peer.mjs'
import * as browsers from './process_browser.mjs'
import { isTold } from './told.mjs'

const [kind, url] = process.argv.slice(2)
const folder = mkdtempSync(join(tmpdir(), 'profile-'))
const say = (event, ...args) => print({ socket: 'page', event, args })
let browser

try {
  browser = await browsers[kind].start(folder)
  const page = await browser.open(url + '/page')
  const is = async (state) => {
    await page.until((state) => globalThis.client?.state === state, state)
    say('is', state)
  }
  await is('signed-out')
  await page.do(() => client.login({ username: 'alice', password: 'secret' }))
  await is('online')
  print({ socket: 'client', event: 'ready', args: [] }) // to lose the network
  await is('offline')
  say('told', await page.do(() => client.logout()), await page.do(() => [client.state, client.reason, client.token, localStorage.getItem('socketauth.token')]))
  print({ socket: 'client', event: 'ready', args: [] }) // to have it back
  await page.until(isTold)
  say('is', 'told')

  // A page without Web Locks.
  say('without locks', ...await page.do(async () => {
    const { connect } = await import('/socketauth/socketauth.js')
    const states = []
    const other = connect({ key: 'other', locks: null, minDelay: 200, maxDelay: 1000 })
    other.on('state', (state, reason) => states.push(reason ? `${state}: ${reason}` : state))
    await other.login({ username: 'bob', password: 'secret' })
    return [states.includes('offline: network'), other.state]
  }))
  await browser.close()
} finally {
  await browser?.kill()
  rmSync(folder, { recursive: true, force: true })
}
process.exit()
