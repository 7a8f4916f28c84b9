// The client's unit tests of requests with proofs: see helper_unit.mjs.
import assert from 'node:assert/strict'
import { KEY, pass, start, old, settles, stepUp } from './helper_unit_kit.mjs'
import { sha256, proves, until, Posts, bound, device, hears, loggedIn, offline } from './helper_unit_device.mjs'

export const tests = {
  async 'a machine whose clock is wrong logs in with a nonce'() {
    await device(async () => {
      const http = new Posts()
      const { client } = await start(undefined, { bind: true })
      http.wantsNonce('n1', { status: 400, code: 'USE_DPOP_NONCE' })
      client.login({}).catch(() => {})
      await until(() => http.all.length === 2)
      const [first, second] = http.taken().map(({ proof }) => proof)
      assert.deepEqual([first.nonce, second.nonce, first.jkt === second.jkt, first.jti === second.jti], [undefined, 'n1', true, false])
      const other = await start(undefined, { bind: true })
      for (const nonce of ['n1', 'n2']) http.wantsNonce(nonce, { status: 400, code: 'USE_DPOP_NONCE' })
      assert.equal(await settles(other.client.login({})), 'USE_DPOP_NONCE') // not again and again
      http.taken()
      http.wantsNonce(undefined, { status: 400, code: 'INVALID_PROOF' })
      assert.equal(await settles(other.client.login({})), 'INVALID_PROOF')
      assert.deepEqual(http.taken().map(({ proof }) => proof.nonce), ['n2'])
    })
  },

  async 'requests have the token and a proof of their own'() {
    await device(async () => {
      const { client, http, kept, jkt } = await loggedIn()
      http.answers.push(() => new Response('1', { headers: { 'DPoP-Nonce': 'n1' } }), () => new Response('2'))
      await client.fetch('/api/me?x=1#y', { headers: { Authorization: 'Basic x', DPoP: 'x' } })
      await client.fetch(new Request('http://app.example/api/me', { method: 'put', body: 'x' }))
      const [first, second] = http.taken()
      for (const { scheme, token, proof } of [first, second]) {
        assert.deepEqual([scheme, token, proof.jkt, proof.ath], ['DPoP', kept.token, jkt, sha256(kept.token)])
      }
      assert.deepEqual([first.proof.htm, first.proof.htu, first.proof.nonce], ['GET', 'http://app.example/api/me', undefined])
      assert.deepEqual([second.proof.htm, second.proof.htu, second.proof.nonce], ['PUT', 'http://app.example/api/me', 'n1'])
      assert.notEqual(first.proof.jti, second.proof.jti)
      for (const input of ['http://evil.example/', '//evil.example/']) assert.equal(await settles(client.fetch(input)), 'other_origin')
      assert.deepEqual(http.all, [])
    })
  },

  async 'a request whose proof needs a nonce is repeated once, unless its body is a stream'() {
    await device(async () => {
      const { client, http } = await loggedIn()
      http.wantsNonce('n1')
      http.answers.push(() => Response.json('done'))
      assert.equal(await (await client.fetch('/api/me', { method: 'POST', body: '{"n":1}' })).json(), 'done')
      const asked = http.taken()
      assert.deepEqual(asked.map(({ proof, body }) => [proof.nonce, body]), [[undefined, { n: 1 }], ['n1', { n: 1 }]])
      http.wantsNonce('n2')
      http.wantsNonce('n3')
      assert.equal((await client.fetch('/api/me')).status, 401)
      assert.equal(http.taken().length, 2)
      http.wantsNonce('n4')
      const body = new ReadableStream({ start: (c) => c.close() })
      assert.equal((await client.fetch('/api/me', { method: 'POST', body, duplex: 'half' })).status, 401)
      http.answers.push(() => Response.json('done'))
      await client.fetch('/api/me')
      assert.deepEqual(http.taken().map(({ proof }) => proof.nonce), ['n3', 'n4'])
      http.wantsNonce('n5', { code: 'session_revoked' })
      assert.equal((await client.fetch('/api/me')).status, 401)
      assert.equal(http.taken().length, 1)
    })
  },

  async 'a request that is repeated with the next token proves that one'() {
    await device(async () => {
      const { client, http, server, jkt } = await loggedIn()
      http.answers.push(() => Response.json({ code: 'stale_token' }, { status: 401 }), () => Response.json('done'))
      const asked = client.fetch('/api/me')
      await until(() => server.socket.sent.at(-1)[0] === 'authenticate')
      proves(server.socket.sent.at(-1)[1], server.socket)
      const next = bound(2, jkt, { mark: 5 })
      server.socket.tell('authenticated', next, () => {})
      assert.equal(await (await asked).json(), 'done')
      assert.equal(http.taken()[1].proof.ath, sha256(next))
    })
  },

  async 'without a socket tokens are replaced and confirmed with proofs'() {
    await device(async () => {
      const { client, http, kept, jkt } = await offline()
      kept.setItem(KEY, old(3, { cnf: { jkt } }))
      const before = kept.token
      http.wantsNonce('n1')
      const next = await client.getToken()
      assert.equal(next, kept.token)
      assert.deepEqual(
        http.taken().map(({ line, scheme, token, proof, body }) => [line, scheme, token, proof.ath, proof.nonce, proof.jkt, body]),
        [[before, undefined, {}], [before, 'n1', {}], [next, 'n1', { confirm: true }]]
          .map(([token, nonce, body]) => ['POST /token', 'DPoP', token, sha256(token), nonce, jkt, body]),
      )
    })
  },

  async 'a step-up is asked for and presented with proofs'() {
    await device(async () => {
      const { client, server, http, jkt, kept } = await loggedIn()
      http.wantsNonce('n1', { status: 400, code: 'USE_DPOP_NONCE' })
      http.answers.push(() => Response.json({ token: stepUp('one') }))
      const asked = client.reauthenticate({ password: 'secret' })
      await until(() => server.socket.sent.at(-1)[0] === 'authenticate')
      assert.deepEqual(http.taken().map(({ line, scheme, proof }) => [line, scheme, proof.ath, proof.nonce]), [
        ['POST /login', 'DPoP', sha256(kept.token), undefined], ['POST /login', 'DPoP', sha256(kept.token), 'n1'],
      ])
      const { step_up, ...data } = server.socket.sent.at(-1)[1]
      assert.equal(step_up, stepUp('one'))
      proves(data, server.socket)
      server.socket.tell('authenticated', bound(2, jkt), () => {})
      await asked
    })
  },

  async 'a proof that is refused ends the session here, and one that is refused at a path does not'() {
    await device(async () => {
      const { client, server, http, kept } = await offline()
      kept.setItem(KEY, old(3, { cnf: JSON.parse(atob(kept.token.split('.')[1])).cnf }))
      const before = kept.token
      for (const [code, terminal] of [['invalid_proof', true], ['invalid_proof', undefined], ['proof_required', false]]) {
        http.answers.push(() => Response.json({ code, terminal }, { status: 401 }))
        assert.equal(await settles(client.getToken()), code)
        assert.deepEqual([kept.token, client.state], [before, 'offline'])
      }
      await pass(2_000)
      await hears(server)
      server.socket.tell('unauthorized', { code: 'proof_required', terminal: false })
      assert.equal(kept.token, before)
      await pass(5_000)
      await hears(server)
      server.socket.tell('unauthorized', { code: 'invalid_proof', terminal: true })
      assert.deepEqual([kept.token, client.state, client.reason], [undefined, 'signed-out', 'invalid_proof'])
    })
  },
}
