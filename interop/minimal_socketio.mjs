// The page of examples/minimal/socketio.js, with a server that takes only clients with a key:
//
//   node minimal_socketio.mjs <url>
//
// It prints why the code of a login was refused, how long the page then waits until it comes again, if
// it does, and whether it would present the code again.
import { readFile } from 'node:fs/promises'
import { io } from 'socket.io-client-4.8.4'
import { print } from './peer.mjs'

const [url] = process.argv.slice(2)
globalThis.localStorage = {}
console.log = console.error // what the page logs is no line for the test
globalThis.connectTo = (options) => io(url, { ...options, transports: ['websocket'] })
const { fetch, setTimeout } = globalThis
globalThis.fetch = (path, init) => fetch(url + path, init)

const source = await readFile(new URL('../examples/minimal/socketio.js', import.meta.url), 'utf8')
const module = source.replace('import { io } from "socket.io-client";', 'const io = globalThis.connectTo;')
const { socket, login } = await import(`data:text/javascript,${encodeURIComponent(module)}`)

const handlers = socket.listeners('unauthorized')
socket.off('unauthorized').on('unauthorized', (refusal) => {
  const waits = []
  globalThis.setTimeout = (_, ms) => waits.push(ms)
  for (const handler of handlers) handler(refusal)
  globalThis.setTimeout = setTimeout
  socket.auth(({ token }) => print({ socket: 'page', event: 'refused', args: [refusal.code, waits, Boolean(token)] }))
  socket.disconnect()
})
await login('ada', 'open sesame')
