// The client's unit tests of turns between tabs: see helper_unit.mjs.
import assert from 'node:assert/strict'
import { KEY, window, settle, pass, token, storage, Database, start } from './helper_unit_kit.mjs'

export const tests = {
  async 'a turn lasts until the other tabs can see what was stored'() {
    // Guards: in Chromium another tab may have the lock before it sees what was stored under it.
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
    // Guards: a tab that was frozen, or paused by a debugger, while it had the lock kept all others
    // waiting for ever.
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

  async 'a turn that left its token in the durable copy ends without a timer'() {
    // Guards: timers of hidden tabs take a second, and each hidden tab kept the turn for that long.
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
    disk.items.set(KEY, token(5)) // by another tab; it cannot be seen in localStorage yet
    server.socket.tell('disconnect', 'transport close')
    window.dispatchEvent(new Event('online'))
    await disk.answer()
    server.hear()
    assert.equal(server.presented.at(-1), token(5))
    delete globalThis.indexedDB
    delete globalThis.localStorage
  },

  async 'hidden tabs let a visible one go first'() {
    // Guards: the visible tab waited for the turns of all hidden tabs that had asked before it.
    const waiting = new Map() // by name, the requests that wait
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
