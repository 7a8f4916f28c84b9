// The client's unit tests of logging in and out: see helper_unit.mjs.
import assert from 'node:assert/strict'
import {
  KEY, window, settle, pass, token, code, start, online, begin, admit,
} from './helper_unit_kit.mjs'

export const tests = {
  async 'a login resolves when the server has let it in'() {
    // Guards: login resolved with the code, so that what the page sent next had no connection yet.
    globalThis.fetch = async () => Response.json({ token: code('two') })
    for (const name of ['login', 'register']) {
      const { server, client } = await start()
      let settled = false
      const loggedIn = client[name]({}).finally(() => { settled = true })
      await settle()
      assert.equal(client.state, 'connecting')
      const decided = admit(server, 'two')
      await settle()
      // OnAuthenticated may still refuse it.
      assert.deepEqual([client.state, settled], ['online', false])
      decided({ error: { code: 'unknown_event' } })
      await loggedIn
      assert.equal(client.token, token(1, { sid: 'two' }))
      assert.equal(client.emit('hello'), true)
      server.socket.tell('disconnect', 'transport close')
      window.dispatchEvent(new Event('online'))
      await settle()
      server.hear()
      server.socket.tell('authenticated', token(2, { sid: 'two' }), () => {})
      assert.deepEqual(server.socket.sent, []) // the probe is sent once
      client.close()
    }
  },

  async 'a login that is delayed resolves in the end'() {
    // Guards: login must not fail because of a network that comes back, or a server that is busy
    // for a moment.
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
    await settle() // it has given its turn back by then
    server.socket.tell('authenticated', token(2, { sid: 'two' }), () => {})
    server.socket.sent.at(-1).at(-1)({ error: { code: 'unknown_event' } })
    await loggedIn
  },

  async 'a login rejects when it is not let in'() {
    // Guards: login had resolved by then, and only the state said why nobody was signed in.
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
      ['logged_out_here', async ({ client, server }) => {
        client.logout()
        await settle()
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
    // Guards: the end of the connection on which the server was told was taken for its answer, so
    // that logout resolved to false.
    const { server, kept, client, states } = await online()
    server.socket.tell('disconnect', 'transport close')
    const told = client.logout()
    assert.equal(kept.token, undefined)
    await settle()
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
    // Guards: the code of a link replaced the session in the storage, so that any link signed its
    // reader out.
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

  async 'who logs in while a logout is on its way is in'() {
    // Guards: the end of the logout closed the new session's connection, and the state was
    // signed-out.
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

  async 'a login ends the session that was there, once the new one has begun'() {
    // Guards: each login over a session left that session alive until its last token expired.
    const { server, kept, client } = await online()
    globalThis.fetch = async () => Response.json({ token: code('two') })
    begin(client)
    await settle()
    assert.deepEqual(server.sockets.flatMap((socket) => socket.sent), [])
    server.hear()
    assert.equal(server.presented.at(-1), code('two'))
    const newer = server.socket
    newer.tell('authenticated', token(1, { sid: 'two' }), () => {})
    await settle()
    assert.notEqual(server.socket, newer)
    server.socket.tell('connect')
    assert.deepEqual(server.socket.sent, [['logout', token(2)]])
    assert.equal(server.open, 2)
    server.socket.tell('logged_out')
    assert.equal(server.open, 1)
    assert.equal(kept.token, token(1, { sid: 'two' }))
    assert.equal(client.state, 'online')

    // As at a renewal: there is no session to end.
    newer.tell('authenticated', token(2, { sid: 'two' }), () => {})
    assert.equal(server.socket.sent.length, 1)
    const first = await start()
    begin(first.client)
    await settle()
    first.server.hear()
    first.server.socket.tell('authenticated', token(1, { sid: 'two' }), () => {})
    await settle()
    assert.equal(first.server.sockets.length, 1)
  },

  async 'a logout ends the session whose token is stored, and one whose token is gone'() {
    // Guards: logout ended the connection's session where another session's token was stored, and
    // no session where the storage was cleared.
    const replaced = await online()
    const other = token(4, { sid: 'two' })
    replaced.kept.setItem(KEY, other)
    replaced.client.logout()
    await settle()
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
    // Guards: a javascript: URL was run, the page went to an empty URL, and a login without an
    // answer never settled.
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
    // Guards: where the server of a single-page app answers any route with a page, the error was
    // "network".
    await fails(new Response('<!doctype html>'), 'bad_answer')
    await fails(new Response(new ReadableStream({ pull(c) { c.error(new Error('cut')) } })), 'network')
    assert.deepEqual(went, [])
    globalThis.fetch = async (_, { signal }) => { assert.ok(signal instanceof AbortSignal); throw signal.reason ?? new Error() }
    assert.equal(await client.login({}).catch((error) => error.code), 'network')
    delete globalThis.location
  },

  async 'a logout right after a login over a session ends that'() {
    // Guards: the server was sent the code, which ends no session, so that the session before it
    // lived until its token expired.
    const { server, kept, client } = await online()
    globalThis.fetch = async () => Response.json({ token: code('two') })
    begin(client)
    await settle()
    const told = client.logout()
    await settle()
    server.socket.tell('connect')
    assert.deepEqual(server.socket.sent, [['logout', token(2)]])
    server.socket.tell('logged_out')
    assert.equal(await told, true)
    assert.deepEqual([kept.token, kept.getItem(KEY + '.code')], [undefined, null])
  },
}
