// The client's unit tests of snapshot and subscribe: see helper_unit.mjs.
import assert from 'node:assert/strict'
import { connect } from '../client/socketauth.js'
import {
  KEY, window, settle, pass, encode, token, code, storage, Database, start, online, admit, offline, loaded,
} from './helper_unit_kit.mjs'

const alice = { sub: 'alice', roles: ['admin', { of: 'x' }] }
const own = { iss: 'a', aud: 'b', jti: 'c', iat: 1, exp: 2, auth_time: 3, began: 4, mark: 5 }

// watch returns the states and users of which a client's subscribers hear.
function watch(client) {
  const heard = []
  let before = client.snapshot
  client.subscribe((...args) => {
    assert.deepEqual(args, [])
    assert.notEqual(client.snapshot, before, 'called without a change')
    before = client.snapshot
    assert.ok(Object.isFrozen(before))
    for (const [name, value] of Object.entries(before)) assert.equal(client[name], value)
    if (before.claims) assert.equal(before.user, before.claims.sub ?? null)
    heard.push(`${before.state}: ${before.user}`)
  })
  return heard
}

const inOtherTab = (kept, newValue) => { // what another tab has stored
  if (newValue === null) kept.removeItem(KEY)
  else kept.setItem(KEY, newValue)
  window.dispatchEvent(Object.assign(new Event('storage'), { storageArea: kept, key: KEY, newValue }))
}

