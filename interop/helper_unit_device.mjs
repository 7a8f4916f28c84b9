// What the client's unit tests of bound sessions share: a disk, and a server that reads proofs.
import assert from 'node:assert/strict'
import { createHash, createPublicKey, verify } from 'node:crypto'
import { Database, Locks, settle, pass, encode, start, tokenPath, fresh } from './helper_unit_kit.mjs'

export const KEYS = 'socketauth.keys'

// Disk is a Database that answers by itself, unless it is slow.
export class Disk extends Database {
  isSlow = false

  open() {
    setImmediate(() => { if (!this.isSlow) this.answer() })
    return super.open()
  }

  get keys() { return this.items.get(KEYS) ?? [] }
}

export const sha256 = (text) => createHash('sha256').update(text).digest('base64url')
export const thumbprint = ({ crv, kty, x, y }) => sha256(JSON.stringify({ crv, kty, x, y }))

// read verifies a proof, and returns what it says and the thumbprint of its key.
export function read(proof) {
  const [header, payload, signature] = proof.split('.').map((part) => Buffer.from(part, 'base64url'))
  const { typ, alg, jwk, ...more } = JSON.parse(header)
  assert.deepEqual([typ, alg, Object.keys(jwk).sort(), more], ['dpop+jwt', 'ES256', ['crv', 'kty', 'x', 'y'], {}])
  const key = { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' }
  assert.ok(verify('sha256', Buffer.from(proof.split('.').slice(0, 2).join('.')), key, signature))
  return { ...JSON.parse(payload), jkt: thumbprint(jwk) }
}

// proves expects that a presentation proves its token on a socket's connection, and returns the
// thumbprint of the key.
export function proves({ token, proof, confirm, ...more }, socket) {
  const { jkt, ...payload } = read(proof)
  assert.deepEqual(payload, { nonce: socket.io.engine.id, ath: sha256(token) })
  assert.deepEqual([confirm, more], [true, {}])
  const { cnf } = JSON.parse(atob(token.split('.')[1]))
  if (cnf) assert.deepEqual(cnf, { jkt })
  return jkt
}

// until waits until f() is true: proofs are made by other threads.
export async function until(f) {
  for (const end = performance.now() + 10_000; performance.now() < end;) {
    if (f()) return
    await settle()
  }
  assert.fail(`never true: ${f}`)
}

// Posts are the HTTP half of a server that binds: a login's code has the thumbprint of its proof.
// Each request is noted as { line, scheme, token, proof, body }.
export class Posts {
  all = []
  answers = [] // functions that answer the next requests

  constructor() {
    globalThis.fetch = async (input, init = {}) => {
      const { method, url } = new Request(input, { method: init.method })
      const headers = new Headers(init.headers)
      const [scheme, token] = headers.get('Authorization')?.split(' ') ?? []
      const proof = headers.get('DPoP') && read(headers.get('DPoP'))
      const body = typeof init.body === 'string' ? JSON.parse(init.body) : init.body
      const request = { line: `${method} ${new URL(url).pathname}`, scheme, token, proof, body }
      this.all.push(request)
      const answer = this.answers.shift()
      if (answer) return answer(request)
      if (request.line === 'POST /login') return Response.json({ token: boundCode('one', proof?.jkt) })
      if (body?.confirm) return new Response(null, { status: 204 })
      return Response.json({ token: bound(7, (proof ?? {}).jkt) })
    }
  }

  // wantsNonce has the next request answered by a server for whose clock the proof is no good.
  wantsNonce(nonce, { status = 401, code = 'use_dpop_nonce' } = {}) {
    this.answers.push(() => Response.json({ code }, { status, headers: nonce && { 'DPoP-Nonce': nonce } }))
  }

  taken() { return this.all.splice(0) }
}

export const boundCode = (sid, jkt) => encode({ sid, gen: 0, dur: 30, token_use: 'code', cnf: jkt && { jkt } })
export const bound = (gen, jkt, more) => fresh(gen, { cnf: { jkt }, ...more })

// device runs f with a disk, which is there for all tabs, and without it after that.
export async function device(f) {
  const disk = globalThis.indexedDB = new Disk()
  try {
    await f(disk)
  } finally {
    delete globalThis.indexedDB
  }
}

// hears connects the last socket, waits for its presentation and returns it.
export async function hears(server) {
  const { socket } = server
  let data
  if (socket.auth) socket.auth((given) => { data = given })
  socket.tell('connect')
  const found = () => data ?? socket.sent.find(([event]) => event === 'authenticate')?.[1]
  await until(found)
  return found()
}

// loggedIn is a client whose login was bound, and its key's thumbprint.
export async function loggedIn(options) {
  const http = new Posts()
  const all = await start(undefined, { bind: true, tokenPath, locks: new Locks(), ...options })
  const login = all.client.login({ password: 'secret' })
  await until(() => all.server.sockets.length > 0)
  const jkt = proves(await hears(all.server), all.server.socket)
  all.server.socket.tell('authenticated', bound(1, jkt), () => {})
  await until(() => all.server.socket.sent.some(([event]) => event === 'socketauth:probe'))
  all.server.socket.sent.at(-1).at(-1)({})
  await login
  await pass(100) // it has given its turn back
  http.taken()
  return { ...all, http, jkt }
}

// offline is such a client whose connection was lost.
export async function offline(options) {
  const all = await loggedIn(options)
  all.server.socket.tell('disconnect', 'transport close')
  assert.equal(all.client.state, 'offline')
  return all
}
