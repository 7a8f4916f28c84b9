// The client's unit tests of fetch: see helper_unit.mjs.
import assert from 'node:assert/strict'
import { KEY, pass, token, code, start, now, old, fresh, loaded, offline, page, given, settles } from './helper_unit_kit.mjs'

export const tests = {
  async 'a request has the token, and no other origin gets it'() {
    const { client, http } = await page()
    for (const [input, init] of [
      ['/api/me'], ['api/me?x=1'], [new URL('http://app.example/api/me')], [new Request('http://app.example/api/me')],
      ['/api/me', { method: 'PUT', body: '{"x":1}', headers: { Authorization: 'Basic x', 'X-A': '1' } }],
    ]) {
      http.answers.push((_, init) => Response.json({ a: init.headers.get('X-A') }))
      const response = await client.fetch(input, init)
      assert.equal((await response.json()).a, init ? '1' : null)
      const [[line, bearer]] = http.taken()
      assert.match(line, init ? /^PUT .*\/me$/ : /\/me$/)
      assert.equal(bearer, token(2))
    }
    for (const input of ['//evil.example/', 'https://app.example/', 'http://app.example:81/', 'http://app.example@evil.example/',
      '\\\\evil.example', new URL('http://evil.example/'), new Request('http://evil.example/'), 'data:,x']) {
      assert.equal(await given(settles(client.fetch(input))), 'other_origin', String(input))
    }
    assert.deepEqual(http.requests, [])
    const nobody = await start()
    http.answers.push(() => Response.json({}, { status: 401 }))
    assert.equal((await nobody.client.fetch('/api/me')).status, 401)
    assert.deepEqual(http.taken(), [['GET /api/me', undefined, undefined]])
  },

  async 'a request whose token is out of date is repeated once with the next one'() {
    for (const refusal of ['stale_token', 'token_expired']) {
      for (const second of [200, 401]) {
        const { client, server, http } = await page()
        http.refuse(401, refusal)
        http.answers.push(() => Response.json({ code: refusal }, { status: second }))
        const asked = client.fetch('/api/me', { method: 'POST', body: '{"n":1}' })
        await loaded()
        assert.deepEqual(server.socket.sent, [['authenticate', { token: token(2), confirm: true }]])
        assert.equal(http.requests.length, 1)
        server.socket.tell('authenticated', token(3, { mark: 5 }), () => {})
        const response = await asked
        assert.deepEqual([response.status, await response.json()], [second, { code: refusal }])
        assert.deepEqual(http.taken(), [['POST /api/me', token(2), { n: 1 }], ['POST /api/me', token(3, { mark: 5 }), { n: 1 }]])
      }
    }
  },

  async 'a request is repeated without a socket too, as a Request is'() {
    const { client, kept, http } = await offline(fresh(1))
    const before = kept.token
    http.refuse(401, 'stale_token')
    http.answers.push(() => Response.json({ token: token(2, { mark: 5 }) }), undefined, async () => Response.json('done'))
    const bodies = []
    const { fetch } = globalThis
    globalThis.fetch = async (input, init) => {
      if (input.url) bodies.push(await input.text())
      return fetch(input, init)
    }
    const response = await client.fetch(new Request('http://app.example/api/me', { method: 'POST', body: 'once' }))
    assert.equal(await response.json(), 'done')
    assert.deepEqual(bodies, ['once', 'once'])
    assert.deepEqual(http.taken().map(([line, bearer]) => [line.split(' ')[1], bearer]), [
      ['/api/me', before], ['/token', before], ['/token', token(2, { mark: 5 })], ['/api/me', token(2, { mark: 5 })],
    ])
  },

  async 'requests that are refused at once share the next token'() {
    const { client, server, http } = await page()
    for (let n = 0; n < 4; n++) http.refuse(401, 'stale_token')
    for (let n = 0; n < 4; n++) http.answers.push(() => Response.json('done'))
    const asked = [1, 2, 3].map(() => client.fetch('/api/me'))
    await loaded()
    server.socket.tell('authenticated', token(3, { mark: 5 }), () => {})
    for (const response of await Promise.all(asked)) await response.text()
    await pass(1_000)
    assert.equal(server.socket.sent.length, 1)
    assert.deepEqual(http.taken().slice(-1)[0][1], token(3, { mark: 5 }))
  },

  async 'a token that another tab has stored will do for the repetition'() {
    // Guards: a request that is under way while each of five tabs has the token replaced was refused
    // with no_longer_valid, though the session goes on.
    for (const [code, more, will] of [
      ['stale_token', { mark: 5 }, true], ['token_expired', {}, true], ['no_longer_valid', {}, true], ['stale_token', {}, false],
    ]) {
      const { client, server, kept, http } = await page()
      const stored = token(7, more)
      http.answers.push(() => {
        kept.setItem(KEY, stored)
        return Response.json({ code }, { status: 401 })
      })
      http.answers.push(() => Response.json('done'))
      const asked = client.fetch('/api/me')
      await loaded()
      assert.equal(server.socket.sent.length, will ? 0 : 1)
      if (!will) server.socket.tell('authenticated', token(8, { mark: 5 }), () => {})
      assert.equal(await (await asked).json(), 'done')
      assert.equal(http.taken()[1][1], will ? stored : token(8, { mark: 5 }))
    }
  },

  async 'a request that is overtaken again and again is given up'() {
    const { client, server, kept, http } = await page()
    for (let n = 10; n < 20; n++) {
      http.answers.push(() => {
        kept.setItem(KEY, token(n))
        return Response.json({ code: 'no_longer_valid' }, { status: 401 })
      })
    }
    assert.equal((await client.fetch('/api/me')).status, 401)
    assert.deepEqual(http.taken().map(([, bearer]) => bearer), [token(2), token(10), token(11), token(12)])
    assert.deepEqual(server.socket.sent, [])
  },

  async 'a request that may not be repeated is not'() {
    // Guards: what one user has asked for must not be done as another user, and half a stream is no
    // request.
    const { client, server, kept, http } = await page()
    for (const [status, code] of [[401, 'session_revoked'], [403, 'stale_token'], [401, undefined],
      [401, '__proto__'], [401, { toString: 1 }]]) {
      http.refuse(status, code)
      assert.equal((await client.fetch('/api/me')).status, status)
    }
    http.answers.push(() => new Response('<h1>stale_token', { status: 401 }))
    assert.equal(await (await client.fetch('/api/me')).text(), '<h1>stale_token')
    http.refuse(401, 'stale_token')
    const body = new ReadableStream({ start: (c) => c.close() })
    assert.equal((await client.fetch('/api/me', { method: 'POST', body, duplex: 'half' })).status, 401)
    for (const body of [{ getReader() {} }, { async *[Symbol.asyncIterator]() {} }]) { // not all streams have both
      http.refuse(401, 'stale_token')
      assert.equal((await client.fetch('/api/me', { method: 'POST', body })).status, 401)
    }
    assert.deepEqual(server.socket.sent, [])
    http.taken()
    http.answers.push(() => {
      kept.setItem(KEY, token(5, { sid: 'two' }))
      return Response.json({ code: 'token_expired' }, { status: 401 })
    })
    assert.equal((await client.fetch('/api/me', { method: 'DELETE' })).status, 401)
    assert.equal(http.taken().length, 1)
    const revoked = await page()
    revoked.http.refuse(401, 'stale_token')
    const asked = revoked.client.fetch('/api/me')
    await loaded()
    revoked.server.socket.tell('unauthorized', { code: 'session_revoked', terminal: true })
    assert.equal((await (await asked).json()).code, 'stale_token')
  },

  async 'a request that is aborted does not wait for a token'() {
    const { client, http } = await offline(old(1), { tokenPath: undefined })
    const aborting = new AbortController()
    const asked = settles(client.fetch('/api/me', { signal: aborting.signal }))
    await loaded()
    aborting.abort()
    assert.equal(await asked, 20) // the code of an AbortError
    assert.deepEqual(http.requests, [])
  },

  async 'a request goes out with a token that lives for some seconds if there is no other'() {
    const { client, kept, http } = await offline(old(1))
    const before = kept.token
    http.answers.push(() => { throw new TypeError('no network') }, () => Response.json('done'))
    assert.equal(await (await client.fetch('/api/me')).json(), 'done')
    assert.deepEqual(http.taken()[1], ['GET /api/me', before, undefined])
    const expired = await offline(token(1, { exp: now() - 5 }))
    expired.http.answers.push(() => { throw new TypeError('no network') })
    assert.equal(await given(settles(expired.client.fetch('/api/me'))), 'network')
  },
}
