// client/socketauth.js with a server that is made up, and a clock that is turned by hand:
//
//   node helper_unit.mjs
//
// Each test that passes is a line; one that fails ends the process.
import assert from 'node:assert/strict'
import { mock } from 'node:test'
import { connect } from '../client/socketauth.js'
import { print } from './peer.mjs'

const KEY = 'socketauth.token'
const window = new EventTarget()
globalThis.document = Object.assign(new EventTarget(), { visibilityState: 'visible' })
globalThis.addEventListener = window.addEventListener.bind(window)
mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })

const settle = () => new Promise((resolve) => setImmediate(resolve))
const pass = async (ms) => { // in steps, as what a timer starts may set the next
  for (let left = ms; left > 0; left -= 50) {
    mock.timers.tick(Math.min(50, left))
    await settle()
  }
}

const encode = (claims) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`
const token = (gen, { sid = 'one', dur = 1000, ...more } = {}) => encode({ sid, gen, dur, token_use: 'session', ...more })
const code = (sid) => encode({ sid, gen: 0, dur: 30, token_use: 'code' })
const storage = (value) => {
  const items = new Map(value ? [[KEY, value]] : [])
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => items.set(key, value),
    removeItem: (key) => items.delete(key),
    get token() { return items.get(KEY)?.trim() },
  }
}

// An IndexedDB that answers when the test says, with what it has of the key.
class Database {
  items = new Map()
  opened = 0
  closed = 0
  waiting = []
  stores = ['tokens']
  #line = [] // one transaction comes after the other

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

  // answers all that waits, and what follows from that
  async answer() {
    await settle()
    while (this.waiting.length > 0) {
      this.waiting.shift()()
      await settle()
    }
  }
}

// A server that answers as the test says; presented are the tokens it was shown.
class Server {
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
      socket.disconnect = () => { // tells, as the real ones do, before it returns
        if (socket.left) return
        socket.left = true
        this.open--
        socket.tell('disconnect', 'io client disconnect')
      }
      return socket
    }
  }

  get socket() { return this.sockets.at(-1) }

  // lets the last socket in as far as the presentation
  hear() {
    if (this.socket.auth) this.socket.auth(({ token, confirm }) => {
      assert.equal(confirm, true)
      this.presented.push(token)
    })
    this.socket.tell('connect')
  }
}

let clients = []

async function start(stored, { handshake, ...options } = {}) {
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

async function online(stored = token(1), options) {
  const all = await start(stored, options)
  all.server.hear()
  all.server.socket.tell('authenticated', token(2), () => {})
  assert.equal(all.client.state, 'online')
  return all
}

// begin logs in as far as the code.
function begin(client) {
  client.login({}).catch(() => {})
}

// admit lets in whose login was begun, as far as the server's decision, and gives the function that tells it.
function admit(server, sid) {
  server.hear()
  assert.equal(server.presented.at(-1), code(sid))
  server.socket.tell('authenticated', token(1, { sid }), () => {})
  return (reply) => server.socket.sent.at(-1).at(-1)(reply)
}

const tests = {
  async 'a login resolves when the server has let it in'() {
    // Guards: it resolved with the code alone, so that what came next was sent while there was no connection yet.
    globalThis.fetch = async () => Response.json({ token: code('two') })
    for (const name of ['login', 'register']) {
      const { server, client } = await start()
      let settled = false
      const loggedIn = client[name]({}).finally(() => { settled = true })
      await settle()
      assert.equal(client.state, 'connecting')
      const decided = admit(server, 'two')
      await settle()
      assert.deepEqual([client.state, settled], ['online', false]) // OnAuthenticated may refuse it still
      decided({ error: { code: 'unknown_event' } })
      await loggedIn
      assert.equal(client.token, token(1, { sid: 'two' }))
      assert.equal(client.emit('hello'), true)
      server.socket.tell('disconnect', 'transport close')
      window.dispatchEvent(new Event('online'))
      await settle()
      server.hear()
      server.socket.tell('authenticated', token(2, { sid: 'two' }), () => {})
      assert.deepEqual(server.socket.sent, []) // it asks once
      client.close()
    }
  },

  async 'a login that is delayed resolves in the end'() {
    // Guards: it must fail neither for a network that comes back, nor for a server that is busy for a moment.
    globalThis.fetch = async () => Response.json({ token: code('two') })
    const { server, client } = await start()
    const loggedIn = client.login({})
    await settle()
    server.socket.tell('connect_error', new Error('no network'))
    await pass(1_100)
    server.hear()
    server.socket.tell('unauthorized', { code: 'unavailable', terminal: false, retryAfter: 2 })
    await pass(4_100)
    admit(server, 'two')
    server.socket.tell('disconnect', 'transport close') // before the server's decision arrived
    await pass(5_000)
    server.hear()
    server.socket.tell('authenticated', token(2, { sid: 'two' }), () => {})
    server.socket.sent.at(-1).at(-1)({ error: { code: 'unknown_event' } })
    await loggedIn
  },

  async 'a login rejects when it is not let in'() {
    // Guards: it had resolved by then, and only the state said why nobody was in.
    globalThis.fetch = async () => Response.json({ token: code('two') })
    const refuse = (code, more) => ({ server }) => {
      server.hear()
      server.socket.tell('unauthorized', { code, terminal: false, ...more })
    }
    for (const [why, happens, retryAfter] of [
      ['token_expired', refuse('token_expired', { terminal: true })],
      ['invalid_tenant', refuse('invalid_tenant', { terminal: true })],
      ['server_error', refuse('server_error', { retryAfter: 1 }), 1],
      ['too_many_connections', refuse('too_many_connections', { retryAfter: 30 }), 30],
      ['BANNED', ({ server }) => { // by OnAuthenticated
        admit(server, 'two')
        server.socket.tell('unauthorized', { code: 'BANNED', terminal: false })
      }],
      ['network', () => pass(20_050)],
      ['no_reply', async ({ server }) => {
        admit(server, 'two')
        await pass(20_050)
      }],
      ['closed', ({ client }) => client.close()],
      ['logged_out_here', ({ client, server }) => {
        client.logout()
        server.socket.tell('connect_error', new Error('no network'))
      }],
      ['elsewhere', ({ kept }) => {
        kept.removeItem(KEY + '.code')
        document.dispatchEvent(new Event('visibilitychange'))
      }],
      ['replaced', ({ client }) => begin(client)],
      ['replaced', async ({ server, kept }) => { // by another tab
        kept.setItem(KEY + '.code', code('three'))
        admit(server, 'three')
      }],
    ]) {
      const all = await start()
      const loggedIn = all.client.login({}).then(() => 'in', (error) => error)
      await settle()
      await happens(all)
      const error = await loggedIn
      assert.deepEqual([error.code, error.retryAfter], [why, retryAfter])
      all.client.close()
    }
  },

  async 'a client that was closed does nothing more'() {
    // Guards: one kept by a component that was left logged in for the other tabs, and said online for ever.
    const { client, kept, states, server } = await online()
    let answer
    globalThis.fetch = () => new Promise((resolve) => { answer = resolve })
    const late = client.login({ username: 'bob' })
    client.close()
    client.close()
    assert.deepEqual(states, ['connecting', 'online'])
    assert.deepEqual([client.state, client.reason], ['offline', 'closed'])
    assert.equal(client.emit('x'), false)
    answer(Response.json({ token: code('two') }))
    for (const call of [late, client.login({}), client.register({}), client.logout()]) {
      await assert.rejects(call, { code: 'closed' })
    }
    assert.equal(kept.token, token(2))
    assert.equal(kept.getItem(KEY + '.code'), null)
    assert.equal(server.sockets.length, 1)
    assert.throws(() => connect({ url: 'http://app.example', io: {} }), TypeError)
  },

  async 'stores before it acknowledges'() {
    for (const handshake of [true, false]) {
      const { server, kept, states } = await start(token(1), { handshake })
      server.hear()
      assert.deepEqual(server.presented, [token(1)])
      assert.equal(kept.token, token(1))
      let stored
      server.socket.tell('authenticated', token(2), () => { stored = kept.token })
      assert.equal(stored, token(2))
      assert.deepEqual(states, ['connecting', 'online'])
    }
  },

  async 'a network that fails signs nobody out, and is tried ever more slowly'() {
    const { server, kept, client } = await start(token(1))
    const waits = []
    for (let n = 0; n < 9; n++) {
      const before = server.sockets.length
      server.socket.tell('connect_error', new Error('no network'))
      assert.equal(client.state, 'offline')
      let waited = 0
      while (server.sockets.length === before) {
        await pass(50)
        waited += 50
        assert.ok(waited <= 30_100)
      }
      waits.push(waited)
    }
    waits.forEach((waited, n) => {
      const most = Math.min(30_000, 1000 * 2 ** n)
      assert.ok(waited >= most / 2 && waited <= most + 100, `${waits}`)
    })
    assert.equal(new Set(waits).size > 5, true, 'no jitter') // two of the last may be alike
    assert.equal(kept.token, token(1))
    assert.equal(server.most, 1, 'two sockets at once')
  },

  async 'waits as it is told'() {
    for (const [code, retryAfter] of [['unavailable', 7], ['too_many_attempts', 30], ['too_many_connections', 45]]) {
      const { server, kept, client } = await start(token(1))
      server.hear()
      server.socket.tell('unauthorized', { code, terminal: false, retryAfter })
      assert.equal(client.state, 'offline')
      assert.equal(client.reason, code)
      await pass(retryAfter * 1000 - 50)
      window.dispatchEvent(new Event('online'))
      document.dispatchEvent(new Event('visibilitychange'))
      await settle()
      assert.equal(server.sockets.length, 1, 'too early')
      await pass(600)
      assert.equal(server.sockets.length, 2)
      server.hear()
      assert.deepEqual(server.presented, [token(1), token(1)])
      assert.equal(kept.token, token(1))
    }
  },

  async 'comes back at once when the network does'() {
    const { server } = await online()
    server.socket.tell('disconnect', 'transport close')
    window.dispatchEvent(new Event('online'))
    await settle()
    assert.equal(server.sockets.length, 2)
  },

  async 'throws a token away only if it is dead'() {
    const other = token(5, { sid: 'two' })
    const cases = [
      // code, terminal, what is stored by then, what is left
      ['no_longer_valid', true, token(1), undefined],
      ['no_longer_valid', false, token(1), token(1)],
      ['no_longer_valid', true, token(2), token(2)],
      ['invalid_token', true, token(2), token(2)],
      ['token_reused', true, token(2), undefined],
      ['session_revoked', true, token(2), undefined],
      ['session_revoked', true, other, other],
      ['timeout', false, token(1), token(1)],
      ['server_error', false, token(1), token(1)],
      ['BANNED', false, token(1), token(1)],
    ]
    for (const [code, terminal, stored, left] of cases) {
      const { server, kept, client } = await start(token(1))
      server.hear()
      kept.setItem(KEY, stored) // another tab's
      server.socket.tell('unauthorized', { code, terminal })
      assert.equal(kept.token, left, code)
      assert.equal(client.state, left ? 'offline' : 'signed-out', code)
      assert.equal(client.reason, code)
      await pass(1100)
      assert.equal(server.sockets.length, left ? 2 : 1)
      if (left) server.hear()
      if (left) assert.equal(server.presented.at(-1), left)
      client.close()
    }
    const { server, kept, states } = await start(token(1))
    server.hear()
    server.socket.tell('unauthorized', { code: 'token_expired', terminal: true })
    assert.equal(kept.token, undefined)
    assert.deepEqual(states, ['connecting', 'expired: token_expired'])
  },

  async 'takes no offer for a token that is not the stored one any more'() {
    for (const now of [token(3), undefined]) {
      const { server, kept, client } = await start(token(1))
      server.hear()
      if (now) kept.setItem(KEY, now)
      else kept.removeItem(KEY)
      server.socket.tell('authenticated', token(2), () => assert.fail('acknowledged'))
      assert.equal(kept.token, now)
      assert.equal(client.state, now ? 'offline' : 'signed-out')
    }
  },

  async 'a storage that becomes full is used on, though tokens grow by a digit'() {
    const { server, kept, client } = await online(token(9))
    const { setItem } = kept
    kept.setItem = (key, value) => {
      if (value.length > kept.getItem(key).length) throw new Error('QuotaExceededError')
      setItem(key, value)
    }
    for (const next of [token(99), token(9), token(99999)]) {
      server.socket.tell('disconnect', 'transport close')
      window.dispatchEvent(new Event('online'))
      await settle()
      server.hear()
      server.socket.tell('authenticated', next, () => {})
      assert.equal(kept.token, next)
    }
    assert.equal(client.shared, true)
  },

  async 'ignores a socket that it gave up'() {
    const { server, kept, client } = await start(token(1))
    const [first] = server.sockets
    server.hear()
    await pass(20_050) // no answer
    assert.equal(client.state, 'offline')
    await pass(1100)
    first.tell('authenticated', token(2), () => assert.fail('acknowledged'))
    first.tell('unauthorized', { code: 'session_revoked', terminal: true })
    first.tell('logged_out')
    assert.equal(kept.token, token(1))
    server.hear()
    server.socket.tell('authenticated', token(2), () => {})
    assert.equal(client.state, 'online')
    first.tell('disconnect', 'transport close')
    assert.equal(client.state, 'online')
  },

  async 'has its token replaced in time, on the connection that is there'() {
    for (const kept of [false, true]) {
      const { server, client } = await start(token(1))
      server.hear()
      const next = kept ? token(1) : token(2) // one that came back as it was may be half through its life
      server.socket.tell('authenticated', next, () => {})
      const [from, to] = kept ? [200, 300] : [700, 800]
      const now = performance.now.bind(performance)
      let shift = 0
      performance.now = () => now() + shift
      const go = async (seconds) => {
        shift += seconds * 1000
        for (let n = 0; n < 30 && server.socket.sent.length === 0; n++) await pass(1_000) // it looks at least so often
      }
      await go(from - 1)
      assert.deepEqual(server.socket.sent, [])
      await go(to - from + 2)
      assert.deepEqual(server.socket.sent, [['authenticate', { token: next, confirm: true }]])
      performance.now = now
      client.close()
    }
  },

  async 'lives on where a renewal is refused for now'() {
    const { server, client } = await online()
    Date.now = ((now) => () => now() + 900_000)(Date.now)
    document.dispatchEvent(new Event('visibilitychange'))
    await settle()
    assert.equal(server.socket.sent.length, 1)
    server.socket.tell('unauthorized', { code: 'unavailable', terminal: false, retryAfter: 1 })
    assert.equal(client.state, 'online')
    Date.now = ((now) => () => now() + 5_000)(Date.now)
    await pass(5_000)
    assert.equal(server.socket.sent.length, 2)
    server.socket.tell('authenticated', token(3), () => {})
    assert.equal(client.state, 'online')
    assert.equal(server.sockets.length, 1)
  },

  async 'presents another session on another connection'() {
    const { server, kept, states } = await online()
    const other = token(1, { sid: 'two' })
    kept.setItem(KEY, other)
    server.socket.tell('rotated')
    await settle()
    server.hear()
    assert.equal(server.sockets.length, 2)
    assert.equal(server.presented.at(-1), other)
    assert.deepEqual(states, ['connecting', 'online', 'connecting'])
    assert.equal(server.most, 1)
  },

  async 'rejects what waits for a reply when the connection ends'() {
    const { server, client } = await online()
    const replies = Promise.allSettled([client.emitWithAck('a'), client.emitWithAck('b'), client.emitWithAck('c', 1)])
    server.socket.sent[0].at(-1)('yes')
    server.socket.sent[1].at(-1)({ error: { code: 'no' } })
    server.socket.tell('disconnect', 'transport close')
    assert.deepEqual((await replies).map((r) => r.value ?? r.reason.code), ['yes', 'no', 'disconnected'])
    assert.equal(client.emit('d'), false)
  },

  async 'logs out here where the server cannot be told'() {
    const { server, kept, client } = await online()
    const told = client.logout()
    assert.equal(kept.token, undefined)
    assert.deepEqual(server.socket.sent, [['logout']])
    await pass(3_050)
    assert.equal(await told, false)
    assert.equal(client.reason, 'logged_out_here')
    assert.equal(server.open, 0)
  },

  async 'logs out while it is offline, if the server is there after all'() {
    // Guards: the end of the connection that told the server was taken for its answer, so that the log-out said false.
    const { server, kept, client, states } = await online()
    server.socket.tell('disconnect', 'transport close')
    const told = client.logout()
    assert.equal(kept.token, undefined)
    server.socket.auth?.((data) => assert.deepEqual(data, {}))
    server.socket.tell('connect')
    assert.deepEqual(server.socket.sent, [['logout', token(2)]])
    server.socket.tell('logged_out')
    assert.equal(await told, true)
    assert.deepEqual(states.at(-1), 'signed-out: logged_out')
    await pass(60_000)
    assert.equal(server.open, 0)
  },

  async 'a link with a code that is refused costs nobody a session'() {
    // Guards: the code of a link took the place of the session in the storage, so any link signed its reader out.
    globalThis.history = { replaceState: (_, __, url) => { location.href = String(url) } }
    for (const first of [code('junk'), code('other')]) {
      const { server, kept, client } = await online()
      globalThis.location = new URL('http://app.example/some/where#a/b=%20&code=' + first)
      window.dispatchEvent(new Event('hashchange'))
      await settle()
      assert.equal(location.href, 'http://app.example/some/where#a/b=%20')
      server.hear()
      assert.equal(server.presented.at(-1), first)
      server.socket.tell('unauthorized', { code: 'invalid_token', terminal: true })
      assert.equal(kept.token, token(2))
      await pass(1_100)
      server.hear()
      assert.equal(server.presented.at(-1), token(2))
      server.socket.tell('authenticated', token(3), () => {})
      assert.equal(client.state, 'online')
      assert.equal(kept.token, token(3))
      client.close()
    }
    delete globalThis.location
    delete globalThis.history
  },

  async 'who logs in while a log-out is on its way is in'() {
    // Guards: the end of the log-out closed the new session's connection, and said signed-out.
    const { server, kept, client } = await online()
    globalThis.fetch = async () => Response.json({ token: code('two') })
    const told = client.logout()
    const loggedIn = client.login({})
    await settle()
    server.socket.tell('logged_out')
    assert.equal(await told, true)
    await settle()
    assert.equal(client.state, 'connecting')
    server.hear()
    assert.equal(server.presented.at(-1), code('two'))
    server.socket.tell('authenticated', token(1, { sid: 'two' }), () => {})
    assert.equal(client.state, 'online')
    server.socket.sent[0].at(-1)({ error: { code: 'unknown_event' } })
    await loggedIn
    assert.equal(kept.token, token(1, { sid: 'two' }))
    assert.equal(server.most, 1)
  },

  async 'a log-in ends the session that was there, once the new one has begun'() {
    // Guards: each log-in over another left a session behind that lived for as long as its last token.
    const { server, kept, client } = await online()
    globalThis.fetch = async () => Response.json({ token: code('two') })
    begin(client)
    await settle()
    assert.deepEqual(server.sockets.flatMap((socket) => socket.sent), [])
    server.hear()
    assert.equal(server.presented.at(-1), code('two'))
    const newer = server.socket
    newer.tell('authenticated', token(1, { sid: 'two' }), () => {})
    assert.notEqual(server.socket, newer)
    server.socket.tell('connect')
    assert.deepEqual(server.socket.sent, [['logout', token(2)]])
    assert.equal(server.open, 2)
    server.socket.tell('logged_out')
    assert.equal(server.open, 1)
    assert.equal(kept.token, token(1, { sid: 'two' }))
    assert.equal(client.state, 'online')

    newer.tell('authenticated', token(2, { sid: 'two' }), () => {}) // as at a renewal: there is none to end
    assert.equal(server.socket.sent.length, 1)
    const first = await start()
    begin(first.client)
    await settle()
    first.server.hear()
    first.server.socket.tell('authenticated', token(1, { sid: 'two' }), () => {})
    assert.equal(first.server.sockets.length, 1)
  },

  async 'a log-out ends the session whose token is stored, and one whose token is gone'() {
    // Guards: it ended the connection's session where another's was stored, and none where the storage was cleared.
    const replaced = await online()
    const other = token(4, { sid: 'two' })
    replaced.kept.setItem(KEY, other)
    replaced.client.logout()
    replaced.server.socket.tell('connect')
    assert.deepEqual(replaced.server.socket.sent, [['logout', other]])
    const cleared = await online()
    cleared.kept.removeItem(KEY)
    const told = cleared.client.logout()
    assert.deepEqual(cleared.server.socket.sent, [['logout']])
    cleared.server.socket.tell('logged_out')
    assert.equal(await told, true)
    assert.equal(cleared.client.state, 'signed-out')
  },

  async 'an answer that is none harms nobody'() {
    // Guards: a script for a URL was run, and an empty answer navigated to; a login without an answer waited for ever.
    const went = []
    globalThis.location = Object.assign(new URL('http://app.example/some/where'), { assign: (to) => went.push(String(to)) })
    const { client } = await start()
    const fails = async (answer, expected) => {
      globalThis.fetch = async () => answer
      assert.equal(await client.login({}).then(() => 'in', (error) => error.code), expected)
    }
    for (const nonsense of [{ url: 'javascript:alert(1)' }, { url: 'data:text/html,x' }, {}, null, 5, { token: {} }, { token: 'x' }]) {
      await fails(Response.json(nonsense), 'bad_answer')
    }
    await fails(Response.json(null, { status: 502 }), 'http_502')
    await fails(new Response('<h1>', { status: 502 }), 'http_502')
    // Guards: a page in the place of an answer, as servers of single-page apps give for any route, was called a network failure.
    await fails(new Response('<!doctype html>'), 'bad_answer')
    await fails(new Response(new ReadableStream({ pull(c) { c.error(new Error('cut')) } })), 'network')
    assert.deepEqual(went, [])
    globalThis.fetch = async (_, { signal }) => { assert.ok(signal instanceof AbortSignal); throw signal.reason ?? new Error() }
    assert.equal(await client.login({}).catch((error) => error.code), 'network')
    delete globalThis.location
  },

  async 'nonsense on a socket ends that connection, and no more'() {
    // Guards: an offer that is no token took the place of the one that was good; others were thrown into the socket.
    for (const [event, ...args] of [['authenticated'], ['authenticated', {}], ['authenticated', 'x.y.z'], ['unauthorized'], ['unauthorized', null]]) {
      const { server, kept, client } = await start(token(1))
      server.hear()
      server.socket.tell(event, ...args, () => assert.fail('acknowledged'))
      assert.equal(client.state, 'offline', event)
      assert.equal(kept.token, token(1))
      client.close()
    }
  },

  async 'no retryAfter makes it storm'() {
    // Guards: what setTimeout cannot hold was waited for not at all.
    for (const retryAfter of [1e12, 'soon', NaN, -1, {}]) {
      const { server, client } = await start(token(1))
      server.hear()
      server.socket.tell('unauthorized', { code: 'unavailable', terminal: false, retryAfter })
      await pass(450)
      assert.equal(server.sockets.length, 1, String(retryAfter))
      client.close()
    }
  },

  async 'a turn lasts until the other tabs can see what was stored'() {
    // Guards: in Chromium a lock that is passed on may be there before what was stored under it.
    let ended = 0
    const locks = { request: async (_, __, hold) => { await hold(); ended++ } }
    const { server, client } = await start(token(1), { locks })
    server.hear()
    server.socket.tell('authenticated', token(2), () => {})
    assert.equal(client.state, 'online')
    await settle()
    assert.equal(ended, 0)
    await pass(50)
    assert.equal(ended, 1)
    server.socket.tell('disconnect', 'transport close')
    window.dispatchEvent(new Event('online'))
    await settle()
    server.hear()
    server.socket.tell('authenticated', token(3), () => {})
    client.close()
    await settle()
    assert.equal(ended, 1)
    await pass(50)
    assert.equal(ended, 2)
  },

  async 'a turn that is never given back is taken, and who lost it stores nothing'() {
    // Guards: a tab that is frozen, or paused by a debugger, with the lock, kept all others waiting for ever.
    let rob
    const locks = {
      request: (_, { steal }, hold) => new Promise((resolve, reject) => {
        if (!steal) return // the frozen tab has it
        rob = reject
        hold().then(resolve)
      }),
    }
    const { server, kept, client } = await start(token(1), { locks })
    assert.equal(server.sockets.length, 0)
    await pass(60_100)
    assert.equal(server.sockets.length, 1)
    server.hear()
    rob(new Error('stolen'))
    await settle()
    server.socket.tell('authenticated', token(2), () => assert.fail('acknowledged'))
    assert.equal(kept.token, token(1))
    assert.equal(client.state, 'offline')
    client.close()
  },

  async 'a page that wakes up looks at the storage'() {
    // Guards: a tab that was frozen hears of no log-out, where its browser kept no event for it.
    const { server, kept, client } = await online()
    kept.removeItem(KEY)
    document.dispatchEvent(new Event('visibilitychange'))
    assert.equal(client.state, 'signed-out')
    assert.equal(server.open, 0)
  },

  async 'a tab knows why another one ended the session'() {
    // Guards: the page's own log-out, and a token that had expired, read in the other tabs like an end from elsewhere.
    const hear = (kept, key, newValue) => {
      window.dispatchEvent(Object.assign(new Event('storage'), { storageArea: kept, key, newValue }))
    }
    const write = (all) => { // what another tab is told of what this one does
      const { setItem, removeItem } = all.kept
      const told = []
      all.kept.setItem = (key, value) => { setItem(key, value); told.push([key, value]) }
      all.kept.removeItem = (key) => { if (all.kept.getItem(key) !== null) told.push([key, null]); removeItem(key) }
      return told
    }
    const comeBack = async (server) => {
      server.socket.tell('disconnect', 'transport close')
      window.dispatchEvent(new Event('online'))
      await settle()
      server.hear()
    }
    const refused = (code) => ({ server }) => server.socket.tell('unauthorized', { code, terminal: true })
    for (const [state, ends] of [
      ['signed-out: logged_out', ({ client }) => { client.logout() }],
      ['signed-out: logged_out', ({ server }) => server.socket.tell('logged_out')], // by a client that told nobody
      ['expired: token_expired', async ({ server }) => {
        await comeBack(server)
        refused('token_expired')({ server })
      }],
      ['signed-out: session_revoked', refused('session_revoked')],
      ['signed-out: token_reused', refused('token_reused')],
    ]) {
      const [one, other] = [await online(), await online()]
      const told = write(one)
      await ends(one)
      for (const [key, value] of told) {
        if (value === null) other.kept.removeItem(key)
        else other.kept.setItem(key, value)
      }
      for (const [key, value] of told) hear(other.kept, key, value)
      assert.equal(other.states.at(-1), state)
      assert.equal(one.kept.getItem(KEY + '.end'), null)
    }
    const { kept, states } = await online() // one that heard nothing, as it was frozen
    kept.removeItem(KEY)
    const { now } = Date
    Date.now = () => now() + 1_000_000
    document.dispatchEvent(new Event('visibilitychange'))
    Date.now = now
    assert.equal(states.at(-1), 'expired: token_expired')

    const another = await online() // what was said of one session is not said of the next
    hear(another.kept, KEY + '.end', 'logged_out')
    await comeBack(another.server)
    another.server.socket.tell('authenticated', token(3), () => {})
    another.kept.removeItem(KEY)
    hear(another.kept, KEY, null)
    assert.equal(another.states.at(-1), 'signed-out: elsewhere')
  },

  async 'a storage that answers later is read before it connects, and written before it acknowledges'() {
    // Guards: a promise was taken for a token, and nothing was kept.
    const later = (items) => {
      const waiting = []
      const when = (f) => new Promise((resolve, reject) => { waiting.push(() => { try { resolve(f()) } catch (error) { reject(error) } }) })
      return {
        items,
        waiting,
        getItem: (key) => when(() => items.get(key) ?? null),
        setItem: (key, value) => when(() => void items.set(key, value)),
        removeItem: (key) => when(() => void items.delete(key)),
        async answer() {
          await settle()
          while (waiting.length > 0) {
            waiting.shift()()
            await settle()
          }
        },
      }
    }
    const storage = later(new Map([[KEY, token(1)]]))
    const { server, client, states } = await start(undefined, { storage, locks: null })
    assert.deepEqual([states, client.token, server.sockets.length], [['connecting'], null, 0])
    await storage.answer()
    assert.equal(client.token, token(1))
    server.hear()
    assert.deepEqual(server.presented, [token(1)])
    let acknowledged = false
    server.socket.tell('authenticated', token(2), () => { acknowledged = true })
    await settle()
    assert.equal(acknowledged, false)
    const second = await start(undefined, { storage, locks: null }) // of the same page
    assert.equal(second.server.sockets.length, 0) // the first one has its turn
    await storage.answer()
    assert.deepEqual([acknowledged, storage.items.get(KEY).trim(), client.state], [true, token(2), 'online'])

    second.server.hear()
    assert.deepEqual(second.server.presented, [token(2)])
    second.client.close()
    let told = false
    client.logout().then(() => { told = true })
    server.socket.tell('logged_out')
    await settle()
    assert.equal(told, false)
    await storage.answer()
    assert.deepEqual([told, [...storage.items], client.state], [true, [], 'signed-out'])

    const another = later(new Map([[KEY, token(1)]]))
    const early = await start(undefined, { storage: another, locks: null })
    const leaving = early.client.logout() // before it is known what there is
    await another.answer()
    early.server.socket.tell('connect')
    assert.deepEqual(early.server.socket.sent, [['logout', token(1)]])
    early.server.socket.tell('logged_out')
    assert.equal(await leaving, true)
    assert.deepEqual([...another.items], [])
  },

  async 'a storage that answers later and fails is given up for memory'() {
    // Guards: what it could not store was acknowledged, and after a restart the token before it was taken for stolen.
    const fail = async () => { throw new Error('no') }
    const hang = () => new Promise(() => {})
    for (const getItem of [fail, hang]) {
      const { client, states, notices, server } = await start(undefined, {
        storage: { getItem, setItem: fail, removeItem: fail }, key: getItem.name, locks: null, // the next client is no heir
      })
      await pass(5_050)
      assert.deepEqual([states, client.shared, notices], [['connecting', 'signed-out'], false, ['storage_refused']])
      globalThis.fetch = async () => Response.json({ token: code('two') })
      begin(client)
      await settle()
      admit(server, 'two')
      assert.equal(client.state, 'online')
      client.close()
    }
    for (const setItem of [fail, hang]) {
      const key = 'write ' + setItem.name
      const items = new Map([[key, token(1)]])
      const storage = {
        getItem: async (key) => items.get(key) ?? null,
        setItem: (key, value) => value ? setItem() : items.set(key, value),
        removeItem: async (key) => { items.delete(key) },
      }
      const { client, notices, server } = await start(undefined, { storage, key, locks: null })
      await settle()
      server.hear()
      server.socket.tell('authenticated', token(2), () => {})
      await settle()
      await pass(5_050)
      assert.deepEqual([client.state, client.shared, client.token, notices], ['online', false, token(2), ['storage_full']])
      if (setItem === fail) assert.equal(items.get(key), '')
      client.close()
    }
  },

  async 'what is not given has its default'() {
    // Guards: an option that is there but undefined was taken for its value.
    const undefinedOptions = Object.fromEntries(['key', 'path', 'loginPath', 'minDelay', 'transport', 'fragment'].map((k) => [k, undefined]))
    const { server } = await online(token(1), undefinedOptions)
    assert.equal(server.presented.length, 1)
  },

  async 'a page that closes leaves no timer'() {
    // Guards: a log-out, and an event that could not be sent, left theirs behind.
    const timers = new Set()
    const { setTimeout: set, clearTimeout: clear } = globalThis
    globalThis.setTimeout = (f, ...rest) => {
      const timer = set((...args) => { timers.delete(timer); f(...args) }, ...rest)
      timers.add(timer)
      return timer
    }
    globalThis.clearTimeout = (timer) => { timers.delete(timer); clear(timer) }
    const { server, client } = await online()
    server.socket.emit = () => { throw new Error('cyclic') }
    await assert.rejects(client.emitWithAck('a'), /cyclic/)
    await assert.rejects(client.emitWithAck('connect'), /reserved/)
    server.socket.emit = () => {}
    const told = client.logout()
    client.close()
    assert.equal(await told, false)
    await pass(50) // the turn's end
    assert.equal(timers.size, 0)
    Object.assign(globalThis, { setTimeout: set, clearTimeout: clear })
  },

  async 'what was stored is acknowledged once it is on disk, and only by who still has the turn'() {
    // Guards: while the disk took its time, the turn or the token itself could go, and it was acknowledged all the same.
    let rob
    const locks = { request: (_, __, hold) => new Promise((resolve, reject) => { rob = reject; hold().then(resolve) }) }
    for (const [left, meanwhile] of [
      [token(2), undefined],
      [token(2), () => rob(new Error('stolen'))],
      [token(3), (kept) => kept.setItem(KEY, token(3))],
      [undefined, (kept) => kept.removeItem(KEY)],
    ]) {
      const disk = globalThis.indexedDB = new Database()
      const kept = globalThis.localStorage = storage(token(1))
      const { server, client } = await start(undefined, { storage: kept, locks })
      await disk.answer()
      server.hear()
      let acknowledged = false
      server.socket.tell('authenticated', token(2), () => { acknowledged = true })
      await settle()
      assert.deepEqual([acknowledged, kept.token, client.state], [false, token(2), 'connecting'])
      meanwhile?.(kept)
      await disk.answer()
      assert.equal(acknowledged, !meanwhile)
      assert.equal(client.state, !meanwhile ? 'online' : left ? 'offline' : 'signed-out')
      assert.equal(kept.token, left)
      client.close()
    }
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a disk that is none harms nobody'() {
    // Guards: no client was made where IndexedDB must not be asked for; a connection to another's database was kept open.
    const kept = globalThis.localStorage = storage(token(1))
    const online = async () => {
      const { server, client } = await start(undefined, { storage: kept })
      await disk.answer()
      server.hear()
      server.socket.tell('authenticated', token(2), () => {})
      await settle()
      await disk.answer()
      assert.equal(client.state, 'online')
      client.close()
    }
    let disk = globalThis.indexedDB = new Database()
    disk.stores = []
    await online()
    assert.ok(disk.opened > 0)
    assert.equal(disk.closed, disk.opened)
    disk = new Database()
    Object.defineProperty(globalThis, 'indexedDB', { configurable: true, get() { throw new Error('SecurityError') } })
    await online()
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'what the browser lost is brought back, also behind a code'() {
    // Guards: after a crash and a link with a code that was refused, the replaced token was presented: a theft, it seemed.
    const saved = token(5)
    for (const [link, refused] of [[undefined, false], [code('one'), false], [code('two'), true]]) {
      const disk = globalThis.indexedDB = new Database()
      disk.items.set(KEY, saved)
      const kept = globalThis.localStorage = storage(token(1))
      if (link) kept.setItem(KEY + '.code', link)
      const { server, client } = await start(undefined, { storage: kept })
      await disk.answer()
      server.hear()
      if (refused) {
        assert.equal(server.presented.at(-1), link)
        server.socket.tell('unauthorized', { code: 'token_expired', terminal: true })
        await pass(1_100)
        await disk.answer()
        server.hear()
      }
      assert.equal(server.presented.at(-1), saved)
      client.close()
    }
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a tab that is alone leaves the disk to the others'() {
    // Guards: its log-out removed the token of the session that they share.
    const disk = globalThis.indexedDB = new Database()
    disk.items.set(KEY, token(1))
    const kept = globalThis.localStorage = storage(token(1))
    const { setItem } = kept
    const { server, client } = await start(undefined, { storage: kept })
    await disk.answer()
    server.hear()
    kept.setItem = () => { throw new Error('QuotaExceededError') }
    server.socket.tell('authenticated', token(2), () => {})
    assert.deepEqual([client.state, client.shared], ['online', false])
    await disk.answer()
    assert.equal(disk.items.has(KEY), false) // it has been replaced by what is in memory
    kept.setItem = setItem
    disk.items.set(KEY, token(1, { sid: 'two' })) // another tab has logged in since
    client.logout()
    server.socket.tell('logged_out')
    await disk.answer()
    assert.equal(disk.items.get(KEY), token(1, { sid: 'two' }))
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a log-out right after a log-in over a session ends that'() {
    // Guards: only the code was told, which ends nothing; the session it was to replace lived on for as long as its token.
    const { server, kept, client } = await online()
    globalThis.fetch = async () => Response.json({ token: code('two') })
    begin(client)
    await settle()
    const told = client.logout()
    server.socket.tell('connect')
    assert.deepEqual(server.socket.sent, [['logout', token(2)]])
    server.socket.tell('logged_out')
    assert.equal(await told, true)
    assert.deepEqual([kept.token, kept.getItem(KEY + '.code')], [undefined, null])
  },

  async 'a socket that cannot be made is a connection that failed'() {
    // Guards: on a page of https a ws URL throws; it was tried on a timer of 20 s, and a log-out never ended.
    class WebSocket { constructor() { throw new Error('SecurityError') } }
    const { client, kept } = await start(token(1), { io: undefined, WebSocket })
    assert.deepEqual([client.state, client.reason], ['offline', 'SecurityError'])
    assert.equal(await client.logout(), false)
    assert.equal(kept.token, undefined)
    assert.equal(client.state, 'signed-out')
  },

  async 'JSON that is nested deeply ends no connection'() {
    // Guards: what one user has stored disconnected all who were sent it, again and again.
    let ws
    class WebSocket {
      readyState = 1
      constructor() { ws = this }
      send() {}
      close() {}
    }
    const { client } = await start(token(1), { io: undefined, WebSocket })
    const tell = (data) => ws.onmessage({ data })
    tell('0{"pingInterval":25000,"pingTimeout":20000}')
    tell('40{"sid":"x"}')
    tell(`420["authenticated","${token(2)}"]`)
    assert.equal(client.state, 'online')
    const heard = []
    client.on('news', (value, picture) => heard.push([value, picture]))
    const nested = (depth) => '['.repeat(depth) + ']'.repeat(depth)
    tell(`42["news",${nested(9000)}]`)
    tell(`451-["news",${nested(1000)},{"_placeholder":true,"num":0}]`)
    tell(new ArrayBuffer(3))
    assert.equal(client.state, 'online')
    assert.equal(heard.length, 2)
    assert.equal(heard[1][1].byteLength, 3)
  },

  async 'asks the durable copy before it says signed-out'() {
    // Guards: a browser that was killed seconds after the first login had an empty localStorage,
    // and was signed out.
    for (const saved of [token(3), undefined]) {
      const disk = globalThis.indexedDB = new Database()
      if (saved) disk.items.set(KEY, saved)
      const kept = globalThis.localStorage = storage()
      const { server, client, states } = await start(undefined, { storage: kept })
      assert.deepEqual(states, ['connecting'])
      document.dispatchEvent(new Event('visibilitychange')) // an empty storage is no log-out yet
      assert.equal(client.state, 'connecting')
      await disk.answer()
      assert.equal(server.sockets.length, saved ? 1 : 0)
      if (saved) server.hear()
      assert.deepEqual(server.presented, saved ? [saved] : [])
      assert.deepEqual(states, saved ? ['connecting'] : ['connecting', 'signed-out'])
      client.close()
    }
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'of two sessions the later is presented, and the other where that is dead'() {
    // Guards: after a login over another and a kill, the session before was presented, and its end
    // signed the user out.
    const session = (sid, auth_time) => token(3, { sid, auth_time })
    for (const [stored, saved, presented] of [
      [session('one', 1.25), session('two', 1.5), ['two']],
      [session('one', 1.5), session('two', 1.25), ['one', 'two']],
      ['garbage', session('two', 1.25), ['garbage', 'two']],
    ]) {
      const disk = globalThis.indexedDB = new Database()
      disk.items.set(KEY, saved)
      const kept = globalThis.localStorage = storage(stored)
      const { server, client, states } = await start(undefined, { storage: kept })
      await disk.answer()
      server.hear()
      if (presented.length > 1) {
        server.socket.tell('unauthorized', { code: 'no_longer_valid', terminal: true })
        await disk.answer()
        await pass(1_100)
        await disk.answer()
        server.hear()
        assert.equal(kept.token, saved)
      }
      const sids = server.presented.map((text) => text === 'garbage' ? text : JSON.parse(atob(text.split('.')[1])).sid)
      assert.deepEqual(sids, presented)
      server.socket.tell('unauthorized', { code: 'token_expired', terminal: true })
      await disk.answer()
      assert.equal(states.at(-1), 'expired: token_expired')
      assert.equal(disk.items.has(KEY), false)
      client.close()
    }
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a log-out is remembered before it is said to be done, and told when the server is there'() {
    // Guards: a browser that was killed after a log-out without a network was signed in again.
    const disk = globalThis.indexedDB = new Database()
    globalThis.localStorage = storage(token(1))
    const page = async (kept) => {
      const page = await start(undefined, { storage: globalThis.localStorage = kept })
      assert.equal(page.client.token, null) // until it is known that it was not logged out
      await disk.answer()
      return page
    }
    const first = await page(storage(token(1)))
    first.server.hear()
    first.server.socket.tell('authenticated', token(2), () => {})
    await disk.answer()
    assert.equal(first.client.token, token(2))
    first.server.socket.tell('disconnect', 'transport close')
    let told
    first.client.logout().then((result) => { told = result })
    assert.equal(first.kept.token, undefined)
    first.server.socket.tell('connect_error', new Error('no network'))
    await settle()
    assert.equal(told, undefined)
    await disk.answer()
    assert.equal(told, false)
    assert.equal(disk.items.has(KEY), false)
    first.server.socket.tell('connect_error', new Error('no network'))
    first.client.close() // killed

    const { server, client, states } = await page(storage(token(1)))
    await disk.answer()
    assert.deepEqual(states, ['connecting', 'signed-out'])
    assert.equal(server.sockets.length, 1)
    server.socket.tell('connect_error', new Error('no network'))
    await settle()
    await pass(1_050)
    await disk.answer()
    assert.equal(server.sockets.length, 2)
    server.socket.tell('connect')
    server.socket.tell('unauthorized', { code: 'unavailable', terminal: false, retryAfter: 7 })
    await settle()
    window.dispatchEvent(new Event('online'))
    await pass(6_900)
    await disk.answer()
    assert.equal(server.sockets.length, 2, 'too early')
    for (let n = 0; n < 43; n++) { // the disk answers in time
      await pass(50)
      await disk.answer()
    }
    assert.equal(server.sockets.length, 3)
    server.socket.tell('disconnect', 'transport close')
    await settle()
    window.dispatchEvent(new Event('online'))
    await disk.answer()
    assert.equal(server.sockets.length, 4)
    server.socket.tell('connect')
    assert.deepEqual(server.socket.sent, [['logout', token(2)]])
    server.socket.tell('logged_out')
    await disk.answer()
    assert.deepEqual(disk.items.get(KEY + '.ended'), [{ sid: 'one' }])
    await pass(60_000)
    await disk.answer()
    assert.equal(server.sockets.length, 4)
    assert.deepEqual(server.presented, [])
    client.close()

    disk.items.set(KEY, token(3)) // a tab was about to have its token replaced
    // The server knows, and the browser has lost its removal.
    const again = await page(storage(token(1)))
    await disk.answer()
    assert.deepEqual([again.client.state, again.server.sockets.length], ['signed-out', 0])
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a session that was ended here while the server could not be told is ended by the same page'() {
    // Guards: after a log-out, or a login over a session, it lived on for as long as its last token.
    for (const end of ['logout', 'login']) {
      const disk = globalThis.indexedDB = new Database()
      const kept = globalThis.localStorage = storage(token(1))
      const { server, client } = await start(undefined, { storage: kept })
      await disk.answer()
      server.hear()
      server.socket.tell('authenticated', token(2), () => {})
      await disk.answer()
      if (end === 'logout') {
        const told = client.logout()
        server.socket.tell('disconnect', 'transport close')
        await disk.answer()
        assert.equal(await told, false)
      } else {
        globalThis.fetch = async () => Response.json({ token: code('two') })
        client.login({}).catch(() => {})
        await disk.answer()
        server.hear()
        server.socket.tell('authenticated', token(1, { sid: 'two' }), () => {})
        await disk.answer()
        assert.deepEqual(disk.items.get(KEY + '.ended'), [{ sid: 'one', token: token(2) }])
        server.socket.tell('connect_error', new Error('no network'))
        await disk.answer()
      }
      await pass(1_050)
      await disk.answer()
      server.socket.tell('connect')
      assert.deepEqual(server.socket.sent, [['logout', token(2)]])
      server.socket.tell('logged_out')
      await disk.answer()
      assert.deepEqual(disk.items.get(KEY + '.ended'), [{ sid: 'one' }])
      client.close()
    }
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a page that is left and come back to at once is in'() {
    // Guards: a storage that was still to be restored looked like one that was cleared.
    const disk = globalThis.indexedDB = new Database()
    disk.items.set(KEY, token(3))
    const { server, client } = await start(undefined, { storage: globalThis.localStorage = storage() })
    window.dispatchEvent(new Event('pagehide'))
    window.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }))
    assert.equal(client.state, 'connecting')
    await disk.answer()
    server.hear()
    assert.deepEqual(server.presented, [token(3)])
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a session whose storage was emptied does not come back'() {
    // Guards: the durable copy was kept, and signed the user in again when the page was opened next.
    const disk = globalThis.indexedDB = new Database()
    const kept = globalThis.localStorage = storage(token(1))
    const { server, client } = await start(undefined, { storage: kept })
    await disk.answer()
    server.hear()
    server.socket.tell('authenticated', token(2), () => {})
    await disk.answer()
    assert.equal(disk.items.get(KEY), token(2))
    kept.removeItem(KEY)
    document.dispatchEvent(new Event('visibilitychange'))
    await disk.answer()
    assert.deepEqual([client.state, disk.items.has(KEY)], ['signed-out', false])
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'one tab of all tells the server of a log-out'() {
    // Guards: after a browser's end each tab that was opened again told it.
    const disk = globalThis.indexedDB = new Database()
    disk.items.set(KEY + '.ended', [{ sid: 'one', token: token(2) }])
    const kept = globalThis.localStorage = storage()
    let busy = true
    const locks = { request: async (name, { ifAvailable }, hold) => hold(ifAvailable && busy ? null : {}) }
    const { server } = await start(undefined, { storage: kept, locks })
    await disk.answer()
    assert.equal(server.sockets.length, 0)
    busy = false // that tab could not tell it
    await pass(1_050)
    await disk.answer()
    server.socket.tell('connect')
    assert.deepEqual(server.socket.sent, [['logout', token(2)]])
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a log-out while the durable copy is read ends what is in there'() {
    // Guards: the session that was just being brought back was there again after the log-out.
    for (const answers of [0, 1, 2, 3, 4]) {
      const disk = globalThis.indexedDB = new Database()
      disk.items.set(KEY, token(3))
      const kept = globalThis.localStorage = storage()
      const { server, client } = await start(undefined, { storage: kept })
      for (let n = 0; n < answers; n++) {
        disk.waiting.shift()?.()
        await settle()
      }
      const told = client.logout()
      await disk.answer()
      await pass(3_050)
      await disk.answer()
      assert.equal(await told, false)
      assert.deepEqual([client.state, kept.token, disk.items.has(KEY)], ['signed-out', undefined, false])
      assert.equal(disk.items.get(KEY + '.ended')[0].token, token(3))
      assert.deepEqual(server.presented, [])
      client.close()
    }
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a log-out was told only if the server says logged_out'() {
    // Guards: a refused log-out, as one with a token that a thief has replaced, was said to have
    // ended the session.
    for (const [code, terminal] of [['no_longer_valid', true], ['token_reused', true], ['unavailable', false]]) {
      const live = await online()
      const told = live.client.logout()
      live.server.socket.tell('unauthorized', { code, terminal })
      assert.equal(await told, false)
      assert.equal(live.client.reason, 'logged_out_here')
      const away = await online()
      away.server.socket.tell('disconnect', 'transport close')
      const late = away.client.logout()
      away.server.socket.tell('connect')
      away.server.socket.tell('unauthorized', { code, terminal })
      assert.equal(await late, false)
      assert.equal(away.kept.token, undefined)
    }
  },

  async 'a turn that left its token in the durable copy ends without a timer'() {
    // Guards: timers of hidden tabs take a second, and each of them had the turn for as long.
    const disk = globalThis.indexedDB = new Database()
    const kept = globalThis.localStorage = storage(token(1))
    let ended = 0
    const locks = { request: async (_, __, hold) => { await hold(); ended++ } }
    const { server, client } = await start(undefined, { storage: kept, locks })
    await disk.answer()
    server.hear()
    server.socket.tell('authenticated', token(2), () => {})
    await disk.answer()
    assert.equal(client.state, 'online')
    await settle()
    assert.equal(ended, 1)
    disk.items.set(KEY, token(5)) // another tab's, which is not to be seen in the storage yet
    server.socket.tell('disconnect', 'transport close')
    window.dispatchEvent(new Event('online'))
    await disk.answer()
    server.hear()
    assert.equal(server.presented.at(-1), token(5))
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'hidden tabs let a visible one go first'() {
    // Guards: the visible tab waited for the turns of all tabs that had asked before it.
    const waiting = new Map() // name to those in line
    const locks = {
      request: (name, { signal }, hold) => new Promise((resolve, reject) => {
        const line = waiting.get(name) ?? waiting.set(name, []).get(name)
        const entry = async () => {
          await hold()
          line.shift()
          line[0]?.()
          resolve()
        }
        signal?.addEventListener('abort', () => {
          const n = line.indexOf(entry)
          if (n > 0) line.splice(n, 1)
          reject(signal.reason)
        })
        if (line.push(entry) === 1) entry()
      }),
    }
    let release
    locks.request('socketauth:' + KEY, {}, () => new Promise((resolve) => { release = resolve }))
    const order = []
    const tab = async (name) => {
      const { server, client } = await start(token(1), { locks })
      const { io } = server
      return { name, server, client, io }
    }
    document.visibilityState = 'hidden'
    const hidden = [await tab('a'), await tab('b'), await tab('c')]
    const closed = await tab('closed')
    closed.client.close()
    await settle()
    assert.deepEqual([...waiting.values()].map((line) => line.length), [2, 3])
    document.visibilityState = 'visible'
    const visible = await tab('visible')
    release()
    for (let n = 0; n < 4; n++) {
      await settle()
      const next = [...hidden, visible].find(({ name, server }) => server.socket && !order.includes(name))
      order.push(next.name)
      next.server.hear()
      next.server.socket.tell('authenticated', token(2), () => {})
      await pass(50)
    }
    assert.equal(order[0], 'a')
    assert.equal(order[1], 'visible')
    assert.deepEqual(order.slice(2).sort(), ['b', 'c'])

    locks.request('socketauth:' + KEY, {}, () => new Promise((resolve) => { release = resolve }))
    document.visibilityState = 'hidden'
    await tab('d')
    const shown = await tab('e')
    document.visibilityState = 'visible'
    document.dispatchEvent(new Event('visibilitychange'))
    await settle()
    assert.deepEqual([...waiting.values()].map((line) => line.length), [3, 1])
    shown.client.close()
    release()
  },
}

for (const [name, test] of Object.entries(tests)) {
  await test()
  for (const client of clients) client.close()
  clients = []
  print({ socket: 'unit', event: 'passed', args: [name] })
}
print({ socket: 'unit', event: 'end', args: [] })
process.exit()
