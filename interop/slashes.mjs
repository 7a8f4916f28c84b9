// One version of the client at each app of examples/internal/slashes, with and without the last slash of the path:
//
//   node slashes.mjs <client version> <the line that serve prints>
import { print } from './peer.mjs'

const [version, about] = process.argv.slice(2)
const { default: io } = await import(`socket.io-client-${version}`)
const { url, apps } = JSON.parse(about)
const canLeaveOut = Number.parseInt(version) >= 4 // the option is younger than 3.x

for (const { name, redirects } of apps) {
  for (const addTrailingSlash of canLeaveOut ? [true, false] : [true]) {
    if (redirects && addTrailingSlash) continue
    for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
      const socket = [name, addTrailingSlash ? 'slash' : 'no slash', ...transports].join(' ')
      print({ socket, event: 'outcome', args: [await enter(name, { transports, addTrailingSlash })] })
    }
  }
}
process.exit()

// enter logs in, authenticates and, where it began by polling, waits for the upgrade.
async function enter(name, options) {
  const headers = { 'Content-Type': 'application/json' }
  const answer = await fetch(`${url}/${name}/login`, { method: 'POST', headers, body: '{"username":"alice"}' })
  if (!answer.ok) return `login: ${answer.status}`
  const { token } = await answer.json()
  const socket = io(url, { path: `/${name}/socket.io`, forceNew: true, reconnection: false, ...options })
  const outcome = await new Promise((resolve) => {
    socket.on('connect', () => socket.emit('authenticate', { token }))
    socket.on('authenticated', () => resolve('in'))
    for (const event of ['connect_error', 'unauthorized', 'disconnect']) socket.on(event, (why) => resolve(`${event}: ${why.message ?? why}`))
  })
  const engine = socket.io.engine
  if (outcome === 'in' && options.transports.length === 2 && engine.transport.name === 'polling') {
    await new Promise((resolve) => engine.once('upgrade', resolve))
  }
  const final = engine?.transport.name
  socket.close()
  return outcome === 'in' ? final : outcome
}
