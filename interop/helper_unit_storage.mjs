// The client's unit tests of where the token is kept: see helper_unit.mjs.
import assert from 'node:assert/strict'
import {
  KEY, window, settle, pass, token, code, storage, Database, start, online, begin, admit, fresh,
} from './helper_unit_kit.mjs'

export const tests = {
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

  async 'a page that wakes up looks at the storage'() {
    // Guards: a tab that was frozen missed a logout, where the browser keeps no storage event for
    // it.
    const { server, kept, client } = await online()
    kept.removeItem(KEY)
    document.dispatchEvent(new Event('visibilitychange'))
    assert.equal(client.state, 'signed-out')
    assert.equal(server.open, 0)
  },

  async 'a tab knows why another one ended the session'() {
    // Guards: after a logout in one tab, or where the token had expired, the reason in the other
    // tabs was "elsewhere".
    const hear = (kept, key, newValue) => {
      window.dispatchEvent(Object.assign(new Event('storage'), { storageArea: kept, key, newValue }))
    }
    const write = (all) => { // the storage events that another tab gets
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
      // By a client without storage events.
      ['signed-out: logged_out', ({ server }) => server.socket.tell('logged_out')],
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
    const { kept, states } = await online() // frozen, so that it heard no events
    kept.removeItem(KEY)
    const { now } = Date
    Date.now = () => now() + 1_000_000
    document.dispatchEvent(new Event('visibilitychange'))
    Date.now = now
    assert.equal(states.at(-1), 'expired: token_expired')

    const another = await online() // the reason for one session's end is not kept for the next
    hear(another.kept, KEY + '.end', 'logged_out')
    await comeBack(another.server)
    another.server.socket.tell('authenticated', token(3), () => {})
    another.kept.removeItem(KEY)
    hear(another.kept, KEY, null)
    assert.equal(another.states.at(-1), 'signed-out: elsewhere')
  },

  async 'a storage that answers later is read before it connects, and written before it acknowledges'() {
    // Guards: a promise was taken for a token, and nothing was stored.
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
    assert.deepEqual([acknowledged, client.token], [false, token(1)])
    const second = await start(undefined, { storage, locks: null }) // of the same page
    assert.equal(second.server.sockets.length, 0) // the first one has the turn
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
    const leaving = early.client.logout() // before the storage was read
    await another.answer()
    early.server.socket.tell('connect')
    assert.deepEqual(early.server.socket.sent, [['logout', token(1)]])
    early.server.socket.tell('logged_out')
    assert.equal(await leaving, true)
    assert.deepEqual([...another.items], [])
  },

  async 'a storage that answers later and fails is given up for memory'() {
    // Guards: a token that could not be stored was acknowledged, and after a restart the token
    // before it was taken for stolen.
    const fail = async () => { throw new Error('no') }
    const hang = () => new Promise(() => {})
    for (const getItem of [fail, hang]) {
      const { client, states, notices, server } = await start(undefined, {
        // A key for each test, so that no client takes over another's memory.
        storage: { getItem, setItem: fail, removeItem: fail }, key: getItem.name, locks: null,
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

  async 'a token is used and acknowledged once it is on disk, and only by who still has the turn'() {
    // Guards: a token was acknowledged although the turn had ended or another token was stored
    // while IndexedDB was writing; and tabs used it in requests, which confirms it, before it was
    // on disk.
    let rob
    const first = fresh(1)
    const locks = { request: (_, __, hold) => new Promise((resolve, reject) => { rob = reject; hold().then(resolve) }) }
    for (const [left, meanwhile] of [
      [token(2), undefined],
      [first, () => rob(new Error('stolen'))],
      [token(3), (kept) => kept.setItem(KEY, token(3))],
      [undefined, (kept) => kept.removeItem(KEY)],
    ]) {
      const disk = globalThis.indexedDB = new Database()
      const kept = globalThis.localStorage = storage(first)
      const { server, client } = await start(undefined, { storage: kept, locks })
      await disk.answer()
      server.hear()
      let acknowledged = false
      server.socket.tell('authenticated', token(2), () => { acknowledged = true })
      await settle()
      assert.deepEqual([acknowledged, kept.token, client.state], [false, first, 'connecting'])
      assert.deepEqual([client.token, await client.getToken()], [first, first])
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
    // Guards: connect threw where reading indexedDB throws, and a connection to another script's
    // database was kept open.
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

  async 'a disk that is slow when the browser starts is waited for'() {
    // Guards: a browser that was killed, and started again on a busy machine, presented a replaced
    // token, which looked like theft, or said that nobody was signed in; and it did not tell the
    // server of a logout.
    for (const stored of [token(1), undefined]) {
      const disk = globalThis.indexedDB = new Database()
      disk.items.set(KEY, token(5))
      disk.items.set(KEY + '.ended', [{ sid: 'two', token: token(2, { sid: 'two' }) }])
      const kept = globalThis.localStorage = storage(stored)
      const { server, client } = await start(undefined, { storage: kept })
      await pass(4_000)
      assert.deepEqual([client.state, server.sockets.length], ['connecting', 0])
      for (let n = 0; n < 5; n++) await disk.answer()
      assert.equal(server.sockets.length, 2)
      const presented = []
      for (const socket of server.sockets) {
        socket.auth(({ token }) => { if (token) presented.push(token) })
        socket.tell('connect')
      }
      assert.deepEqual(presented, [token(5)])
      assert.deepEqual(server.sockets.flatMap(({ sent }) => sent), [['logout', token(2, { sid: 'two' })]])
      client.close()
    }
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'a disk that never answers keeps nobody out'() {
    // Guards: the turn was given back while the disk was waited for, in each attempt to connect.
    globalThis.indexedDB = new Database()
    const kept = globalThis.localStorage = storage(token(1))
    const { server, client, states } = await start(undefined, { storage: kept })
    await pass(5_050) // for what the page has to know first
    await pass(1_050) // in the turn
    server.hear()
    assert.deepEqual(server.presented, [token(1)])
    server.socket.tell('authenticated', token(2), () => {})
    await pass(1_050)
    assert.deepEqual([kept.token, states], [token(2), ['connecting', 'online']])
    client.close()
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'what the browser lost is brought back, also behind a code'() {
    // Guards: after a crash and a link whose code was refused, the replaced token was presented,
    // which looked like theft.
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
    // Guards: the logout of such a tab removed the token of the session that the other tabs share.
    const disk = globalThis.indexedDB = new Database()
    disk.items.set(KEY, token(1))
    const kept = globalThis.localStorage = storage(token(1))
    const { setItem } = kept
    const { server, client } = await start(undefined, { storage: kept })
    await disk.answer()
    server.hear()
    kept.setItem = () => { throw new Error('QuotaExceededError') }
    server.socket.tell('authenticated', token(2), () => {})
    await disk.answer()
    assert.deepEqual([client.state, client.shared], ['online', false])
    assert.equal(disk.items.has(KEY), false) // the token in memory has replaced it
    kept.setItem = setItem
    disk.items.set(KEY, token(1, { sid: 'two' })) // another tab has logged in since
    client.logout()
    server.socket.tell('logged_out')
    await disk.answer()
    assert.equal(disk.items.get(KEY), token(1, { sid: 'two' }))
    delete globalThis.indexedDB
    delete globalThis.localStorage
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
      // An empty storage alone is not taken for a logout.
      document.dispatchEvent(new Event('visibilitychange'))
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
    // Guards: after a login over a session and a kill, the earlier session was presented, and its
    // refusal signed the user out.
    const session = (sid, auth_time, began) => token(3, { sid, auth_time, began })
    for (const [stored, saved, presented] of [
      [session('one', 1.25), session('two', 1.5), ['two']],
      [session('one', 1.5), session('two', 1.25), ['one', 'two']],
      ['garbage', session('two', 1.25), ['garbage', 'two']],
      // The user of the earlier one has proved who they are again.
      [session('one', 1.25), session('two', 1.5, 1), ['one', 'two']],
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

  async 'a page that is left and come back to at once is in'() {
    // Guards: a storage that was not restored yet looked like one that was cleared.
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
    // Guards: the durable copy was kept, and signed the user in again when the page was opened
    // next.
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
}
