// The client's unit tests of the event "refresh", with which the server asks for the token because
// the claims have changed: see helper_unit.mjs.
import assert from 'node:assert/strict'
import { connect } from '../client/socketauth.js'
import { KEY, Locks, settle, pass, token, storage, start, online } from './helper_unit_kit.mjs'

const asked = (gen) => ['authenticate', { token: token(gen), confirm: true }]

export const tests = {
  async 'a refresh is answered on the connection that is there'() {
    const { server, client, kept, notices } = await online()
    server.socket.tell('refresh')
    await settle()
    assert.deepEqual(server.socket.sent, [asked(2)])
    server.socket.tell('authenticated', token(3), () => {})
    await pass(1_000)
    assert.deepEqual([server.socket.sent.length, server.sockets.length], [1, 1])
    assert.deepEqual([client.state, kept.token, notices], ['online', token(3), ['renewed']])
  },

  async 'a refresh that comes while the token is presented is answered once more'() {
    // Guards: the presentation under way may have been decided before the claims changed. Without
    // another one the server waits in vain, and closes the socket.
    for (const first of ['online', 'connecting']) {
      const { server } = first === 'online' ? await online() : await start(token(2))
      if (first === 'online') server.socket.tell('refresh')
      else server.hear()
      await settle()
      for (let n = 0; n < 3; n++) server.socket.tell('refresh')
      await settle()
      assert.deepEqual(server.presented.slice(-1), [token(2)])
      const before = server.presented.length
      server.socket.tell('authenticated', token(3), () => {})
      await pass(1_000)
      assert.deepEqual(server.presented.slice(before), [token(3)])
      server.socket.tell('authenticated', token(4), () => {})
      await pass(1_000)
      assert.equal(server.presented.length, before + 1)
    }
  },

  async 'refreshes that come while it waits for its turn are answered by one presentation'() {
    const locks = new Locks()
    const { server } = await online(token(1), { locks })
    await pass(100)
    let release
    locks.request('socketauth:' + KEY, {}, () => new Promise((resolve) => { release = resolve }))
    for (let n = 0; n < 3; n++) server.socket.tell('refresh')
    await pass(1_000)
    assert.deepEqual(server.socket.sent, [])
    release()
    await settle()
    assert.deepEqual(server.socket.sent, [asked(2)])
    server.socket.tell('authenticated', token(3), () => {})
    await pass(1_000)
    assert.equal(server.socket.sent.length, 1)
  },

  async 'a refresh that is refused for now is answered later'() {
    const { server, client } = await online()
    server.socket.tell('refresh')
    await settle()
    server.socket.tell('refresh')
    server.socket.tell('unauthorized', { code: 'unavailable', terminal: false, retryAfter: 2 })
    await pass(1_900)
    assert.equal(server.socket.sent.length, 1, 'too early')
    Date.now = ((now) => () => now() + 5_000)(Date.now)
    await pass(4_000)
    assert.deepEqual(server.socket.sent, [asked(2), asked(2)])
    assert.deepEqual([client.state, server.sockets.length], ['online', 1])
  },

  async 'each of five tabs answers a refresh with the newest token'() {
    // Guards: tabs that answer at once present one token twice, which looks like theft.
    for (const locks of [new Locks(), null]) {
      const kept = storage(token(1))
      const session = { newest: 1, offered: undefined, most: 0, presented: 0, clients: [] }
      // present is what a server does that accepts nothing but the newest token.
      const present = (socket, given) => {
        assert.equal(given, token(session.newest), 'an old token was presented')
        assert.equal(session.offered, undefined, 'two tabs presented at once')
        session.presented++
        session.offered = session.newest + 1
        setTimeout(() => socket.tell('authenticated', token(session.offered), () => {
          session.newest = session.offered
          session.offered = undefined
        }), 30)
      }
      for (let n = 0; n < 5; n++) {
        const io = (_, { auth }) => {
          const socket = { handlers: {}, auth, on: (event, f) => { (socket.handlers[event] ??= []).push(f) } }
          socket.tell = (event, ...args) => { for (const f of socket.handlers[event] ?? []) f(...args) }
          socket.emit = (event, data) => { if (event === 'authenticate') present(socket, data.token) }
          socket.connect = () => {
            auth(({ token }) => present(socket, token))
            socket.tell('connect')
          }
          socket.disconnect = () => {}
          session.clients[n].socket = socket
          return socket
        }
        session.clients[n] = { client: connect({ url: 'http://app.example', io, storage: kept, locks }) }
      }
      await pass(5_000)
      const states = () => session.clients.map(({ client }) => client.state)
      assert.deepEqual(states(), Array(5).fill('online'))
      assert.equal(session.presented, 5)
      for (const { socket } of session.clients) socket.tell('refresh')
      await pass(5_000)
      assert.equal(session.presented, 10)
      assert.deepEqual(states(), Array(5).fill('online'))
      assert.equal(kept.token, token(session.newest))
      for (const { client } of session.clients) client.close()
    }
  },

  async 'a tab follows another one in which the user has proved who they are'() {
    // Guards: after that, the sockets of the other tabs still had the earlier proof, and asked the
    // user once more.
    const { server, kept } = await online(token(1, { auth_time: 100 }))
    server.socket.tell('refresh') // its own token has the time too
    await settle()
    server.socket.tell('authenticated', token(3, { auth_time: 100 }), () => {})
    await pass(100)
    const before = server.socket.sent.length
    kept.setItem(KEY, token(4, { auth_time: 100 }))
    server.socket.tell('rotated')
    await pass(100)
    assert.equal(server.socket.sent.length, before)
    const proved = token(5, { auth_time: 200 })
    kept.setItem(KEY, proved)
    server.socket.tell('rotated')
    await pass(100)
    assert.deepEqual(server.socket.sent.slice(before), [['authenticate', { token: proved, confirm: true }]])
    server.socket.tell('authenticated', token(6, { auth_time: 200 }), () => {})
    server.socket.tell('rotated')
    await pass(100)
    assert.equal(server.socket.sent.length, before + 1)
  },
}
