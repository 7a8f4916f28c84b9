// Pages of React, Vue and Svelte, as Vite has built them and from its development server:
//
//   node vite.mjs <folder with a copy of the pages> <url of the app>
//
// The app serves what is built, from the folder's dist.
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer as createTCPServer } from 'node:net'
import { join } from 'node:path'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import vue from '@vitejs/plugin-vue'
import { compile } from 'svelte-4/compiler'
import { build, createServer } from 'vite'
import { launch } from '../chromium.mjs'
import { code, Tab } from './tab.mjs'

const [folder, app] = process.argv.slice(2)
process.env.SERVER = app
const pages = { react: 'Chat.jsx', vue: 'Chat.vue', svelte: 'Chat.svelte' }
const { NODE_ENV } = process.env

// heard says what the probe has heard, and what went wrong meanwhile.
async function heard(tab) {
  tab.say('heard', ...await tab.do(() => heard.splice(0)))
  tab.tellsFaults()
}

// held says how many functions the probe has with its client.
async function held(tab) {
  tab.say('held', await tab.do(() => held.events), await tab.do(() => held.snapshots))
}

// production is a page as it is built: a code, an event, a logout.
async function production(name) {
  const tab = await Tab.open(name, browser, `${app}/dist/${name}.html${await code(app, 'alice')}`)
  await tab.shows('alice is online', '0 alice online')
  await tab.news('alice', 'one')
  await heard(tab)
  await tab.counts()
  await tab.page.locator('button').first().click()
  await tab.shows('Please log in', '0 nobody signed-out')
  await tab.close()
}

// served is a page that a server renders. It is hydrated when nobody is signed in, and late, when
// somebody is already.
async function served(name) {
  const server = await vite.ssrLoadModule('/server.js')
  const html = await server.pages[name]()
  const tab = await Tab.open(name, browser, `${dev}/served/${name}`)
  tab.say('served', html.replace(/<!--.*?-->|<img.*?>/g, '').replace(/> </g, '><').trim(), server.held.times)
  await tab.shows('Please log in', '0 nobody signed-out')
  await tab.do(() => client.login({ username: 'alice', password: 'secret' }))
  await tab.shows('alice is online', '0 alice online')
  await tab.page.reload()
  await tab.shows('alice is online', '0 alice online')
  tab.say('picture', await tab.do(() => document.querySelector('img').src))
  await tab.counts()
  tab.tellsFaults()
  await tab.do(() => client.logout())
  await tab.close()
}

// life is a page whose probe is rendered again, removed, put back, and given another client.
async function life(name) {
  const tab = await Tab.open(name, browser, `${dev}/${name}.html${await code(app, 'alice')}`)
  await tab.shows('alice is online', '0 alice online')
  await tab.news('alice', 'one')
  await heard(tab)
  await tab.counts()

  const times = await tab.do(() => held.times)
  await tab.do(() => set({ n: 1 }))
  await tab.shows('alice is online', '1 alice online')
  await tab.news('alice', 'two')
  await heard(tab)
  tab.say('subscribed', await tab.do(() => held.times) - times)

  await tab.do(() => set({ shown: false }))
  await tab.shows('alice is online', '')
  await held(tab)
  await tab.news('alice', 'three')
  await heard(tab)
  await tab.do(() => set({ shown: true, n: 2 }))
  await tab.shows('alice is online', '2 alice online')
  await tab.news('alice', 'four')
  await heard(tab)
  await held(tab)

  await tab.do(async () => {
    globalThis.other = connect({ storage: null })
    await other.login({ username: 'bob', password: 'secret' })
    set({ client: counted(other) })
  })
  await tab.shows('alice is online', '2 bob online')
  await held(tab)
  await tab.news('alice', 'five')
  await heard(tab)
  await tab.do(() => other.emitWithAck('speak', 'user', 'bob', 'six'))
  await heard(tab)
  await tab.do(() => other.logout())
  await tab.shows('alice is online', '2 nobody signed-out')
  await tab.do(() => set({ shown: false }))
  await tab.shows('alice is online', '')
  await held(tab)
  return tab
}

