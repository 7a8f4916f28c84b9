// Sockets that print every event they receive.
import { createHash } from 'node:crypto'

// Clients before 3.x cannot listen to all events, so the names are listed.
const watched = [
  'connect', 'connect_error', 'disconnect',
  'authenticated', 'unauthorized', 'rotated', 'logged_out',
  'news', 'text', 'binary', 'large',
]

const transports = { websocket: ['websocket'], polling: ['polling'], upgrade: undefined }

export class Client {
  #peers = []

  constructor(io, transport, url, options) {
    if (!(transport in transports)) throw new Error(`unknown transport ${transport}`)
    Object.assign(this, { io, transport, url, options })
  }

  // login logs in as a page does, and returns the code.
  async login(username, password = 'secret') {
    const answer = await fetch(this.url + '/login', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ username, password }),
    })
    const body = await answer.json()
    if (!answer.ok) throw new Error(`login: ${answer.status} ${JSON.stringify(body)}`)
    return body.token
  }

  // open connects a socket that does not authenticate. A quiet socket prints nothing.
  open(name, { quiet = false, ...options } = {}) {
    const socket = this.io(this.url, {
      transports: transports[this.transport],
      forceNew: true,
      reconnectionDelay: 50,
      reconnectionDelayMax: 500,
      ...options,
    })
    const peer = new Peer(name, socket, this.transport, quiet ? () => {} : print)
    this.#peers.push(peer)
    return peer
  }

  // enter connects a socket that presents storage.token at each connection, in the handshake or
  // after "connect" as options.entry says. It stores the token that it gets and, if it is asked to,
  // acknowledges it.
  enter(name, storage, { confirm, take = keep, ...options } = {}) {
    const presented = () => ({ token: storage.token, confirm })
    const handshake = this.options.entry === 'handshake'
    if (handshake) options = { ...options, auth: (give) => give(presented()) }
    const peer = this.open(name, options)
    if (!handshake) peer.socket.on('connect', () => peer.socket.emit('authenticate', presented()))
    peer.socket.on('authenticated', (token, acknowledge) => take(storage, token, acknowledge))
    return peer
  }

  // member returns a socket that has logged in and authenticated.
  async member(name, user = name, options = {}) {
    const storage = { token: await this.login(user) }
    const peer = this.enter(name, storage, options)
    await peer.next('authenticated')
    return Object.assign(peer, { storage })
  }

  // report prints a result of the scenario itself.
  report(event, ...args) {
    print({ socket: 'client', event, args })
  }

  close() {
    for (const { socket } of this.#peers) {
      socket.io.reconnection(false)
      socket.close()
    }
  }
}

export class Peer {
  #heard = new Map() // event -> arguments that nobody has waited for yet
  #waiting = new Map() // event -> the functions that wait for it

  constructor(name, socket, transport, print) {
    Object.assign(this, { name, socket, transport, print })
    for (const event of watched) socket.on(event, (...args) => this.#hear(event, args))
  }

  #hear(event, args) {
    if (event === 'disconnect') args = args.slice(0, 1) // 4.x adds details
    this.say(event, ...args)
    const waiting = this.#waiting.get(event)?.shift()
    if (waiting) waiting(args)
    else this.#heard.set(event, [...(this.#heard.get(event) ?? []), args])
  }

  say(event, ...args) {
    this.print({ socket: this.name, event, args: args.map(printable) })
  }

  // next returns the arguments of the next event of that name, which may have come already.
  next(event) {
    const heard = this.#heard.get(event)?.shift()
    if (heard) return Promise.resolve(heard)
    return new Promise((resolve) => this.#waiting.set(event, [...(this.#waiting.get(event) ?? []), resolve]))
  }

  // ask emits an event and waits for its acknowledgement.
  ask(event, ...args) {
    return new Promise((resolve) => this.socket.emit(event, ...args, (...reply) => {
      this.say('reply to ' + event, ...reply)
      resolve(reply)
    }))
  }

  // settled waits until the upgrade is over, if there is one, and prints which transport is in use.
  async settled() {
    const engine = this.socket.io.engine
    if (this.transport === 'upgrade' && engine.transport.name !== 'websocket') {
      await new Promise((resolve) => engine.once('upgrade', resolve))
    }
    this.say('settled', engine.transport.name)
  }

  close() {
    this.socket.close()
  }
}

function keep(storage, token, acknowledge) {
  storage.token = token
  acknowledge?.()
}

export function print(line) {
  process.stdout.write(JSON.stringify(line) + '\n')
}

// printable returns a value that can be printed in a line: errors as objects, binary and long
// values as their hash.
function printable(value) {
  if (typeof value === 'function') return { acknowledgement: true }
  if (value instanceof Error) {
    const { message, data, description } = value // description is the HTTP status with polling, and may be anything else
    return { message, data, status: typeof description === 'number' ? description : undefined }
  }
  if (value instanceof ArrayBuffer) value = Buffer.from(value)
  if (ArrayBuffer.isView(value)) return { bytes: value.byteLength, sha256: sha256(value) }
  if (typeof value === 'string' && value.length > 2000) return { characters: value.length, sha256: sha256(value) }
  return value
}

function sha256(data) {
  return createHash('sha256').update(data).digest('hex')
}
