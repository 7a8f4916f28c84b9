// Sockets that tell all they hear.
import { createHash } from 'node:crypto'

// Clients before 3.x cannot listen to everything, so names are listed.
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

  // login trades a name for a code, as a page does.
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

  // open connects a socket that does not authenticate. A quiet one prints nothing.
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

  // enter connects a socket that presents storage.token at each connection, and takes what it gets for it: it stores
  // that and, where it is asked to, acknowledges it. By handshake or inside "connect", as options.entry says.
  enter(name, storage, { confirm, take = keep, ...options } = {}) {
    const presented = () => ({ token: storage.token, confirm })
    const handshake = this.options.entry === 'handshake'
    if (handshake) options = { ...options, auth: (give) => give(presented()) }
    const peer = this.open(name, options)
    if (!handshake) peer.socket.on('connect', () => peer.socket.emit('authenticate', presented()))
    peer.socket.on('authenticated', (token, acknowledge) => take(storage, token, acknowledge))
    return peer
  }

  // member is a socket that has come in by a login of its own.
  async member(name, user = name, options = {}) {
    const storage = { token: await this.login(user) }
    const peer = this.enter(name, storage, options)
    await peer.next('authenticated')
    return Object.assign(peer, { storage })
  }

  // report prints what the scenario found out by itself.
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
  #heard = new Map() // event -> arguments not waited for yet
  #waiting = new Map() // event -> who waits

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

  // next gives the arguments of the next event of that name, which may have come already.
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

  // settled waits until the upgrade is over, where there is one, and tells which transport is in use.
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

// printable makes a value fit for a line: errors are spelled out, what is binary or long is told by its hash.
function printable(value) {
  if (typeof value === 'function') return { acknowledgement: true }
  if (value instanceof Error) {
    const { message, data, description } = value // description is a polling client's HTTP status, or whatever else
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
