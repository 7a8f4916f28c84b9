// The client's unit tests of getToken: see helper_unit.mjs.
import assert from 'node:assert/strict'
import { KEY, Database, Locks, TokenServer, settle, pass, token, code, storage, start, tokenPath, now, old, fresh, loaded, offline, page, loggingIn, given, settles } from './helper_unit_kit.mjs'

export const tests = {
  async 'a token that lives for long enough is given as it is'() {
    const { client, http, server } = await page()
    assert.equal(await client.getToken(), token(2))
    assert.equal(await client.getToken({ minValidity: 200 }), token(2))
    // Asking for more than a token's life would have it replaced at each call.
    assert.equal(await client.getToken({ minValidity: 1e6 }), token(2))
    const other = await offline(fresh(7)) // another tab has stored it
    assert.equal(await other.client.getToken(), other.kept.token)
    const last = await offline(token(7, { dur: 2, exp: 0 })) // there is no next one
    assert.equal(await last.client.getToken(), last.kept.token)
    assert.deepEqual([http, other.http, last.http].map(({ requests }) => requests), [[], [], []])
    assert.deepEqual(server.socket.sent, [])
    const { client: nobody } = await start()
    assert.equal(await nobody.getToken(), null)
    nobody.close()
    assert.equal(await given(settles(nobody.getToken())), 'closed')
  },

  async 'a token is replaced on the socket where there is one'() {
    const { client, server, http } = await page()
    Date.now = ((now) => () => now() + 790_000)(Date.now)
    const tokens = [client.getToken({ minValidity: 250 }), client.getToken({ minValidity: 250 })]
    await loaded()
    assert.deepEqual(server.socket.sent, [['authenticate', { token: token(2), confirm: true }]])
    server.socket.tell('authenticated', token(3), () => {})
    assert.deepEqual(await Promise.all(tokens), [token(3), token(3)])
    await pass(1_000)
    assert.equal(server.socket.sent.length, 1)
    assert.deepEqual(http.requests, [])
  },

  async 'who logs in meanwhile gives nobody a token of another session'() {
    const { client, server, kept } = await page()
    Date.now = ((now) => () => now() + 790_000)(Date.now)
    const asked = settles(client.getToken({ minValidity: 250 }))
    await loaded()
    server.socket.tell('authenticated', token(3), () => {})
    kept.setItem(KEY, token(1, { sid: 'two' }))
    assert.equal(await asked, 'replaced')
  },

  async 'a token that came back may be half through its life'() {
    const { client, server } = await page()
    server.socket.tell('refresh')
    await settle()
    server.socket.tell('authenticated', token(2), () => {})
    await pass(100)
    Date.now = ((now) => () => now() + 300_000)(Date.now)
    const asked = client.getToken({ minValidity: 250 })
    await loaded()
    assert.equal(server.socket.sent.length, 2)
    server.socket.tell('authenticated', token(3), () => {})
    assert.equal(await asked, token(3))
  },

  async 'the token of a connection that is being made is waited for'() {
    const http = new TokenServer()
    const { client, server } = await start(old(1))
    server.hear()
    const asked = client.getToken()
    await loaded()
    server.socket.tell('authenticated', token(2), () => {})
    assert.equal(await asked, token(2))
    await pass(100)
    assert.deepEqual([server.socket.sent, http.requests], [[], []])
  },

  async 'without a socket a token is stored, then confirmed, and then given'() {
    const { client, kept, http, notices } = await offline(old(1))
    const before = kept.token
    let stored
    http.answers.push(() => Response.json({ token: token(2) }), () => {
      stored = kept.token
      return new Response(null, { status: 204 })
    })
    assert.deepEqual(await given(Promise.all([client.getToken(), client.getToken()])), [token(2), token(2)])
    assert.equal(stored, token(2))
    assert.deepEqual(http.taken(), [['POST /token', before, {}], ['POST /token', token(2), { confirm: true }]])
    assert.equal(await client.getToken(), token(2))
    assert.deepEqual([http.taken(), client.state, notices], [[], 'offline', []])
  },

  async 'one tab at a time has its token replaced'() {
    // Guards: tabs that ask at once would present one token twice.
    for (const locks of [new Locks(), null]) {
      const kept = storage(old(1))
      const http = new TokenServer()
      let open = 0
      http.answers = Array.from({ length: 10 }, () => async (body) => {
        assert.equal(++open, 1, 'two at once')
        await settle()
        open--
        return body.confirm ? new Response(null, { status: 204 }) : Response.json({ token: fresh(2) })
      })
      class WebSocket { constructor() { throw new Error('no network') } }
      const tabs = []
      for (let n = 0; n < 5; n++) {
        tabs.push(await start(undefined, { tokenPath, storage: kept, locks, io: undefined, WebSocket, minDelay: 60_000 }))
      }
      await pass(3_000) // all have had their turns
      const all = await given(Promise.all(tabs.map(({ client }) => client.getToken())))
      assert.deepEqual([...new Set(all)], [kept.token])
      assert.deepEqual(http.taken().map(([, , body]) => body), [{}, { confirm: true }])
      for (const { client } of tabs) client.close()
    }
  },

  async 'a turn of a socket and one without are taken one after the other'() {
    // Guards: a client whose session is in its memory waited for nobody, and presented one token
    // twice at once.
    const { client, server } = await loggingIn({ storage: null, key: 'in memory' })
    server.hear()
    const http = new TokenServer()
    const asked = client.getToken()
    await loaded()
    assert.deepEqual(http.requests, [])
    server.socket.tell('authenticated', token(4), () => {})
    await pass(100)
    assert.equal(await asked, token(4))
    assert.deepEqual(http.requests, [])
  },

  async 'a connection that takes long to open gives its turn back until it has'() {
    // Guards: Firefox makes websockets wait where earlier ones have failed. Their tabs had the turn
    // for 20 s each, and nobody could have a token replaced without a socket.
    for (const handshake of [true, false]) {
      const locks = new Locks()
      const http = new TokenServer()
      const { client, server, kept } = await start(old(1), { tokenPath, locks, handshake })
      await loaded()
      const asked = client.getToken()
      await loaded()
      assert.deepEqual(http.requests, []) // it may open in time
      assert.equal(await given(asked), token(2))
      assert.deepEqual([server.sockets.length, server.presented], [1, []])
      await pass(100)
      let release
      locks.request('socketauth:' + KEY, {}, () => new Promise((resolve) => { release = resolve }))
      server.hear()
      await pass(500)
      assert.deepEqual(server.presented, [])
      release()
      await pass(100)
      assert.deepEqual(server.presented, [token(2)])
      server.socket.tell('authenticated', token(3), () => {})
      assert.deepEqual([client.state, kept.token], ['online', token(3)])
      client.close()
      const never = await start(old(1), { locks: new Locks() })
      await pass(20_100) // it is given up
      assert.deepEqual([never.client.state, never.client.reason], ['offline', 'timeout'])
      never.client.close()
    }
  },

  async 'a token that came back needs no confirmation'() {
    const { client, kept, http } = await offline(old(1))
    const before = kept.token
    http.answers.push(() => Response.json({ token: before }))
    assert.equal(await given(client.getToken()), before)
    assert.equal(http.taken().length, 1)
  },

  async 'what another tab has stored on disk is presented, and survives a refusal'() {
    // Guards: localStorage shows later what another tab has stored. A refusal of the token before
    // that signed the user out.
    for (const refused of [false, true]) {
      const disk = globalThis.indexedDB = new Database()
      const kept = globalThis.localStorage = storage(old(1))
      const http = new TokenServer(6)
      const starting = start(undefined, { tokenPath, storage: undefined, locks: new Locks() })
      await disk.answer()
      const { client, server } = await starting
      await disk.answer()
      server.socket.tell('connect_error', new Error('no network'))
      if (!refused) disk.items.set(KEY, old(6))
      else http.answers.push(() => {
        disk.items.set(KEY, old(6))
        return Response.json({ code: 'no_longer_valid' }, { status: 401 })
      })
      const asked = settles(client.getToken())
      for (let n = 0; n < 20; n++) {
        await loaded()
        await disk.answer()
      }
      assert.equal(await given(asked), refused ? 'no_longer_valid' : token(7))
      const gens = http.taken().map(([, bearer]) => JSON.parse(atob(bearer.split('.')[1])).gen)
      assert.deepEqual(gens, refused ? [1] : [6, 7])
      assert.equal(kept.token, refused ? disk.items.get(KEY) : token(7))
      assert.deepEqual([disk.items.get(KEY), client.state], [kept.token, 'offline'])
      client.close()
      delete globalThis.indexedDB
      delete globalThis.localStorage
    }
  },

  async 'who loses the turn while the disk is read presents nothing'() {
    // Guards: the token was presented at TokenPath by a tab whose turn another one had taken.
    let rob
    const locks = { request: (_, __, hold) => new Promise((resolve, reject) => { rob = reject; hold().then(resolve) }) }
    const disk = globalThis.indexedDB = new Database()
    const kept = globalThis.localStorage = storage(old(1))
    const http = new TokenServer()
    const starting = start(undefined, { tokenPath, storage: kept, locks })
    await disk.answer()
    const { client, server } = await starting
    server.socket.tell('connect_error', new Error('no network'))
    const before = kept.token
    const asked = settles(client.getToken())
    await loaded()
    assert.equal(disk.waiting.length, 1)
    rob(new Error('stolen'))
    await disk.answer()
    assert.equal(await asked, 'timeout')
    assert.deepEqual([http.requests, kept.token], [[], before])
    client.close()
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'who loses the turn, or waits for it in vain, stores nothing'() {
    class WebSocket { constructor() { throw new Error('no network') } }
    const { client, kept } = await start(old(1), { tokenPath, locks: null, io: undefined, WebSocket, minDelay: 60_000 })
    await pass(500)
    const http = new TokenServer()
    const before = kept.token
    const turn = KEY + '.turn'
    http.answers.push(() => {
      kept.setItem(turn, 'stranger---1') // it was taken for frozen
      return Response.json({ token: token(2) })
    })
    assert.equal(await given(settles(client.getToken())), 'timeout')
    assert.deepEqual([kept.token, http.taken().length], [before, 1])
    let beats = 0
    const heartbeat = setInterval(() => kept.setItem(turn, 'stranger' + String(++beats).padStart(4, '-')), 500)
    let error
    client.getToken().catch((e) => { error = e })
    await loaded()
    await pass(20_100)
    assert.equal(error.code, 'timeout')
    error = undefined
    client.getToken().catch((e) => { error = e })
    await loaded()
    client.close()
    await settle()
    assert.equal(error.code, 'closed')
    clearInterval(heartbeat)
    assert.deepEqual(http.requests, [])
  },

  async 'a token is not presented for who logs in while it waits'() {
    const locks = new Locks()
    const { client, kept, http } = await offline(old(1), { locks })
    await pass(100)
    let release
    locks.request('socketauth:' + KEY, {}, () => new Promise((resolve) => { release = resolve }))
    const asked = settles(client.getToken())
    await loaded()
    kept.setItem(KEY, old(1, { sid: 'two' }))
    release()
    assert.equal(await given(asked), 'replaced')
    assert.deepEqual(http.requests, [])
  },

  async 'answers that are lost cost nothing'() {
    const { client, kept, http } = await offline(old(1))
    const before = kept.token
    http.answers.push(() => { throw new TypeError('lost') })
    assert.equal(await given(settles(client.getToken())), 'network')
    assert.equal(kept.token, before)
    http.answers.push(undefined, () => { throw new TypeError('lost') }) // the confirmation
    assert.equal(await client.getToken(), token(2))
    assert.deepEqual(http.taken().map(([, bearer]) => bearer), [before, before, token(2)])
    assert.equal(kept.token, token(2))
  },

  async 'a token that is dead is removed, and no other'() {
    for (const [status, refusal, state] of [
      [401, { code: 'session_revoked' }, 'signed-out'],
      [401, { code: 'token_expired' }, 'expired'],
      [401, { code: 'no_longer_valid', terminal: false }, 'offline'],
      [503, { code: 'unavailable' }, 'offline'],
      [429, { code: 'too_many_attempts' }, 'offline'],
      [404, {}, 'offline'],
      [200, { token: 'x' }, 'offline'],
    ]) {
      const { client, kept, http } = await offline(old(1))
      const before = kept.token
      http.answers.push(() => Response.json(refusal, { status }))
      const expected = refusal.code ?? (status === 404 ? 'http_404' : 'bad_answer')
      assert.equal(await given(settles(client.getToken())), expected)
      assert.deepEqual([client.state, kept.token], [state, state === 'offline' ? before : undefined])
      client.close()
    }
    // The new token is refused: the session was revoked between the two requests.
    const { client, kept, http } = await offline(old(1))
    http.answers.push(undefined)
    http.refuse(401, 'session_revoked')
    assert.equal(await given(settles(client.getToken())), 'session_revoked')
    assert.deepEqual([client.state, kept.token], ['signed-out', undefined])
  },

  async 'nothing is stored for who has logged out, or lost the turn, meanwhile'() {
    for (const [change, why] of [['logout', 'replaced'], ['login', 'replaced'], ['close', 'closed']]) {
      const { client, kept, http } = await offline(old(1))
      let answer
      http.answers.push(() => new Promise((resolve) => { answer = resolve }))
      const asked = settles(client.getToken())
      await loaded()
      if (change === 'logout') client.logout()
      if (change === 'login') kept.setItem(KEY, token(1, { sid: 'two' }))
      if (change === 'close') client.close()
      answer(Response.json({ token: token(2) }))
      assert.equal(await given(asked), why)
      assert.notEqual(kept.token, token(2))
      assert.equal(http.requests.length, 1)
    }
  },

  async 'a refusal without a socket is no answer to a logout'() {
    // Guards: the logout resolved to false, though the server was told just after that.
    const { client, server, http } = await offline(old(1))
    let answer
    http.answers.push(() => new Promise((resolve) => { answer = resolve }))
    const asked = settles(client.getToken())
    await loaded()
    const told = client.logout()
    answer(Response.json({ code: 'session_revoked' }, { status: 401 }))
    assert.equal(await given(asked), 'session_revoked')
    server.socket.tell('connect')
    server.socket.tell('logged_out')
    assert.equal(await given(told), true)
  },

  async 'a code is traded without a socket too'() {
    const { client, server, kept } = await loggingIn()
    server.socket.tell('connect_error', new Error('no network'))
    const http = new TokenServer(0)
    assert.equal(await client.getToken(), token(1))
    assert.deepEqual(http.taken().map(([, bearer]) => bearer), [code('one'), token(1)])
    assert.equal(kept.token, token(1))
  },

  async 'without a TokenPath the next connection is waited for'() {
    const { client, server, http } = await offline(old(1), { tokenPath: undefined })
    const asked = client.getToken()
    await pass(1_100)
    server.hear()
    server.socket.tell('authenticated', token(2), () => {})
    assert.equal(await asked, token(2))
    assert.deepEqual([http.requests, server.socket.sent], [[], []])
    const { client: alone } = await offline(old(1), { tokenPath: undefined })
    const never = settles(alone.getToken())
    await pass(20_050)
    assert.equal(await never, 'network')
  },
}