export const tests = {
  async 'a snapshot is the same until something in it changes'() {
    const { server, client, states } = await start(token(1, { ...alice, ...own }))
    const heard = watch(client)
    const before = client.snapshot
    const { claims } = before
    assert.deepEqual(before, { state: 'connecting', reason: undefined, user: 'alice', claims: alice, shared: true, bound: false })
    assert.ok([before, claims, claims.roles, claims.roles[1]].every(Object.isFrozen))
    server.hear()
    server.socket.tell('authenticated', token(2, { ...alice, ...own, jti: 'd' }), () => {})
    assert.deepEqual(heard, ['online: alice'])
    assert.equal(client.claims, claims)

    const snapshot = client.snapshot
    const renew = async (claims) => {
      server.socket.tell('refresh')
      await settle()
      server.socket.tell('authenticated', token(3, claims), () => {})
      await pass(100)
    }
    const { roles, sub } = alice
    await renew({ ...own, roles, sub }) // in another order
    assert.equal(client.snapshot, snapshot)
    assert.deepEqual(heard, ['online: alice'])

    let renewed // the notice comes with the new claims
    client.on('notice', () => { renewed = client.claims.roles })
    await renew({ ...alice, ...own, roles: [], acr: 'high' })
    assert.deepEqual([renewed, client.claims], [[], { sub: 'alice', roles: [], acr: 'high' }])
    assert.deepEqual([heard.length, client.user], [2, 'alice'])

    const { claims: last } = client
    server.socket.tell('disconnect', 'transport close')
    assert.deepEqual([heard.at(-1), client.claims, client.reason], ['offline: alice', last, 'transport close'])
    const told = client.logout()
    assert.equal(client.token, null)
    assert.equal(heard.at(-1), 'offline: alice') // the user goes with the state
    client.on('state', (state) => assert.equal(client.snapshot.state, state))
    await loaded()
    server.socket.tell('connect_error', new Error('no network'))
    assert.equal(await told, false)
    assert.deepEqual(heard, ['online: alice', 'online: alice', 'offline: alice', 'signed-out: null'])
    assert.deepEqual(states, ['connecting', 'online', 'offline: transport close', 'signed-out: logged_out_here'])
    assert.deepEqual(client.snapshot, { state: 'signed-out', reason: 'logged_out_here', user: null, claims: null, shared: true, bound: false })
  },

  async 'the user is there once the code is traded, and gone when the session is'() {
    for (const [refusal, end] of [['token_expired', 'expired: null'], ['session_revoked', 'signed-out: null']]) {
      const { server, client } = await online(token(1, alice))
      const heard = watch(client)
      globalThis.fetch = async () => Response.json({ token: code('two') })
      const login = client.login({})
      await loaded()
      assert.deepEqual([heard, client.claims], [['connecting: null'], null])
      const { socket } = server // the next one ends alice's session
      admit(server, 'two')
      socket.sent[0].at(-1)({ error: { code: 'unknown_event' } })
      await login
      await pass(100)
      socket.tell('refresh')
      await settle()
      socket.tell('authenticated', token(2, { sid: 'two', sub: 'bob' }), () => {})
      await pass(100)
      socket.tell('refresh')
      await settle()
      socket.tell('unauthorized', { code: refusal, terminal: true })
      await settle()
      assert.deepEqual([heard[1], ...heard.slice(-2)], ['online: null', 'online: bob', end])
      assert.equal(client.reason, refusal)
      client.close()
    }
  },

  async 'a code that is refused leaves the user who was there'() {
    const { server, client } = await online(token(1, alice))
    globalThis.fetch = async () => Response.json({ token: code('two') })
    server.socket.tell('refresh')
    await pass(100)
    server.socket.tell('authenticated', token(3, alice), () => {})
    client.login({}).catch(() => {})
    await loaded()
    const heard = watch(client)
    assert.equal(client.user, null)
    server.hear()
    server.socket.tell('unauthorized', { code: 'token_expired', terminal: true })
    await settle()
    assert.deepEqual([client.user, heard[0]], ['alice', 'connecting: alice'])
  },

  async 'a tab shows who is signed in by what other tabs store'() {
    const { server, client, kept } = await start()
    const heard = watch(client)
    inOtherTab(kept, token(1, alice))
    assert.deepEqual(heard, ['connecting: alice'])
    await settle()
    server.hear()
    server.socket.tell('authenticated', token(2, alice), () => {})
    const { snapshot } = client
    inOtherTab(kept, token(3, alice)) // a renewal
    assert.equal(client.snapshot, snapshot)
    inOtherTab(kept, token(4, { ...alice, auth_time: 5, acr: 'high' })) // a step-up
    assert.deepEqual([client.claims.acr, heard.length], ['high', 3])
    inOtherTab(kept, token(1, { sid: 'two', sub: 'bob' })) // another login
    assert.equal(heard.at(-1), 'connecting: bob')
    inOtherTab(kept, null)
    assert.equal(heard.at(-1), 'signed-out: null')
    assert.deepEqual(client.claims, null)

    const offline = await start(token(1, alice)) // and without a connection
    offline.server.socket.tell('connect_error', new Error('no network'))
    inOtherTab(offline.kept, token(2, { sub: 'alice', roles: [] }))
    assert.deepEqual(offline.client.claims.roles, [])
    inOtherTab(offline.kept, token(3, { sid: 'two', sub: 'bob' }))
    assert.equal(offline.client.user, 'bob')
  },

  async 'the user who is shown online is the one as whom the client emits'() {
    // Guards: between the login of another user, in a tab or by another client of the page, and
    // this client's following it, the snapshot said that user, and emit went out as the one before.
    for (const [other, next] of [[code('two'), 'null'], [token(1, { sid: 'two', sub: 'bob' }), 'bob']]) {
      const { server, client, kept } = await start(token(1, alice))
      server.hear()
      server.socket.tell('authenticated', token(2, alice), () => {})
      const heard = watch(client)
      const { snapshot } = client
      let notices = 0
      const undo = client.on('notice', () => {
        notices++
        assert.equal(client.snapshot, snapshot)
        assert.equal(client.emit('say'), true)
      })
      kept.setItem(KEY, other) // no event tells of it
      server.socket.tell('unauthorized', { code: 'unavailable', terminal: false, retryAfter: 1 })
      assert.equal(notices, 1)
      assert.deepEqual([heard, client.emit('say')], [[`connecting: ${next}`], false]) // it has looked
      undo()
      await settle()
      server.hear()
      assert.equal(server.presented.at(-1), other)
      server.socket.tell('authenticated', token(2, { sid: 'two', sub: 'bob' }), () => {})
      assert.deepEqual([heard.at(-1), server.most], ['online: bob', 1])
    }
  },

  async 'a tab whose session moves to memory keeps its user'() {
    const { server, client, kept } = await online(token(1, alice))
    server.socket.tell('refresh')
    await pass(100)
    kept.setItem = (key, value) => { if (value) throw new Error('QuotaExceededError') }
    const heard = watch(client)
    server.socket.tell('authenticated', token(3, alice), () => {})
    assert.deepEqual([heard, client.shared, client.user], [['online: alice'], false, 'alice'])
    server.socket.tell('logged_out')
    assert.deepEqual([heard.at(-1), client.shared], ['signed-out: null', true])

    const session = globalThis.sessionStorage = storage(JSON.stringify([[KEY, token(1, alice)]]))
    const own = await online(undefined, { storage: session })
    own.server.socket.tell('refresh')
    await pass(100)
    own.server.socket.tell('authenticated', token(3, alice), () => {})
    const left = watch(own.client)
    window.dispatchEvent(new Event('pagehide')) // the token leaves the memory
    window.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }))
    assert.deepEqual(left, ['connecting: alice'])
    own.client.close()
    assert.deepEqual(left, ['connecting: alice', 'offline: alice'])
    delete globalThis.sessionStorage
  },

  async 'nobody is shown before it is known that they were not logged out'() {
    const disk = globalThis.indexedDB = new Database()
    const kept = globalThis.localStorage = storage(token(1, alice))
    const locks = { request: () => new Promise(() => {}) } // another tab has the turn
    const first = await start(undefined, { storage: kept, locks })
    const heard = watch(first.client)
    assert.deepEqual([first.client.token, first.client.user, first.client.state], [null, null, 'connecting'])
    await disk.answer()
    assert.deepEqual([first.client.token, heard], [token(1, alice), ['connecting: alice']])
    first.client.close()

    disk.items.set(KEY + '.ended', [{ sid: 'one' }])
    const second = await start(undefined, { storage: kept })
    const states = watch(second.client)
    await disk.answer()
    assert.deepEqual(states, ['signed-out: null'])
    second.client.close()

    disk.items.delete(KEY + '.ended') // localStorage has lost the newest token
    kept.setItem(KEY, token(1, alice))
    disk.items.set(KEY, token(4, { sub: 'alice', roles: [] }))
    const third = await start(undefined, { storage: kept })
    const claims = []
    third.client.subscribe(() => claims.push(third.client.claims?.roles.length))
    await disk.answer()
    assert.equal(claims.at(-1), 0)
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a storage that answers with promises shows the user once it has'() {
    const items = storage(token(1, alice))
    const later = Object.fromEntries(['getItem', 'setItem', 'removeItem'].map((name) => [name, async (...args) => items[name](...args)]))
    const client = connect({ url: 'http://app.example', storage: later, WebSocket: class { close() {} }, locks: null })
    const heard = watch(client)
    assert.equal(client.user, null)
    await loaded()
    assert.deepEqual([client.user, heard], ['alice', ['connecting: alice']])
    client.close()
  },

  async 'claims that are replaced without a socket are shown'() {
    const { client, http } = await offline(token(1, { ...alice, exp: 0 }))
    const heard = watch(client)
    http.answers.push(() => Response.json({ token: token(2, { sub: 'alice', roles: [], exp: 9e9 }) }))
    await client.getToken()
    assert.deepEqual([client.claims, heard], [{ sub: 'alice', roles: [] }, ['offline: alice']])
  },

  async 'subscribers are called once a change, whatever another one does'() {
    const { server, client } = await start(token(1, alice))
    const heard = []
    const failed = []
    const { queueMicrotask } = globalThis
    globalThis.queueMicrotask = (f) => { try { f() } catch (error) { failed.push(error.message) } }
    client.on('state', (state) => heard.push(state))
    client.subscribe(() => {
      heard.push('first')
      undo()
      throw new Error('of a subscriber')
    })
    const undo = client.subscribe(() => heard.push('undone'))
    const twice = () => heard.push('twice')
    const one = client.subscribe(twice)
    const other = client.subscribe(twice)
    server.hear()
    server.socket.tell('authenticated', token(2, alice), () => {})
    assert.deepEqual(heard, ['first', 'twice', 'twice', 'online'])
    assert.deepEqual(failed, ['of a subscriber'])
    one()
    one()
    server.socket.tell('disconnect', 'transport close')
    assert.deepEqual(heard.slice(4), ['first', 'twice', 'offline'])
    other()
    client.close()
    assert.deepEqual(heard.slice(7), ['first'])
    globalThis.queueMicrotask = queueMicrotask
  },

  async 'whoever has subscribed hears of the end, and of nothing after it'() {
    const { client, server } = await online(token(1, alice))
    const heard = watch(client)
    let late = 0
    client.subscribe(() => { if (client.state === 'offline') client.close() }) // in its own call
    client.subscribe(() => { late++ })
    const told = client.logout()
    client.close()
    const { snapshot } = client
    assert.deepEqual(heard, ['offline: null']) // online() has no user
    client.subscribe(() => { late++ })
    client.on('state', () => { late++ })
    assert.equal(await told, false)
    await settle()
    assert.equal(client.snapshot, snapshot) // the state was signed-out, of which nobody heard
    assert.deepEqual([client.state, client.reason], ['offline', 'closed'])
    server.socket.tell('authenticated', token(3, alice), () => {})
    assert.deepEqual([heard.length, late], [1, 1])

    const other = await start(token(1, alice)) // in the call for another change
    other.client.subscribe(() => other.client.close())
    const last = watch(other.client)
    other.server.socket.tell('connect_error', new Error('no network'))
    assert.deepEqual([last, other.client.reason], [['offline: alice'], 'closed'])

    const nobody = await start()
    nobody.client.subscribe(() => { late++ })
    nobody.client.close()
    assert.equal(late, 1) // nothing has changed

    // A component that is removed and put back, as by StrictMode, finds the user.
    const kept = storage(token(1, alice))
    const first = connect({ url: 'http://app.example', storage: kept, WebSocket: class { close() {} } })
    const gone = watch(first)
    first.close()
    const second = connect({ url: 'http://app.example', storage: kept, WebSocket: class { close() {} } })
    assert.deepEqual([gone, first.user, second.snapshot.user], [['offline: alice'], 'alice', 'alice'])
    assert.deepEqual([first.state, first.reason], ['offline', 'closed'])
    await settle()
    second.close()
  },

  async 'what a server renders has nobody signed in'() {
    const { document } = globalThis
    delete globalThis.document
    const client = connect()
    assert.deepEqual({ ...client.snapshot }, { state: 'signed-out', reason: undefined, user: null, claims: null, shared: false, bound: false })
    globalThis.document = document
    client.close()
  },

  async 'members work without the client, and in a proxy'() {
    const { client, server } = await start(token(1, alice))
    const { subscribe } = client
    const proxy = new Proxy(client, {})
    let calls = 0
    const undo = subscribe(() => { calls++ })
    proxy.subscribe(() => { calls++ })
    server.hear()
    server.socket.tell('authenticated', token(2, alice), () => {})
    assert.deepEqual([calls, proxy.snapshot, proxy.user, proxy.claims], [2, client.snapshot, 'alice', client.claims])
    undo()
  },

  async 'no claim of a token becomes another thing'() {
    const odd = `h.${Buffer.from('{"token_use":"session","sid":"one","sub":"alice","__proto__":{"user":"eve"},"toString":1}').toString('base64url')}.s`
    const { client } = await start(odd)
    assert.equal(client.user, 'alice')
    assert.deepEqual(Object.keys(client.claims).sort(), ['__proto__', 'sub', 'toString'])
    assert.equal(Object.getPrototypeOf(client.claims), Object.prototype)
    const { client: bound } = await start(token(1, { cnf: { jkt: 'key' }, sub: 'alice' }))
    assert.deepEqual([bound.bound, bound.claims], [true, { sub: 'alice' }])
    const { client: none } = await start(encode({ token_use: 'session', sid: 'one' }))
    assert.deepEqual([none.user, none.claims], [null, {}])
  },

  async 'no claim of a token breaks the session'() {
    // Guards: an object with a toString of its own, or nested deeply, among the claims threw in the
    // session: the client did not come online, and in the next page connect threw.
    const nested = (depth) => '['.repeat(depth) + ']'.repeat(depth)
    const withClaims = (gen, json) => {
      const claims = `{"token_use":"session","sid":"one","gen":${gen},"dur":1000,"sub":"alice",${json}}`
      return `h.${Buffer.from(claims).toString('base64url')}.s`
    }
    const prefs = [{ toString: 'dark', toJSON: 1 }]
    const cases = [
      [`"prefs":${JSON.stringify(prefs)}`, { sub: 'alice', prefs }],
      [`"deep":${nested(30_000)}`, null],
    ]
    for (const [json, claims] of cases) {
      const { server, client, states } = await start(token(1, alice))
      const heard = watch(client)
      server.hear()
      let acknowledged = 0
      server.socket.tell('authenticated', withClaims(2, json), () => { acknowledged++ })
      assert.deepEqual([acknowledged, states], [1, ['connecting', 'online']])
      assert.deepEqual([heard, client.user, client.claims], [['online: alice'], 'alice', claims])
      const { snapshot } = client
      server.socket.tell('rotated') // it is taken anew, and equal
      assert.equal(client.snapshot, snapshot)
      const next = await start(withClaims(2, json))
      assert.deepEqual([next.client.user, next.client.claims], ['alice', claims])
    }
  },

  async 'what a snapshot throws does not reach the session'() {
    const { server, client, states } = await start(token(1, alice))
    const failed = []
    const { queueMicrotask } = globalThis
    const { freeze } = Object
    globalThis.queueMicrotask = (f) => { try { f() } catch (error) { failed.push(error.message) } }
    Object.freeze = () => { throw new Error('of a snapshot') }
    let acknowledged = 0
    server.hear()
    server.socket.tell('authenticated', token(2, alice), () => { acknowledged++ })
    Object.freeze = freeze
    globalThis.queueMicrotask = queueMicrotask
    assert.deepEqual([acknowledged, states, failed[0]], [1, ['connecting', 'online'], 'of a snapshot'])
    server.socket.tell('rotated')
    assert.equal(client.state, 'online')
  },
}
