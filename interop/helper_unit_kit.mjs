// What the tests of helper_unit.mjs share: a fake server and mock timers.
import assert from 'node:assert/strict'
import { mock } from 'node:test'
import { connect } from '../client/socketauth.js'

// The modules that are loaded on demand are there at once, so that time passes as the tests say.
for (const name of ['logoutsender', 'mutex']) await import(`../client/${name}.js`)

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
export const stepUp = (sid) => encode({ sid, token_use: 'step_up' })
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
    let left = 0
    let ended = false
    const before = [] // what it has changed
    const transaction = {
      abort: () => {
        if (ended) throw new Error('InvalidStateError')
        ended = true
        for (const [key, value] of before.reverse()) this.items.set(key, value)
        transaction.onabort()
        next()
      },
    }
    const ask = (f) => {
      const request = {}
      left++
      this.waiting.push(() => {
        if (ended) return
        request.result = f()
        request.onsuccess?.()
        if (--left === 0) this.waiting.push(end)
      })
      return request
    }
    const end = () => {
      if (ended) return
      ended = true
      transaction.oncomplete()
      next()
    }
    const change = (key, f) => ask(() => {
      before.push([key, this.items.get(key)])
      f()
    })
    const store = {
      get: (key) => ask(() => this.items.get(key)),
      put: (value, key) => change(key, () => this.items.set(key, value)),
      delete: (key) => change(key, () => this.items.delete(key)),
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
  made = 0

  constructor({ handshake = true } = {}) {
    this.io = (url, options) => {
      const socket = { handlers: {}, sent: [], auth: handshake ? options.auth : undefined, io: { engine: { id: `engine ${this.made++}` } } }
      socket.on = (event, f) => { (socket.handlers[event] ??= []).push(f) }
      socket.onAny = (f) => { socket.hear = f }
      socket.tell = (event, ...args) => {
        socket.hear?.(event, ...args)
        for (const f of socket.handlers[event] ?? []) f(...args)
      }
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
    if (this.socket.auth) this.socket.auth((data) => {
      assert.equal(data.confirm, true)
      this.presented.push(data.token)
      this.handshake = data
    })
    this.socket.tell('connect')
  }
}

// TokenServer is the HTTP half of a server with one session, in place of the global fetch. It answers
// as the test says, and otherwise gives the next token.
export class TokenServer {
  requests = [] // [method and path, bearer, body]
  answers = [] // functions that answer the next requests
  gen

  constructor(gen = 1) {
    this.gen = gen
    globalThis.fetch = async (input, init = {}) => {
      const { href, pathname } = new URL(input.url ?? input)
      assert.ok(href.startsWith('http://app.example/'), href)
      const bearer = new Headers(init.headers).get('Authorization')?.replace('Bearer ', '')
      const body = typeof init.body === 'string' ? JSON.parse(init.body) : init.body
      this.requests.push([`${init.method ?? 'GET'} ${pathname}`, bearer, body])
      const answer = this.answers.shift()
      if (answer) return answer(body, init)
      if (body?.confirm) return new Response(null, { status: 204 })
      return Response.json({ token: token(++this.gen) })
    }
  }

  refuse(status, code, more) {
    this.answers.push(() => Response.json({ code, ...more }, { status }))
  }

  // taken returns what was asked since the last call.
  taken() {
    return this.requests.splice(0)
  }
}

// Locks is a LockManager that grants its locks in the order of the requests.
export class Locks {
  #last = new Map()
  request(name, { signal, ifAvailable }, hold) {
    const before = this.#last.get(name)
    if (ifAvailable && before) return hold(null)
    const turn = Promise.resolve(before).then(() => {
      signal?.throwIfAborted()
      return hold()
    })
    const ended = turn.catch(() => {}).then(() => { if (this.#last.get(name) === ended) this.#last.delete(name) })
    this.#last.set(name, ended)
    return turn
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

export const tokenPath = '/token'
export const now = () => Date.now() / 1000
// old is a token of which another tab's clock says that it is about to expire.
export const old = (gen, more) => token(gen, { exp: now() + 20, ...more })
export const fresh = (gen, more) => token(gen, { exp: now() + 500, ...more })

// loaded waits until the client has loaded the module and made its request or presentation.
export const loaded = async () => { for (let n = 0; n < 20; n++) await settle() }

// offline is a client that has no connection.
export async function offline(stored, options) {
  const http = new TokenServer()
  const all = await start(stored, { tokenPath, locks: new Locks(), ...options })
  await settle()
  all.server.socket.tell('connect_error', new Error('no network'))
  assert.equal(all.client.state, 'offline')
  return { http, ...all }
}

// page is a client that is online, with requests of its page.
export async function page(options) {
  const http = new TokenServer()
  return { http, ...await online(token(1), { tokenPath, ...options }) }
}

// loggingIn is a client that has the code of a login and has not traded it.
export async function loggingIn(options) {
  const all = await start(undefined, { tokenPath, locks: new Locks(), ...options })
  globalThis.fetch = async () => Response.json({ token: code('one') })
  all.client.login({}).catch(() => {})
  await loaded()
  return all
}

// given lets time pass until a promise is settled.
export async function given(promise) {
  let settled = false
  promise.finally(() => { settled = true }).catch(() => {})
  for (let n = 0; n < 100 && !settled; n++) await pass(50)
  assert.ok(settled, 'it waits')
  return promise
}

export const settles = (promise) => promise.then((value) => value, (error) => error.code ?? error.name)
