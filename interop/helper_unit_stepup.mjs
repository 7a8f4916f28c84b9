// The client's unit tests of reauthenticate: see helper_unit.mjs.
import assert from 'node:assert/strict'
import { KEY, TokenServer, settle, pass, token, code, encode, stepUp, start, online, fresh, loaded, offline, page, given, settles } from './helper_unit_kit.mjs'

export const tests = {
  async 'who proves again who they are presents the step-up with the token'() {
    const { client, server, http } = await page()
    http.answers.push(() => Response.json({ token: stepUp('one') }))
    let settled = false
    const asked = client.reauthenticate({ password: 'secret', step_up: false }).finally(() => { settled = true })
    await loaded()
    assert.deepEqual(http.taken(), [['POST /login', token(2), { password: 'secret', step_up: true }]])
    assert.deepEqual(server.socket.sent, [['authenticate', { token: token(2), confirm: true, step_up: stepUp('one') }]])
    assert.equal(settled, false)
    server.socket.tell('authenticated', token(3, { auth_time: 9 }), () => {})
    assert.equal(await asked, undefined)
    server.socket.tell('refresh')
    await pass(100)
    assert.equal(server.socket.sent.at(-1)[1].step_up, undefined) // once
  },

  async 'a step-up code that the app has made is presented as it is'() {
    const { client, server, http } = await page()
    const asked = client.reauthenticate(stepUp('one'))
    await loaded()
    assert.deepEqual(server.socket.sent, [['authenticate', { token: token(2), confirm: true, step_up: stepUp('one') }]])
    server.socket.tell('authenticated', token(3), () => {})
    await asked
    assert.deepEqual(http.requests, [])
  },

  async 'a step-up is presented again where the answer to it was lost'() {
    const { client, server, http } = await page()
    http.answers.push(() => Response.json({ token: stepUp('one') }))
    const asked = client.reauthenticate({})
    await loaded()
    server.socket.tell('unauthorized', { code: 'unavailable', terminal: false, retryAfter: 1 })
    server.socket.tell('disconnect', 'transport close')
    await pass(3_000)
    server.hear()
    await loaded() // it has given its turn back by then
    assert.deepEqual(server.handshake, { token: token(2), confirm: true, step_up: stepUp('one') })
    server.socket.tell('authenticated', token(3), () => {})
    await asked
  },

  async 'a step-up that was asked for while the token is presented goes with the next presentation'() {
    const { client, server, http } = await page()
    http.answers.push(() => {
      server.socket.tell('refresh')
      return Response.json({ token: stepUp('one') })
    })
    let settled = false
    client.reauthenticate({}).finally(() => { settled = true })
    await loaded()
    assert.deepEqual(server.socket.sent.map(([, data]) => data.step_up), [undefined])
    server.socket.tell('authenticated', token(3), () => {})
    await pass(100)
    assert.equal(settled, false)
    assert.deepEqual(server.socket.sent.map(([, data]) => data.step_up), [undefined, stepUp('one')])
    server.socket.tell('authenticated', token(4), () => {})
    await settle()
    assert.equal(settled, true)
  },

  async 'a step-up that was asked for during a handshake goes with the next presentation'() {
    const http = new TokenServer()
    const { client, server } = await start(fresh(1))
    server.hear()
    http.answers.push(() => Response.json({ token: stepUp('one') }))
    const asked = client.reauthenticate({})
    await loaded()
    server.socket.tell('authenticated', token(2), () => {})
    await pass(100)
    assert.deepEqual(server.socket.sent, [['authenticate', { token: token(2), confirm: true, step_up: stepUp('one') }]])
    server.socket.tell('authenticated', token(3), () => {})
    await asked
  },

  async 'a step-up is presented with its own session only, and the latest alone'() {
    const { client, server, kept, http } = await page()
    const another = encode({ sid: 'one', token_use: 'step_up', jti: 'another' })
    http.answers.push(() => Response.json({ token: stepUp('one') }), () => Response.json({ token: another }))
    const first = settles(client.reauthenticate({}))
    await loaded()
    const second = settles(client.reauthenticate({}))
    await loaded()
    assert.equal(await first, 'replaced')
    server.socket.tell('unauthorized', { code: 'unavailable', terminal: false, retryAfter: 1 })
    kept.setItem(KEY, token(1, { sid: 'two' }))
    server.socket.tell('rotated')
    await pass(100)
    server.hear()
    assert.deepEqual(server.handshake, { token: token(1, { sid: 'two' }), confirm: true })
    assert.equal(await second, 'replaced')
  },

  async 'a refusal of an earlier presentation is none of a step-up'() {
    const { client, server, http } = await page()
    http.answers.push(() => {
      server.socket.tell('refresh')
      return Response.json({ token: stepUp('one') })
    })
    const asked = client.reauthenticate({})
    await loaded()
    server.socket.tell('unauthorized', { code: 'BANNED', terminal: false })
    server.socket.tell('disconnect', 'transport close')
    await pass(3_000)
    server.hear()
    await loaded() // it has given its turn back by then
    assert.equal(server.handshake.step_up, stepUp('one'))
    server.socket.tell('authenticated', token(3), () => {})
    await asked
  },

  async 'a step-up goes to TokenPath where there is no socket'() {
    const { client, kept, http } = await offline(fresh(1))
    const before = kept.token
    http.answers.push(() => Response.json({ token: stepUp('one') }))
    await client.reauthenticate({ password: 'secret' })
    assert.deepEqual(http.taken(), [
      ['POST /login', before, { password: 'secret', step_up: true }],
      ['POST /token', before, { step_up: stepUp('one') }],
      ['POST /token', token(2), { confirm: true }],
    ])
    assert.equal(kept.token, token(2))
  },

  async 'a step-up that is refused costs nobody the session'() {
    const { client, server, kept, http } = await page()
    http.refuse(401, 'USER_INVALID')
    assert.equal(await given(settles(client.reauthenticate({}))), 'USER_INVALID')
    http.answers.push(() => Response.json({ token: code('one') })) // a server that knows no step-up
    assert.equal(await given(settles(client.reauthenticate({}))), 'bad_answer')
    http.answers.push(() => Response.json({ token: stepUp('two') })) // of another session
    assert.equal(await given(settles(client.reauthenticate({}))), 'step_up_refused')
    for (const text of [stepUp('two'), 'nonsense', '']) {
      assert.equal(await given(settles(client.reauthenticate(text))), 'step_up_refused')
    }
    http.answers.push(() => Response.json({ token: stepUp('one') }))
    const asked = settles(client.reauthenticate({}))
    await loaded()
    server.socket.tell('unauthorized', { code: 'invalid_step_up', terminal: false })
    assert.equal(await asked, 'invalid_step_up')
    assert.deepEqual([client.state, kept.token], ['online', token(2)])
    const elsewhere = await online(token(1), { loginPath: 'http://evil.example/login' })
    assert.equal(await settles(elsewhere.client.reauthenticate({})), 'other_origin')
    const nobody = await start()
    http.taken()
    assert.equal(await given(settles(nobody.client.reauthenticate({}))), 'signed_out')
    assert.deepEqual(http.requests, [])
  },

  async 'what is asked again ends with the session'() {
    for (const [end, why] of [
      [({ client }) => client.close(), 'closed'],
      [({ server }) => server.socket.tell('logged_out'), 'logged_out'],
      [({ server }) => server.socket.tell('unauthorized', { code: 'session_revoked', terminal: true }), 'session_revoked'],
      [() => pass(20_050), 'network'],
    ]) {
      const all = await page()
      all.http.answers.push(() => Response.json({ token: stepUp('one') }))
      const asked = settles(all.client.reauthenticate({}))
      await loaded()
      await end(all)
      assert.equal(await asked, why)
      all.client.close()
    }
  },

  async 'an error has what the server says besides its code'() {
    const { client, server, http } = await page()
    const asked = client.emitWithAck('delete').catch((error) => error)
    server.socket.sent.at(-1).at(-1)({ error: { code: 'reauthentication_required', maxAge: 300 } })
    assert.deepEqual((await asked).details, { code: 'reauthentication_required', maxAge: 300 })
    http.refuse(403, 'LOCKED', { until: 'noon' })
    assert.deepEqual((await client.reauthenticate({}).catch((error) => error)).details, { code: 'LOCKED', until: 'noon' })
  },
}
