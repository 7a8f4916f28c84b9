// A page of Next.js, from its development server:
//
//   node next.mjs <folder with the page> <port for Next.js> <url of the app>
//
// The app passes on to Next.js what it does not answer itself.
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import next from 'next'
import { launch } from '../chromium.mjs'
import { code, Tab } from './tab.mjs'

const [folder, port, url] = process.argv.slice(2)

// Next.js asks npm's registry whether it is the newest version. The test does without.
const { fetch } = globalThis
globalThis.fetch = async (input, init) => {
  if (String(input).startsWith('https://registry.npmjs.org/')) throw new TypeError('no network')
  return fetch(input, init)
}

// What Next.js prints is no line.
const { stdout, stderr } = process
const write = stdout.write.bind(stdout)
stdout.write = (text, ...rest) => text.startsWith('{"socket":') ? write(text, ...rest) : stderr.write(text, ...rest)

// Next.js would catch what fails here, and go on.
const failed = (error) => {
  console.error(error)
  process.exit(1)
}
process.prependListener('uncaughtException', failed)
process.prependListener('unhandledRejection', failed)

const app = next({ dev: true, turbopack: true, dir: folder, hostname: '127.0.0.1', port: Number(port) })
await app.prepare()
createServer(app.getRequestHandler()).listen(port, '127.0.0.1')

// rendered says what the server sends, without what Next.js adds to it.
async function rendered(tab) {
  const html = await (await fetch(url + '/')).text()
  tab.say('rendered', /<main>.*<\/main>/.exec(html)[0], /alice|bob/.test(html))
}

async function edit(file, from, to) {
  const path = join(folder, 'app', file)
  await writeFile(path, (await readFile(path, 'utf8')).replace(from, to))
}

const browser = await launch()
const first = await Tab.open('first', browser, url, 60_000) // Next.js compiles the page
await first.shows('Please log in', 'signed-out')
await first.close()

const alice = await Tab.open('alice', browser, url + '/' + await code(url, 'alice'))
await alice.shows('alice is online', 'signed-out')
await alice.page.reload()
await alice.shows('alice is online', 'signed-out')
await alice.news('alice', 'one')
await rendered(alice)

const bob = await Tab.open('bob', browser, url)
await bob.shows('Please log in', 'signed-out')
await bob.do(() => client.login({ username: 'bob', password: 'secret' }))
await bob.shows('bob is online', 'signed-out')
await bob.news('bob', 'two')
await alice.news('alice', 'three')
await rendered(bob)
for (const tab of [alice, bob]) await tab.counts()

await alice.do(() => { globalThis.first = client })
await edit('Chat.jsx', 'Log out', 'Leave')
await alice.until(() => [...document.querySelectorAll('button')].every((button) => button.textContent === 'Leave'))
alice.say('same client', await alice.do(() => client === first))
await edit('session.js', 'connect()', 'connect({ minDelay: 1 })')
await alice.until(() => globalThis.first && client !== first)
await alice.shows('alice is online', 'signed-out')
for (const tab of [alice, bob]) {
  await tab.counts()
  tab.tellsFaults()
}
await browser.close()
process.exit()
