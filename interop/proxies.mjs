// One version of the client behind a proxy that serves examples/deploy:
//
//   node proxies.mjs <client version> <url> [<how many sockets of each transport, one after another>]
//
// It connects as a page of the proxy's origin does, from an address of its own, and claims another address: the server
// must be told the first.
import https from 'node:https'
import { print } from './peer.mjs'

const [version, url, times = 1] = process.argv.slice(2)
const { default: io } = await import(`socket.io-client-${version}`)
const agent = new https.Agent({ localAddress: '127.0.0.2' })
const headers = { 'X-Forwarded-For': '203.0.113.9', Origin: url }

for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
  for (let n = 0; n < times; n++) print({ socket: transports.join(' '), event: 'outcome', args: await enter(transports) })
}
process.exit()

// enter logs in, authenticates, waits for the upgrade where it began by polling, and asks for its address.
async function enter(transports) {
  const answer = await fetch(`${url}/login`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: '{"username":"ada","password":"open sesame"}',
  })
  if (!answer.ok) return [`login: ${answer.status} ${await answer.text()}`]
  const { token } = await answer.json()
  const socket = io(url, { forceNew: true, reconnection: false, transports, agent, extraHeaders: headers })
  const failed = new Promise((resolve) => {
    for (const event of ['connect_error', 'error', 'unauthorized', 'disconnect']) {
      socket.on(event, (why) => resolve([`${event}: ${why.description ?? why.code ?? why.message ?? why}`]))
    }
  })
  const done = (async () => {
    socket.on('connect', () => socket.emit('authenticate', { token }))
    await new Promise((resolve) => socket.on('authenticated', resolve))
    const engine = socket.io.engine
    if (transports.length === 2 && engine.transport.name === 'polling') {
      await new Promise((resolve) => engine.once('upgrade', resolve))
    }
    const address = await new Promise((resolve) => socket.emit('address', resolve))
    return [engine.transport.name, address]
  })()
  const outcome = await Promise.race([failed, done])
  socket.close()
  return outcome
}