// edit changes a file of the pages.
async function edit(file, from, to) {
  const path = join(folder, file)
  const text = await readFile(path, 'utf8')
  if (!text.includes(from)) throw new Error(`${file} does not have ${from}`)
  await writeFile(path, text.replace(from, to))
}

// hot edits files of a page that is open. The page is never reloaded.
async function hot(name, tab) {
  await tab.do(() => { globalThis.first = client })
  await edit(pages[name], 'Log out', 'Leave')
  await tab.until(() => [...document.querySelectorAll('button')].every((button) => button.textContent === 'Leave'))
  await tab.shows('alice is online', '')
  tab.say('same client', await tab.do(() => client === first))
  await tab.counts()

  await edit('session.js', 'connect()', 'connect({ minDelay: 1 })')
  await tab.until(() => client !== first)
  await tab.until(() => client.state === 'online')
  tab.say('first client', ...await tab.do(() => [first.state, first.reason]))
  await tab.counts()
  await tab.do(() => set({ shown: false }))
  await tab.shows('alice is online', '')
  await tab.news('alice', 'seven')
  tab.tellsFaults()
  await tab.do(() => client.logout())
  await tab.close()
}

// early edits the module of the client before the server has answered to the code of a link.
async function early(name) {
  await fetch(app + '/hold')
  const tab = await Tab.open(name, browser, `${dev}/${name}.html${await code(app, name)}`)
  await tab.until(() => globalThis.set)
  await fetch(app + '/held') // returns when the server has the code
  await tab.do(() => { globalThis.first = client })
  await edit('session.js', 'connect({ minDelay: 1 })', 'connect()')
  await tab.until(() => client !== first)
  await fetch(app + '/release')
  await tab.do(() => set({ shown: false })) // React keeps the probe's client, which is the first one
  await tab.shows(`${name} is online`, '')
  await tab.counts()
  tab.tellsFaults()
  await tab.close()
}

// rendering is the part of Vite's server that renders pages, at /served/ and their names.
const rendering = {
  name: 'rendering',
  configureServer(server) {
    server.middlewares.use('/served/', async (request, response, next) => {
      try {
        const name = request.url.replace('/', '')
        const file = await readFile(join(folder, name + '.html'), 'utf8')
        const page = await server.transformIndexHtml(`/${name}.html`, file)
        const { pages } = await server.ssrLoadModule('/server.js')
        response.setHeader('Content-Type', 'text/html')
        response.end(page.replace('<!--app-->', await pages[name]()))
      } catch (error) {
        next(error)
      }
    })
  },
}

// freePort returns a port for Vite's server. The pages connect to it, so that 0 would not do.
async function freePort() {
  const server = createTCPServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  return port
}

// make builds pages.
function make(names, options) {
  return build({
    ...options, root: folder, base: '/dist/', logLevel: 'error',
    build: { emptyOutDir: false, rolldownOptions: { input: names.map((name) => join(folder, name + '.html')) } },
  })
}

// svelte4 compiles components by Svelte 4.
const svelte4 = {
  name: 'svelte4',
  transform(code, id) {
    return id.endsWith('.svelte') ? compile(code, { filename: id }).js : undefined
  },
}

const browser = await launch()
await make(Object.keys(pages), { plugins: [vue(), svelte()] }) // vite.config.js has that of React
await make(['svelte4'], { configFile: false, plugins: [svelte4], resolve: { alias: { svelte: 'svelte-4' } } })
for (const name of [...Object.keys(pages), 'svelte4']) await production(name)

delete process.env.NODE_ENV // which build has set
if (NODE_ENV) process.env.NODE_ENV = NODE_ENV
const port = await freePort()
const dev = `http://127.0.0.1:${port}`
const vite = await createServer({
  root: folder, logLevel: 'error', plugins: [vue(), svelte(), rendering], server: { host: '127.0.0.1', port, strictPort: true },
})
await vite.listen()
for (const name in pages) {
  await served(name)
  await hot(name, await life(name))
  await early(name)
}
await browser.close()
process.exit() // without a farewell to the open connections
