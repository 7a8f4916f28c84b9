// What a thief does who has all tokens and frames of a session that is bound to another device, and
// a copy of that device's storages: see helper_bound.mjs. attack and dump also run in pages, so they
// use nothing of this file.

// parse returns the tokens and the proofs of what was copied.
export function parse(texts) {
  const all = new Set(texts.join('\n').match(/[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}/g))
  const parts = (jws) => jws.split('.').slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')))
  const tokens = [], proofs = []
  for (const jws of all) {
    const [header, claims] = parts(jws)
    if (header.typ === 'dpop+jwt') proofs.push({ jws, ...claims, jwk: header.jwk })
    else tokens.push(jws)
  }
  return { tokens, proofs }
}

// dump returns what a script can copy of a page's storages: of keys it is their thumbprints, and
// what material of them it can get hold of.
export async function dump() {
  const request = indexedDB.open('socketauth')
  const result = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
  const store = (await result(request)).transaction('tokens').objectStore('tokens')
  const [names, values] = [result(store.getAllKeys()), result(store.getAll())]
  const items = Object.fromEntries((await names).map((name, n) => [name, n]))
  const all = await values
  const keys = [], material = []
  const wrapping = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['wrapKey'])
  for (const { thumbprint, privateKey } of all[items['socketauth.keys']]) {
    keys.push(thumbprint)
    for (const format of ['jwk', 'pkcs8', 'raw', 'spki']) {
      for (const key of [privateKey, structuredClone(privateKey)]) {
        await crypto.subtle.exportKey(format, key).then((bytes) => material.push(bytes), () => {})
        const algorithm = { name: 'AES-GCM', iv: new Uint8Array(12) }
        await crypto.subtle.wrapKey(format, key, wrapping, algorithm).then((bytes) => material.push(bytes), () => {})
      }
    }
  }
  return { localStorage: { ...localStorage }, indexedDB: all, keys, material }
}

// attack presents stolen tokens on sockets and in requests: without proofs, with the stolen ones,
// and with forged ones. It returns how much of what it has tried on sockets and in requests was
// accepted, and the number of tries of each.
export async function attack({ url, tokens, proofs, count }) {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
  const utf8 = (text) => new TextEncoder().encode(text)
  const pair = await crypto.subtle.generateKey(algorithm, true, ['sign'])
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey)
  const own = { kty, crv, x, y }
  const [{ jwk: theirs }] = proofs
  const forge = async (jwk, payload) => {
    const text = [{ typ: 'dpop+jwt', alg: 'ES256', jwk }, payload].map((part) => base64url(utf8(JSON.stringify(part)))).join('.')
    return text + '.' + base64url(await crypto.subtle.sign(algorithm, pair.privateKey, utf8(text)))
  }
  const hash = async (token) => base64url(await crypto.subtle.digest('SHA-256', utf8(token)))
  const pick = (list) => list[Math.floor(list.length * Math.random())]

  // connect opens a connection, sends what f returns for its id, and resolves to the answer.
  const connect = (f) => new Promise((resolve) => {
    const ws = new WebSocket(url.replace('http', 'ws') + '/socket.io/?EIO=4&transport=websocket')
    ws.onmessage = async ({ data }) => {
      if (data === '2') return ws.send('3')
      if (data[0] === '0') for (const frame of await f(JSON.parse(data.slice(1)).sid)) ws.send(frame)
      if (!data.startsWith('42')) return
      resolve(JSON.parse(data.slice(2)))
      ws.close()
    }
    ws.onclose = () => resolve(['closed'])
    ws.onerror = () => resolve(['closed'])
  })
  const frames = {
    handshake: (data) => ['40' + JSON.stringify({ confirm: true, ...data })],
    event: (data) => ['40', '42' + JSON.stringify(['authenticate', { confirm: true, ...data }])],
    logout: (data) => ['40', '42' + JSON.stringify(['logout', data])],
    'logout as text': ({ token }) => ['40', '42' + JSON.stringify(['logout', token])],
  }
  const targets = [['GET', '/api/me'], ['POST', '/token'], ['POST', '/token', { confirm: true }], ['DELETE', '/token']]
  const got = { sockets: {}, requests: {} }
  const note = (counts, answer) => { counts[answer] = (counts[answer] ?? 0) + 1 }

  for (let n = 0; n < count; n++) {
    const token = pick(n % 3 ? tokens : tokens.slice(-2))
    const ath = await hash(token)
    const recorded = proofs.filter((proof) => proof.ath === ath)
    const make = [
      async () => undefined,
      async () => pick(recorded.length > 0 ? recorded : proofs).jws,
      async () => pick(proofs).jws,
      async (payload) => forge(own, payload),
      async (payload) => forge(theirs, payload),
    ][n % 5]
    const kind = pick(Object.keys(frames))
    const [event, about] = await connect(async (sid) => frames[kind]({ token, proof: await make({ nonce: sid, ath }) }))
    note(got.sockets, about?.code ?? event)

    const [method, path, body] = pick(targets)
    const used = pick(recorded.filter(({ htm, htu }) => htm === method && htu === url + path))
    const payload = { jti: crypto.randomUUID(), htm: method, htu: url + path, iat: Math.floor(Date.now() / 1000), ath }
    const proof = n % 5 === 1 && used ? used.jws : await make(payload)
    const headers = { Authorization: `${n % 10 ? 'DPoP' : 'Bearer'} ${token}`, 'Content-Type': 'application/json', ...proof && { DPoP: proof } }
    const response = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) })
    const { code } = await response.json().catch(() => ({}))
    note(got.requests, response.ok ? 'accepted' : code ?? response.status)
  }
  const accepted = ({ sockets, requests }) => (sockets.authenticated ?? 0) + (sockets.logged_out ?? 0) + (requests.accepted ?? 0)
  return [accepted(got), got]
}
