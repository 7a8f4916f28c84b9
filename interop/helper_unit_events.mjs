// The client's unit tests of once, onAny, ready and emitWithAck: see helper_unit.mjs.
import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { connect } from '../client/socketauth.js'
import { KEY, Server, window, settle, pass, token, code, start, online, begin, loaded, settles } from './helper_unit_kit.mjs'

// comeBack has a client connect again.
async function comeBack({ server }) {
  server.socket.tell('disconnect', 'transport close')
  window.dispatchEvent(new Event('online'))
  await settle()
  server.hear()
  server.socket.tell('authenticated', token(3), () => {})
}

// Wire is a WebSocket class on which a server of the built-in client tells what the test says.
function Wire() {
  return class WebSocket {
    static frames = []
    static tell = (data) => WebSocket.last.onmessage({ data })
    readyState = 1
    constructor() { WebSocket.last = this }
    send(frame) { WebSocket.frames.push(frame) }
    close() {}
    static admit() {
      WebSocket.tell('0{"sid":"x","pingInterval":25000,"pingTimeout":20000}')
      WebSocket.tell('40{"sid":"x"}')
      WebSocket.tell(`420["authenticated","${token(2)}"]`)
    }
  }
}

// watchSubscribers returns how many functions are subscribed by the client itself.
function watchSubscribers(client) {
  const count = { now: 0, ever: 0 }
  const { subscribe } = client
  Object.defineProperty(client, 'subscribe', { value: (f) => {
    count.now++
    count.ever++
    const undo = subscribe(f)
    return () => {
      count.now--
      undo()
    }
  } })
  return count
}

