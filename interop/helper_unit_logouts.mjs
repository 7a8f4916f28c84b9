// The client's unit tests of logouts of which the server is told later: see helper_unit.mjs.
import assert from 'node:assert/strict'
import {
  KEY, window, settle, pass, token, code, storage, Database, start, online,
} from './helper_unit_kit.mjs'

export const tests = {
  async 'a logout is remembered before it is said to be done, and told when the server is there'() {
    // Guards: a browser that was killed after a logout without a network was signed in again.
    const disk = globalThis.indexedDB = new Database()
    globalThis.localStorage = storage(token(1))
    const page = async (kept) => {
      const page = await start(undefined, { storage: globalThis.localStorage = kept })
      assert.equal(page.client.token, null) // until it is known that the session was not logged out
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
    await settle()
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

    disk.items.set(KEY, token(3)) // another tab has stored its next token
    // The server knows of the end, and the browser has lost the removal of the token.
    const again = await page(storage(token(1)))
    await disk.answer()
    assert.deepEqual([again.client.state, again.server.sockets.length], ['signed-out', 0])
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a session that was ended here while the server could not be told is ended by the same page'() {
    // Guards: after a logout, or a login over a session, that session lived until its last token
    // expired.
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

  async 'one tab of all tells the server of a logout'() {
    // Guards: after a restart of the browser each tab told the server.
    const disk = globalThis.indexedDB = new Database()
    disk.items.set(KEY + '.ended', [{ sid: 'one', token: token(2) }])
    const kept = globalThis.localStorage = storage()
    let busy = true
    const locks = { request: async (name, { ifAvailable }, hold) => hold(ifAvailable && busy ? null : {}) }
    const { server } = await start(undefined, { storage: kept, locks })
    await disk.answer()
    assert.equal(server.sockets.length, 0)
    busy = false // the other tab could not tell the server
    await pass(1_050)
    await disk.answer()
    server.socket.tell('connect')
    assert.deepEqual(server.socket.sent, [['logout', token(2)]])
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a logout in another tab is not undone by a tab that reads the durable copy just then'() {
    // Guards: that tab took the token for one that the storage had lost, and stored it again. Then
    // the tab of the logout connected, and said that the session had ended elsewhere.
    const disk = globalThis.indexedDB = new Database()
    const kept = globalThis.localStorage = storage(token(1))
    const { server, client, states } = await start(undefined, { storage: kept })
    await disk.answer()
    server.hear()
    server.socket.tell('authenticated', token(2), () => {})
    await disk.answer()
    server.socket.tell('disconnect', 'transport close')
    await pass(1_050)
    assert.equal(disk.waiting.length, 1) // in its next turn
    for (let n = 0; n < 3; n++) disk.waiting.shift()() // it has read the token
    for (const [key, newValue] of [[KEY + '.end', 'logged_out'], [KEY, null], [KEY + '.end', null]]) {
      if (newValue) kept.setItem(key, newValue)
      else kept.removeItem(key)
      window.dispatchEvent(Object.assign(new Event('storage'), { storageArea: kept, key, newValue }))
    }
    await disk.answer()
    assert.equal(kept.token, undefined)
    assert.equal(states.at(-1), 'signed-out: logged_out')
    client.close()
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a logout while the durable copy is read ends what is in there'() {
    // Guards: the session that was being restored was there again after the logout.
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

  async 'a logout was told only if the server says logged_out'() {
    // Guards: logout resolved to true where the server refused it, such as for a token that a thief
    // has replaced.
    for (const [code, terminal] of [['no_longer_valid', true], ['token_reused', true], ['unavailable', false]]) {
      const live = await online()
      const told = live.client.logout()
      live.server.socket.tell('unauthorized', { code, terminal })
      assert.equal(await told, false)
      assert.equal(live.client.reason, 'logged_out_here')
      const away = await online()
      away.server.socket.tell('disconnect', 'transport close')
      const late = away.client.logout()
      await settle()
      away.server.socket.tell('connect')
      away.server.socket.tell('unauthorized', { code, terminal })
      assert.equal(await late, false)
      assert.equal(away.kept.token, undefined)
    }
  },
}
