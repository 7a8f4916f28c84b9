// Clients where there is no page: in Node, as on a server that renders pages.
//
//   node helper_node.mjs <url>
//
// What happens is printed as lines, like those of client.mjs, which the Go tests check. The process
// ends by itself: no client may keep it running.
import { connect } from '../client/socketauth.js'
import { print } from './peer.mjs'

const [url] = process.argv.slice(2)
delete globalThis.WebSocket // Node 20 has none
let posts = 0
globalThis.fetch = async () => {
  posts++
  return Response.json({})
}
let looks = 0
// Node 25 has one.
Object.defineProperty(globalThis, 'localStorage', { configurable: true, get() { looks++ } })

async function tell(name, options) {
  const client = connect(options)
  const states = []
  client.on('state', (state, reason) => states.push(reason ? `${state}: ${reason}` : state))
  await new Promise((resolve) => setImmediate(resolve))
  const { code, message } = await client.login({}).catch((error) => error)
  const told = await client.logout()
  const sent = [client.emit('x'), await client.emitWithAck('x').catch((error) => error.code)]
  client.close()
  print({ socket: name, event: 'tells', args: [states, code, message.includes('connect with'), told, ...sent, client.token] })
}

const session = `h.${btoa(JSON.stringify({ sid: 'one', gen: 1, dur: 1000, token_use: 'session' }))}.s`
const items = new Map([['socketauth.token', session]])
const storage = {
  getItem: (key) => items.get(key) ?? null,
  setItem: (key, value) => items.set(key, value),
  removeItem: (key) => items.delete(key),
}

await tell('no url')
await tell('no url, but a token', { storage })
await tell('no WebSocket', { url })
items.set('socketauth.token', session)
await tell('no WebSocket, but a token', { url, storage })
print({ socket: 'process', event: 'tells', args: [posts, looks] })