export const tests = {
  async 'once calls once, and can be undone'() {
    const { server, client } = await online()
    const heard = []
    const f = (text) => {
      heard.push(text)
      server.socket.tell('news', text + ' again') // while it is called
    }
    client.once('news', f)
    client.once('news', f) // both
    server.socket.tell('news', 'a')
    assert.deepEqual(heard, ['a', 'a again'])
    client.once('news', f)()
    client.once('news', f)
    client.off('news', f)
    const kept = (text) => heard.push(text)
    client.on('news', kept)
    client.once('news', kept)
    client.off('news', kept)
    server.socket.tell('news', 'b')
    client.off('never', f)
    const states = []
    client.once('state', (...args) => states.push(args))
    await comeBack({ server })
    assert.deepEqual([heard.length, states], [2, [['offline', 'transport close']]])
    assert.throws(() => client.once('connect', f), /reserved/)
  },

  async 'a function that is given twice is called twice, and undone one by one'() {
    // Guards: two components that gave the same function got one call, and neither got any once one
    // of them was gone. What undid on undid once, too.
    const { server, client } = await online()
    let heard = 0
    const f = () => { heard++ }
    const told = (event) => {
      heard = 0
      server.socket.tell(event)
      return heard
    }
    const undo = [client.on('news', f), client.once('news', f), client.on('news', f)]
    assert.equal(told('news'), 3)
    assert.equal(told('news'), 2)
    undo[0]()
    undo[0]()
    undo[1]()
    assert.equal(told('news'), 1)
    undo[1] = client.once('news', f)
    undo[2]()
    assert.equal(told('news'), 1)
    undo[1] = client.once('news', f)
    client.on('news', f)
    undo[1]()
    client.on('news', f)
    client.once('news', f)
    client.on('other', f)
    assert.equal(told('news'), 3)
    client.off('news', f) // all of them, of this event
    assert.deepEqual([told('news'), told('other')], [0, 1])

    const any = [client.onAny(f), client.onAny(f)]
    any[1]()
    assert.equal(told('third'), 1)
    any[0]()
    assert.equal(told('third'), 0)
  },

  async 'onAny hears the events of the server, with and without functions of their own'() {
    const { warn } = console
    console.warn = () => {}
    const all = await start(token(1))
    const { server, client } = all
    const heard = []
    const undo = client.onAny((...event) => heard.push(['any', ...event]))
    client.on('news', (...args) => heard.push(['own', ...args]))
    const other = client.onAny(() => { throw new Error('of a page') })
    const failed = []
    const { queueMicrotask } = globalThis
    globalThis.queueMicrotask = (f) => { try { f() } catch (error) { failed.push(error.message) } }
    const reply = () => {}
    server.hear()
    server.socket.tell('authenticated', token(2), () => {})
    server.socket.tell('rotated')
    for (const name of ['state', 'notice']) server.socket.tell(name, 'of the server')
    assert.deepEqual(heard, [])
    server.socket.tell('news', 'a', reply)
    server.socket.tell('other')
    assert.deepEqual(heard, [['any', 'news', 'a', reply], ['own', 'a', reply], ['any', 'other']])
    assert.deepEqual(failed, ['of a page', 'of a page'])
    other()
    globalThis.queueMicrotask = queueMicrotask
    const { socket } = server
    await comeBack(all)
    socket.tell('other') // of a connection that is over
    assert.equal(heard.length, 3)
    server.socket.tell('other', 2)
    assert.deepEqual(heard[3], ['any', 'other', 2])
    undo()
    server.socket.tell('other', 3)
    client.onAny(() => client.close()) // whoever comes after it hears nothing
    client.onAny(() => heard.push('late'))
    server.socket.tell('news', 4)
    client.onAny(() => heard.push('late'))
    assert.equal(heard.length, 4)
    console.warn = warn
  },

  async 'onAny hears with socket.io-client 2.x, which has none'() {
    const server = new Server({ handshake: false })
    const packets = []
    const { client } = await start(token(1), { io: (...args) => {
      const socket = server.io(...args)
      delete socket.onAny
      socket.onevent = function ({ id, data }) {
        assert.equal(this, socket)
        packets.push(data)
        const reply = () => {}
        if (id !== undefined) data.push(reply)
        for (const f of socket.handlers[data[0]] ?? []) f(...data.slice(1))
      }
      return socket
    } })
    const heard = []
    client.onAny((...event) => heard.push(event))
    client.on('news', (...args) => heard.push(args))
    server.hear()
    server.socket.onevent({ data: ['authenticated', token(2)] })
    assert.equal(client.state, 'online')
    server.socket.onevent({ data: ['news', 1], id: 7 })
    server.socket.onevent({ data: ['other'] })
    const reply = packets[1][2]
    assert.equal(typeof reply, 'function')
    assert.deepEqual(heard, [['news', 1, reply], [1, reply], ['other']])
  },

  async 'onAny hears with the client of its own, bytes and replies too'() {
    const WebSocket = Wire()
    const { client } = await start(token(1), { io: undefined, WebSocket })
    const heard = []
    client.onAny((...event) => heard.push(event))
    WebSocket.admit()
    assert.equal(client.state, 'online')
    WebSocket.tell('451-["picture",{"_placeholder":true,"num":0}]')
    WebSocket.tell(new ArrayBuffer(3))
    WebSocket.tell('4217["question",{"a":1}]')
    heard[1].pop()('yes')
    assert.deepEqual(heard, [['picture', new ArrayBuffer(3)], ['question', { a: 1 }]])
    assert.equal(WebSocket.frames.at(-1), '4317["yes"]')
  },

  async 'a reply is waited for as long as the page says'() {
    const { server, client } = await online()
    const { signal } = new AbortController()
    const short = settles(client.emitWithAck({ event: 'save', timeout: 3000, signal }, 1, 'two'))
    const usual = settles(client.emitWithAck('save', 3))
    const object = settles(client.emitWithAck({ event: 'save' }))
    const long = settles(client.emitWithAck({ event: 'save', timeout: Infinity }))
    assert.deepEqual(server.socket.sent.map((sent) => sent.slice(0, -1)), [['save', 1, 'two'], ['save', 3], ['save'], ['save']])
    let settled = 0
    for (const promise of [short, usual, object, long]) promise.then(() => { settled++ })
    await pass(2950)
    assert.equal(settled, 0)
    await pass(100)
    assert.deepEqual([await short, settled], ['no_reply', 1])
    await pass(6850)
    assert.equal(settled, 1)
    await pass(100)
    assert.deepEqual([await usual, await object, settled], ['no_reply', 'no_reply', 3])
    server.socket.sent[3].at(-1)('saved')
    assert.equal(await long, 'saved')
    assert.equal(getEventListeners(signal, 'abort').length, 0)
    await assert.rejects(client.emitWithAck(null), TypeError)
    await assert.rejects(client.emitWithAck({ event: 'connect' }), /reserved/)
    client.close()
    assert.equal(await settles(client.emitWithAck({ event: 'save' })), 'offline')
  },

  async 'a code that is no string fails like another'() {
    // Guards: where a reply's code was an object with a toString of its own, the error threw and
    // emitWithAck never settled; nor did a login that was refused so.
    const { server, client } = await online()
    for (const code of [{ toString: 1 }, ['x'], 7]) {
      const asked = client.emitWithAck('save')
      const error = { code, retryAfter: 2 }
      server.socket.sent.at(-1).at(-1)({ error })
      const got = await asked.catch((error) => error)
      assert.deepEqual([got.name, got.code, got.retryAfter, got.details], ['SocketAuthError', 'bad_answer', 2, error])
    }
    globalThis.fetch = async () => Response.json({ code: { toString: 1 } }, { status: 401 })
    assert.equal(await settles(client.login({})), 'bad_answer')
    const { server: other, client: late } = await start()
    globalThis.fetch = async () => Response.json({ token: code('two') })
    const login = settles(late.login({}))
    await loaded()
    other.hear()
    other.socket.tell('unauthorized', { code: { toString: 1 }, terminal: true })
    assert.equal(await login, 'bad_answer')
  },

  async 'a reply is waited for until the signal aborts'() {
    const { server, client } = await online()
    const controller = new AbortController()
    const { signal } = controller
    const asked = client.emitWithAck({ event: 'save', signal })
    const refused = client.emitWithAck({ event: 'save', signal })
    server.socket.sent[1].at(-1)({ error: { code: 'forbidden' } })
    await assert.rejects(refused, { code: 'forbidden' })
    const why = new Error('the dialog was closed')
    controller.abort(why)
    assert.equal(await asked.catch((error) => error), why)
    server.socket.sent[0].at(-1)('late')
    await assert.rejects(client.emitWithAck({ event: 'save', signal }), why)
    await assert.rejects(client.emitWithAck({ event: 'save', signal: AbortSignal.abort() }), { name: 'AbortError' })
    assert.equal(server.socket.sent.length, 2)
    assert.equal(getEventListeners(signal, 'abort').length, 0)
  },

  async 'ready waits until the client is online'() {
    const { server, client } = await start(token(1))
    const count = watchSubscribers(client)
    const { signal } = new AbortController()
    const { ready } = client
    const all = [ready(), client.ready({ signal }), new Proxy(client, {}).ready()]
    let settled = 0
    for (const promise of all) promise.then(() => { settled++ })
    server.socket.tell('connect_error', new Error('no network'))
    await settle()
    assert.deepEqual([client.state, settled, count.now], ['offline', 0, 3])
    window.dispatchEvent(new Event('online'))
    await settle()
    server.hear()
    server.socket.tell('authenticated', token(2, { sub: 'alice' }), () => {})
    const snapshots = await Promise.all(all)
    assert.ok(snapshots.every((snapshot) => snapshot === client.snapshot))
    assert.equal(snapshots[0].user, 'alice')
    assert.equal(await client.ready(), client.snapshot) // at once
    assert.deepEqual([count.now, count.ever, getEventListeners(signal, 'abort').length], [0, 4, 0])
  },

  async 'ready fails where nobody is signed in any more, is closed or is aborted'() {
    const fails = async (promise) => promise.then(() => 'ready', ({ code, details }) => [code, details])
    const nobody = await start()
    assert.deepEqual(await fails(nobody.client.ready()), ['signed_out', { code: 'signed_out', reason: undefined }])

    for (const [code, state] of [['session_revoked', 'signed-out'], ['token_expired', 'expired']]) {
      const { server, client } = await start(token(1))
      const count = watchSubscribers(client)
      const waiting = [fails(client.ready()), fails(client.ready())]
      server.hear()
      server.socket.tell('unauthorized', { code, terminal: true })
      const expected = ['signed_out', { code: 'signed_out', reason: code }]
      assert.deepEqual(await Promise.all(waiting), [expected, expected])
      assert.equal(client.state, state)
      assert.deepEqual(await fails(client.ready()), expected)
      assert.equal(count.now, 0)
      client.close()
      assert.deepEqual(await fails(client.ready()), ['closed', undefined])
    }

    const { client, server } = await start(token(1))
    const count = watchSubscribers(client)
    const controller = new AbortController()
    const why = new Error('left')
    const aborted = client.ready({ signal: controller.signal })
    const closed = fails(client.ready())
    controller.abort(why)
    await assert.rejects(aborted, why)
    assert.equal(count.now, 1)
    await assert.rejects(client.ready({ signal: controller.signal }), why)
    client.close()
    assert.deepEqual(await closed, ['closed', undefined])
    assert.deepEqual([count.now, server.sockets.length], [0, 1])

    const there = await online()
    await assert.rejects(there.client.ready({ signal: controller.signal }), why) // also where it is online
    await assert.rejects(connect().ready(), { code: 'signed_out' }) // on a server that renders pages
  },

  async 'ready waits for the end of a logout'() {
    // Guards: while a logout waited for the server, ready resolved, though the token was gone.
    const { server, client } = await online()
    const told = client.logout()
    const ready = client.ready()
    assert.equal(client.state, 'online')
    server.socket.tell('logged_out')
    assert.equal(await told, true)
    await assert.rejects(ready, { code: 'signed_out', details: { code: 'signed_out', reason: 'logged_out' } })

    const other = await online() // somebody logs in meanwhile
    const left = other.client.logout()
    const next = other.client.ready()
    other.kept.setItem(KEY, token(1, { sid: 'two', sub: 'bob' }))
    other.server.socket.tell('logged_out')
    await left
    await settle()
    other.server.hear()
    other.server.socket.tell('authenticated', token(2, { sid: 'two', sub: 'bob' }), () => {})
    assert.deepEqual([(await next).state, (await next).user], ['online', 'bob'])
  },

  async 'ready waits for a login, too'() {
    const { server, client } = await start()
    globalThis.fetch = async () => Response.json({ token: code('two') })
    begin(client)
    await loaded()
    const ready = client.ready()
    server.hear()
    server.socket.tell('authenticated', token(1, { sid: 'two', sub: 'bob' }), () => {})
    assert.equal((await ready).user, 'bob')
  },
}
