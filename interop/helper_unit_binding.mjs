// The client's unit tests of sessions that are bound to the device: see helper_unit.mjs.
import assert from 'node:assert/strict'
import { webcrypto } from 'node:crypto'
import { KEY, Locks, settle, pass, token, code, storage, start, tokenPath, fresh, loaded, old, settles } from './helper_unit_kit.mjs'
import { KEYS, read, proves, until, Posts, boundCode, bound, device, hears, loggedIn, offline } from './helper_unit_device.mjs'

export const tests = {
  async 'a login proves a key, and its session is presented with proofs of that key'() {
    for (const handshake of [true, false]) await device(async (disk) => {
      const http = new Posts()
      const { server, client, kept } = await start(undefined, { bind: true, handshake })
      assert.equal(client.bound, false)
      const login = client.login({ password: 'secret' })
      await until(() => server.sockets.length > 0)
      const [{ line, scheme, proof: { jkt, jti, iat, ...proof }, body }] = http.taken()
      assert.deepEqual([line, scheme, body], ['POST /login', undefined, { password: 'secret' }])
      assert.deepEqual(proof, { htm: 'POST', htu: 'http://app.example/login' })
      assert.ok(jti.length > 20 && Math.abs(iat - Date.now() / 1000) < 2)
      assert.equal(client.bound, true)
      const [{ privateKey, ...more }] = disk.keys
      assert.deepEqual([privateKey.extractable, more.thumbprint], [false, jkt])
      await assert.rejects(webcrypto.subtle.exportKey('pkcs8', privateKey))

      const presented = await hears(server)
      assert.equal(presented.token, boundCode('one', jkt))
      assert.equal(proves(presented, server.socket), jkt)
      server.socket.tell('authenticated', bound(1, jkt), () => {})
      await settle()
      server.socket.tell('refresh')
      await until(() => server.socket.sent.at(-1)?.[1]?.token === kept.token)
      assert.equal(proves(server.socket.sent.at(-1)[1], server.socket), jkt)
      server.socket.tell('authenticated', bound(2, jkt), () => {})
      await pass(100)
      server.socket.tell('disconnect', 'transport close')
      await pass(1_100)
      const again = await hears(server)
      assert.deepEqual([again.token, server.sockets.length], [kept.token, 2])
      assert.equal(proves(again, server.socket), jkt)
      client.close()
      await settles(login)
    })
  },

  async 'the key outlives the page, and is used by pages that do not bind'() {
    await device(async () => {
      const { kept, client, jkt } = await loggedIn()
      client.close()
      for (const bind of [true, false]) {
        const { server, client } = await start(kept.token, { bind })
        assert.equal(client.bound, true)
        assert.equal(proves(await hears(server), server.socket), jkt)
      }
    })
  },

  async 'each login has a key of its own, made before it'() {
    // Guards: a key that a script has left here before a login is known to who wrote the script.
    await device(async (disk) => {
      const { client, http, jkt } = await loggedIn()
      http.answers.push(() => Response.json({ code: 'USER_INVALID' }, { status: 401 }))
      assert.equal(await settles(client.login({})), 'USER_INVALID')
      client.login({}).catch(() => {})
      await until(() => http.all.length === 2)
      const [failed, next] = http.taken().map(({ proof }) => proof.jkt)
      assert.equal(failed, next)
      assert.notEqual(next, jkt)
      assert.deepEqual(disk.keys.map(({ thumbprint }) => thumbprint), [jkt, next])
    })
  },

  async 'keys that are used are kept, and not too many others'() {
    // Guards: pages on which logins had failed removed the key of the session.
    await device(async (disk) => {
      const { kept, jkt } = await loggedIn()
      for (let n = 0; n < 40; n++) {
        const { server, client, http = new Posts() } = await start(kept.token, { bind: true })
        await hears(server)
        http.answers.push(() => Response.json({ code: 'USER_INVALID' }, { status: 401 }))
        await settles(client.login({}))
        client.close()
      }
      assert.equal(disk.keys.length, 32)
      assert.ok(disk.keys.some(({ thumbprint }) => thumbprint === jkt))
    })
  },

  async 'an unbound code is bound by its trade, to one key in whichever tab'() {
    // Guards: a code that is presented again because the answer was lost would look stolen with
    // another key.
    await device(async (disk) => {
      const kept = storage()
      kept.setItem(KEY + '.code', code('one'))
      const tabs = []
      for (let n = 0; n < 3; n++) tabs.push(await start(undefined, { bind: true, storage: kept }))
      assert.equal(tabs[0].client.bound, false)
      const used = await Promise.all(tabs.map(async ({ server }) => proves(await hears(server), server.socket)))
      assert.deepEqual([new Set(used).size, disk.keys.length], [1, 1])
      for (const { client } of tabs) client.close()
      const reloaded = await start(undefined, { bind: true, storage: kept, tokenPath })
      reloaded.server.socket.tell('connect_error', new Error('no network'))
      const http = new Posts()
      await reloaded.client.getToken()
      const [trade, confirm] = http.taken()
      assert.deepEqual([trade.scheme, trade.token, trade.proof.jkt], ['Bearer', code('one'), used[0]])
      assert.deepEqual([confirm.scheme, confirm.proof.jkt], ['DPoP', used[0]])
      assert.equal(reloaded.client.bound, true)
    })
  },

  async 'what is not bound is presented without a proof'() {
    await device(async (disk) => {
      for (const [stored, options] of [[token(1), { bind: true }], [code('one'), {}]]) {
        const { server } = await start(stored, options)
        server.hear()
        assert.deepEqual([server.presented, server.handshake.proof], [[stored], undefined])
      }
      const http = new Posts()
      const stored = fresh(1)
      const { client } = await start(stored, { bind: true })
      await client.fetch('/api/me')
      const other = await start()
      other.client.login({}).catch(() => {})
      await until(() => http.all.length === 2)
      assert.deepEqual(http.all.map(({ scheme, token, proof }) => [scheme, token, proof]), [['Bearer', stored, null], [undefined, undefined, null]])
      assert.deepEqual(disk.keys, [])
    })
  },

  async 'where no key can be made or stored the session is not bound, and the client says so'() {
    const { subtle } = crypto
    const breaks = {
      'no IndexedDB': () => delete globalThis.indexedDB,
      'no WebCrypto': () => Object.defineProperty(crypto, 'subtle', { configurable: true, value: undefined }),
      'a store that takes no keys': (disk) => { disk.stores = [] },
    }
    for (const [name, spoil] of Object.entries(breaks)) await device(async (disk) => {
      spoil(disk)
      try {
        const http = new Posts()
        const { server, client, notices } = await start(undefined, { bind: true })
        client.login({}).catch(() => {})
        await until(() => server.sockets.length > 0)
        assert.equal(http.taken()[0].proof, null, name)
        const { proof, token } = await hears(server)
        assert.deepEqual([proof, token], [undefined, boundCode('one')])
        assert.equal(client.bound, false)
        assert.deepEqual(notices, ['binding_refused'], name)
        if (name === 'a store that takes no keys') { // the same code again
          disk.stores = ['tokens']
          server.socket.tell('disconnect', 'transport close')
          await pass(1_100)
          assert.equal((await hears(server)).proof, undefined)
        }
      } finally {
        Object.defineProperty(crypto, 'subtle', { configurable: true, value: subtle })
      }
    })
  },

  async 'where the server binds all sessions, a client that cannot bind is signed out, and an earlier session goes on'() {
    // Guards: it was "offline" and presented the code again until that had expired, without a form to log in.
    const refusal = { code: 'proof_required', terminal: false }
    await device(async () => {
      new Posts()
      const { server, client, kept } = await start()
      const login = settles(client.login({}))
      await until(() => server.sockets.length > 0)
      assert.equal((await hears(server)).token, boundCode('one'))
      server.socket.tell('unauthorized', refusal)
      server.socket.tell('disconnect', 'io server disconnect')
      assert.equal(await login, 'proof_required')
      assert.deepEqual([client.state, client.reason, kept.token], ['signed-out', 'proof_required', undefined])
      await pass(60_000)
      assert.equal(server.sockets.length, 1)
    })
    await device(async () => {
      const { server, client, kept } = await start(token(1))
      await hears(server)
      server.socket.tell('authenticated', token(2), () => {})
      await settle()
      new Posts().answers.push(() => Response.json({ token: code('two') }))
      const login = settles(client.login({}))
      await until(() => server.sockets.length === 2)
      assert.equal((await hears(server)).token, code('two'))
      server.socket.tell('unauthorized', refusal)
      assert.equal(await login, 'proof_required')
      await pass(2_000)
      assert.deepEqual([(await hears(server)).token, kept.token], [token(2), token(2)])
      server.socket.tell('unauthorized', refusal) // of a session that has begun, nothing is thrown away
      await settle()
      assert.deepEqual([client.state, kept.token], ['offline', token(2)])
    })
  },

  async 'a key that is lost means a new login, and one that cannot be read does not'() {
    await device(async (disk) => {
      const { kept, client: before, jkt } = await loggedIn()
      const token = kept.token
      before.close()
      disk.stores = []
      const { server, client, states } = await start(token, { bind: true })
      server.socket.auth(() => assert.fail('presented'))
      await until(() => client.state === 'offline')
      assert.deepEqual([client.reason, client.token], ['key_unavailable', token])
      disk.stores = ['tokens']
      await pass(1_100)
      proves(await hears(server), server.socket)
      server.socket.tell('authenticated', bound(2, jkt), () => {})
      assert.equal(client.state, 'online')
      client.close()
      assert.deepEqual(states.slice(0, 2), ['connecting', 'offline: key_unavailable'])

      disk.items.delete(KEYS)
      const lost = await start(token, { bind: true })
      lost.server.socket.auth(() => assert.fail('presented'))
      await until(() => lost.client.state === 'signed-out')
      assert.deepEqual([lost.client.reason, lost.kept.token, lost.client.bound], ['key_lost', undefined, false])
      const http = new Posts()
      lost.client.login({}).catch(() => {})
      await until(() => http.all.length > 0)
      await until(() => lost.server.sockets.length > 1)
      assert.notEqual(proves(await hears(lost.server), lost.server.socket), jkt)

      disk.items.delete(KEYS)
      for (const ask of [(client) => client.getToken(), (client) => client.fetch('/api/me')]) {
        const { server, client, kept } = await start(old(3, { cnf: { jkt } }), { bind: true, tokenPath, locks: new Locks() })
        await loaded()
        server.socket.tell('connect_error', new Error('no network'))
        assert.equal(await settles(ask(client)), 'key_lost')
        assert.deepEqual([client.state, client.reason, kept.token], ['signed-out', 'key_lost', undefined])
      }
    })
  },

  async 'a code whose key is lost costs nobody the session'() {
    await device(async () => {
      const { server, client, kept } = await start(token(1))
      kept.setItem(KEY + '.code', boundCode('two', 'x'.repeat(43)))
      server.socket.auth(() => assert.fail('presented'))
      await until(() => client.state === 'offline')
      await pass(1_100)
      server.hear()
      assert.deepEqual(server.presented, [token(1)])
    })
  },

  async 'nothing is presented by who loses the turn while a proof is made'() {
    // Guards: two tabs that present one token at once look like theft.
    await device(async (disk) => {
      const { jkt, client: before } = await loggedIn()
      before.close()
      let lose
      const locks = { request: (_, __, hold) => new Promise((resolve, reject) => { lose = reject; hold().then(resolve) }) }
      for (const change of [
        () => lose(new Error('stolen')),
        ({ server }) => server.socket.tell('disconnect', 'transport close'),
        ({ client }) => client.logout(),
        ({ client }) => client.close(),
      ]) {
        const all = await start(bound(3, jkt), { locks })
        let presented = false
        all.server.socket.auth(() => { presented = true })
        change(all)
        for (let n = 0; n < 200; n++) await settle()
        assert.equal(presented, false)
        assert.notEqual(all.client.state, 'online')
        all.client.close()
      }
      assert.equal(disk.keys.length, 1)
    })
  },

  async 'a login while a proof is made is presented with its own, and an unbound one without'() {
    // Guards: a code that is not bound was presented with the proof of the token before it, which
    // the server refuses for good.
    await device(async () => {
      const { jkt, kept, client: before } = await loggedIn()
      before.close()
      for (const code of [boundCode('two', jkt), boundCode('two')]) {
        const { server, kept: shared } = await start(kept.token)
        let data
        server.socket.auth((given) => { data = given })
        shared.setItem(KEY + '.code', code) // by another tab
        await until(() => data)
        assert.equal(data.token, code)
        if (code === boundCode('two')) assert.deepEqual(data, { token: code, confirm: true })
        else proves(data, server.socket)
      }
    })
  },

  async 'a proof that cannot be made is no matter for who has left meanwhile'() {
    // Guards: a connection that was over, and one on which a logout was under way, was told of a
    // refusal.
    let fail
    const leave = async (all, present, change) => {
      fail = undefined
      crypto.subtle.sign = () => new Promise((_, reject) => { fail = reject })
      try {
        present()
        await until(() => fail)
        const left = change(all)
        fail(new Error('no key'))
        await loaded()
        assert.ok(!all.notices.includes('refused'))
        return left
      } finally {
        delete crypto.subtle.sign
      }
    }
    await device(async () => {
      const { jkt, client: before } = await loggedIn()
      before.close()
      for (const [change, state] of [
        [({ server }) => server.socket.tell('disconnect', 'transport close'), 'offline: transport close'],
        [({ client }) => void client.logout(), 'connecting: undefined'],
        [({ client }) => client.close(), 'offline: closed'],
      ]) {
        const all = await start(bound(3, jkt))
        const { client, server } = all
        await leave(all, () => server.socket.auth(() => assert.fail('presented')), change)
        assert.equal(`${client.state}: ${client.reason}`, state)
        client.close()
      }
      const all = await loggedIn()
      const { client, server } = all
      const left = await leave(all, () => server.socket.tell('refresh'), () => ({ told: client.logout() }))
      server.socket.tell('logged_out')
      assert.equal(await left.told, true)
      assert.deepEqual([client.state, client.reason], ['signed-out', 'logged_out'])
    })
  },

  async 'a code that went without a key because the disk was slow gets none later'() {
    // Guards: the key was stored after the client had given it up, and the page that was loaded
    // next presented the code with it, which the server takes for a theft.
    for (const answers of [0, 1, 2, 3]) await device(async (disk) => {
      globalThis.localStorage = storage()
      try {
        const kept = storage()
        kept.setItem(KEY + '.code', code('one'))
        disk.isSlow = true
        const { server, client } = await start(undefined, { bind: true, storage: kept })
        let data
        server.socket.auth((given) => { data = given })
        await until(() => disk.opened > 0)
        for (let n = 0; n < answers; n++) disk.waiting.shift()()
        await pass(5_100)
        await until(() => data)
        assert.deepEqual(data, { token: code('one'), confirm: true })
        client.close()
        disk.isSlow = false
        await disk.answer()
        assert.deepEqual(disk.keys, [])
        const reloaded = await start(undefined, { bind: true, storage: kept })
        assert.deepEqual(await hears(reloaded.server), { token: code('one'), confirm: true })
        assert.deepEqual(reloaded.notices, ['binding_refused'])
        reloaded.client.close()
      } finally {
        delete globalThis.localStorage
      }
    })
  },

  async 'a proof for which the turn was given back waits for the next one'() {
    await device(async () => {
      const { jkt, client: before } = await loggedIn()
      before.close()
      const { server, client } = await start(bound(3, jkt), { locks: new Locks() })
      let data
      server.socket.auth((given) => { data = given })
      await pass(1_050) // the connection has given its turn back
      await until(() => data)
      assert.equal(client.state, 'connecting')
      proves(data, server.socket)
    })
  },

  async 'a logout is proved where the socket is not in'() {
    await device(async (disk) => {
      const online = await loggedIn()
      online.client.logout()
      assert.deepEqual(online.server.socket.sent.at(-1), ['logout'])
      online.server.socket.tell('logged_out')
      const { client, server, kept } = await offline()
      const { token } = kept
      const told = client.logout()
      await settle()
      server.socket.tell('connect')
      await until(() => server.socket.sent.length > 0)
      const [[event, { proof, ...data }]] = server.socket.sent
      assert.deepEqual([event, data], ['logout', { token }])
      proves({ token, proof, confirm: true }, server.socket)
      server.socket.tell('logged_out')
      assert.equal(await told, true)
      disk.items.delete(KEYS)
      globalThis.localStorage = storage(token)
      const lost = await start(undefined, { storage: localStorage })
      await until(() => lost.server.sockets.length === 1)
      lost.server.socket.tell('connect_error', new Error('no network'))
      const untold = lost.client.logout()
      await until(() => lost.server.sockets.length === 2)
      lost.server.socket.tell('connect')
      assert.equal(await untold, false)
      assert.deepEqual(lost.server.socket.sent, [])
      // Nobody can end that session any more, so it is not tried again.
      await until(() => disk.items.get(KEY + '.ended').every((end) => end.sid && !end.token))
      delete globalThis.localStorage
    })
  },

  async 'a server that binds nothing is no harm'() {
    await device(async () => {
      const http = new Posts()
      const { server, client } = await start(undefined, { bind: true })
      http.answers.push(() => Response.json({ token: code('one') }))
      client.login({}).catch(() => {})
      await until(() => server.sockets.length > 0)
      proves(await hears(server), server.socket) // it is ignored
      server.socket.tell('authenticated', token(1), () => {})
      assert.deepEqual([client.state, client.bound], ['online', false])
      server.socket.tell('refresh')
      await pass(100)
      assert.deepEqual(server.socket.sent.at(-1), ['authenticate', { token: token(1), confirm: true }])
    })
  },
}
