// One real Socket.IO client for one test:
//
//   node client.mjs <scenario> <client version> <websocket|polling|upgrade> <url> [options as JSON]
//
// Every event is printed as one line of JSON, {socket, event, args}. The Go test checks the lines.
import * as confirming from './confirming.mjs'
import * as plain from './scenarios.mjs'
import { Client } from './peer.mjs'

const [scenario, version, transport, url, options = '{}'] = process.argv.slice(2)
const { default: io } = await import(`socket.io-client-${version}`)

const client = new Client(io, transport, url, JSON.parse(options))
await { ...plain, ...confirming }[scenario](client, client.options)
client.close()
process.exit() // otherwise a connection that fetch keeps alive delays the exit by seconds
