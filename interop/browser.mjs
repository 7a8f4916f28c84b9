// Runs the browser build of each client, on pages whose origin is not the server's:
//
//   node browser.mjs <url of the server> <origin of an allowed page> <origin of a foreign page> <version>...
import { launch } from './chromium.mjs'
import { print } from './peer.mjs'

const [url, allowed, foreign, ...versions] = process.argv.slice(2)

const browser = await launch()
const page = await browser.newPage()
await page.goto(`${allowed}/?client=${versions[0]}`)
print({ socket: 'page', event: 'unavailable', args: await page.evaluate(async (url) => {
  const answer = await fetch(url + '/login', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ username: 'too early', password: 'secret' }),
  })
  return [answer.status, answer.headers.get('Retry-After')]
}, url) })
await page.close()
for (const version of versions) {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    const socket = [version, ...transports].join(' ')
    for (const origin of [allowed, foreign]) {
      const page = await browser.newPage()
      await page.goto(`${origin}/?client=${version}`)
      const heard = await page.evaluate(session, { url, transports, handshake: Number.parseInt(version) >= 3 })
      print({ socket, event: origin === allowed ? 'allowed' : 'foreign', args: heard })
      await page.close()
    }
  }
}
await browser.close()

// session runs in the page. It logs in, authenticates, and sends something in each direction.
async function session({ url, transports, handshake }) {
  const io = globalThis.io
  const headers = { 'Content-Type': 'application/json' }
  const body = JSON.stringify({ username: 'alice', password: 'secret' })
  const token = await fetch(url + '/login', { method: 'POST', headers, body, credentials: 'include' })
    .then(async (answer) => (await answer.json()).token, () => undefined)
  const socket = io(url, { transports, withCredentials: true, reconnection: false, auth: (give) => give({ token }) })
  if (!handshake) socket.on('connect', () => socket.emit('authenticate', { token }))
  const first = (...events) => new Promise((resolve) => {
    for (const event of events) socket.on(event, (...args) => resolve([event, ...args]))
  })
  const [event] = await first('authenticated', 'unauthorized', 'connect_error')
  if (event !== 'authenticated') return [token !== undefined, event]

  const engine = socket.io.engine
  if (transports.length === 2 && engine.transport.name === 'polling') {
    await new Promise((resolve) => engine.once('upgrade', resolve))
  }
  const back = first('binary')
  const bytes = (size) => Uint8Array.from({ length: size }, (_, n) => n % 251).buffer // 1.x supports no newer type
  const reply = await new Promise((resolve) => socket.emit('binary', { size: 1000 }, bytes(1000), bytes(3), resolve))
  const [, data] = await back
  const text = await new Promise((resolve) => socket.emit('echo', '你好 👋 \u2028', resolve))
  const result = [true, engine.transport.name, reply.byteLength ?? reply, data.byteLength, text]
  socket.close()
  return result
}
