// What the tests of helper_unit.mjs share: a fake server and mock timers.
import assert from 'node:assert/strict'
import { mock } from 'node:test'
import { connect } from '../client/socketauth.js'

export const KEY = 'socketauth.token'
export const window = new EventTarget()
globalThis.document = Object.assign(new EventTarget(), { visibilityState: 'visible' })
globalThis.addEventListener = window.addEventListener.bind(window)
mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })

export const settle = () => new Promise((resolve) => setImmediate(resolve))
export const pass = async (ms) => { // in steps, since one timer may start the next
  for (let left = ms; left > 0; left -= 50) {
    mock.timers.tick(Math.min(50, left))
    await settle()
  }
}

export const encode = (claims) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`
export const token = (gen, { sid = 'one', dur = 1000, ...more } = {}) => encode({ sid, gen, dur, token_use: 'session', ...more })
export const code = (sid) => encode({ sid, gen: 0, dur: 30, token_use: 'code' })
export const storage = (value) => {
  const items = new Map(value ? [[KEY, value]] : [])
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => items.set(key, value),
    removeItem: (key) => items.delete(key),
    get token() { return items.get(KEY)?.trim() },
  }
}

// Database is an IndexedDB that answers when the test says.
export class Database {
  items = new Map()
  opened = 0
  closed = 0
  waiting = []
  stores = ['tokens']
  #line = [] // transactions run one after the other

  open() {
    this.opened++
    const next = () => {
      this.#line.shift()
      this.#line[0]?.()
    }
    const transaction = {}
    let left = 0
    const ask = (f) => {
      const request = {}
      left++
      this.waiting.push(() => {
        request.result = f()
        request.onsuccess?.()
        if (--left === 0) this.waiting.push(() => { transaction.oncomplete(); next() })
      })
      return request
    }
    const store = {
      get: (key) => ask(() => this.items.get(key)),
      put: (value, key) => ask(() => void this.items.set(key, value)),
      delete: (key) => ask(() => void this.items.delete(key)),
    }
    const request = {
      result: {
        transaction: (name) => {
          if (!this.stores.includes(name)) throw new Error('NotFoundError')
          return Object.assign(transaction, { objectStore: () => store })
        },
        close: () => { this.closed++ },
      },
    }
    const begin = () => this.waiting.push(() => {
      request.onsuccess()
      if (left === 0) next() // it has failed
    })
    if (this.#line.push(begin) === 1) begin()
    return request
  }

  // answer answers all requests that wait, and those that follow from them.
  async answer() {
    await settle()
    while (this.waiting.length > 0) {
      this.waiting.shift()()
      await settle()
    }
  }
}

// Server is a server that answers as the test says. presented has the tokens that were presented to
// it.
export class Server {
  presented = []
  sockets = []
  open = 0
  most = 0

  constructor({ handshake = true } = {}) {
    this.io = (url, options) => {
      const socket = { handlers: {}, sent: [], auth: handshake ? options.auth : undefined }
      socket.on = (event, f) => { (socket.handlers[event] ??= []).push(f) }
      socket.tell = (event, ...args) => { for (const f of socket.handlers[event] ?? []) f(...args) }
      socket.emit = (event, ...args) => {
        socket.sent.push([event, ...args])
        if (event === 'authenticate') this.presented.push(args[0].token)
      }
      socket.connect = () => {
        this.most = Math.max(this.most, ++this.open)
        this.sockets.push(socket)
      }
      socket.disconnect = () => { // like the real ones, it calls the handlers before it returns
        if (socket.left) return
        socket.left = true
        this.open--
        socket.tell('disconnect', 'io client disconnect')
      }
      return socket
    }
  }

  get socket() { return this.sockets.at(-1) }

  // hear connects the last socket and takes its presentation.
  hear() {
    if (this.socket.auth) this.socket.auth(({ token, confirm }) => {
      assert.equal(confirm, true)
      this.presented.push(token)
    })
    this.socket.tell('connect')
  }
}

let clients = []

// closeAll closes all clients that were started.
export function closeAll() {
  for (const client of clients) client.close()
  clients = []
}

export async function start(stored, { handshake, ...options } = {}) {
  const server = new Server({ handshake })
  const kept = storage(stored)
  const states = []
  const locks = { request: async (_, __, hold) => hold() }
  const client = connect({ url: 'http://app.example/some/where', io: server.io, storage: kept, locks, ...options })
  clients.push(client)
  const notices = []
  client.on('state', (state, reason) => states.push(reason ? `${state}: ${reason}` : state))
  client.on('notice', (notice) => notices.push(notice))
  await settle()
  return { server, kept, states, notices, client }
}

export async function online(stored = token(1), options) {
  const all = await start(stored, options)
  all.server.hear()
  all.server.socket.tell('authenticated', token(2), () => {})
  assert.equal(all.client.state, 'online')
  return all
}

// begin begins a login, which ends with the code.
export function begin(client) {
  client.login({}).catch(() => {})
}

// admit lets in the session of a login. It returns the function that answers the probe, which tells
// the server's decision.
export function admit(server, sid) {
  server.hear()
  assert.equal(server.presented.at(-1), code(sid))
  server.socket.tell('authenticated', token(1, { sid }), () => {})
  return (reply) => server.socket.sent.at(-1).at(-1)(reply)
}
