// The client's unit tests of connections, refusals and renewals: see helper_unit.mjs.
import assert from 'node:assert/strict'
import { connect } from '../client/socketauth.js'
import { KEY, window, settle, pass, token, code, start, online } from './helper_unit_kit.mjs'

export const tests = {
  async 'a client that was closed does nothing more'() {
    // Guards: a client that a component had kept after close logged in for the other tabs too, and
    // its state stayed online.
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

  async 'warns once of events of the server that have the names of its own'() {
    // Guards: srv.Emit("state") returned no error, and the page never heard of it.
    const { warn } = console
    const warnings = []
    console.warn = (text) => warnings.push(text)
    try {
      const { server, states, notices } = await online()
      for (let n = 0; n < 2; n++) {
        server.socket.tell('notice', 'of the server')
        server.socket.tell('state', 'of the server')
      }
      assert.deepEqual([states, notices], [['connecting', 'online'], []])
    } finally {
      console.warn = warn
    }
    assert.equal(warnings.length, 1)
    assert.match(warnings[0], /event "notice" was dropped/)
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
      kept.setItem(KEY, stored) // by another tab
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
      const next = kept ? token(1) : token(2) // the same token again may be half through its life
      server.socket.tell('authenticated', next, () => {})
      const [from, to] = kept ? [200, 300] : [700, 800]
      const now = performance.now.bind(performance)
      let shift = 0
      performance.now = () => now() + shift
      const go = async (seconds) => {
        shift += seconds * 1000
        // It checks the clocks at least this often.
        for (let n = 0; n < 30 && server.socket.sent.length === 0; n++) await pass(1_000)
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

  async 'nonsense on a socket ends that connection, and no more'() {
    // Guards: what is no token replaced the token that was stored, and other nonsense made the
    // socket's handler throw.
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
    // Guards: a wait that is too long for setTimeout was no wait at all.
    for (const retryAfter of [1e12, 'soon', NaN, -1, {}]) {
      const { server, client } = await start(token(1))
      server.hear()
      server.socket.tell('unauthorized', { code: 'unavailable', terminal: false, retryAfter })
      await pass(450)
      assert.equal(server.sockets.length, 1, String(retryAfter))
      client.close()
    }
  },

  async 'what is not given has its default'() {
    // Guards: an option that is given as undefined did not have its default.
    const undefinedOptions = Object.fromEntries(['key', 'path', 'loginPath', 'minDelay', 'transport', 'fragment'].map((k) => [k, undefined]))
    const { server } = await online(token(1), undefinedOptions)
    assert.equal(server.presented.length, 1)
  },

  async 'a page that closes leaves no timer'() {
    // Guards: a logout, and an event that could not be sent, left a timer.
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

  async 'a socket that cannot be made is a connection that failed'() {
    // Guards: on a page of https a ws URL throws. The client tried again only every 20 s, and
    // logout never resolved.
    class WebSocket { constructor() { throw new Error('SecurityError') } }
    const { client, kept } = await start(token(1), { io: undefined, WebSocket })
    assert.deepEqual([client.state, client.reason], ['offline', 'SecurityError'])
    assert.equal(await client.logout(), false)
    assert.equal(kept.token, undefined)
    assert.equal(client.state, 'signed-out')
  },

  async 'JSON that is nested deeply ends no connection'() {
    // Guards: deeply nested data of one user disconnected all clients that it was sent to, each
    // time.
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
}
