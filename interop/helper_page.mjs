// The pages of helper.mjs, and what they are given as storages, locks and clocks.
import { readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { connect } from '../client/socketauth.js'
import { print } from './peer.mjs'

const [, version, url] = process.argv.slice(2) // of helper.mjs
export const io = version === 'own' ? undefined : (await import(`socket.io-client-${version}`)).default
export const { WebSocket } = createRequire(import.meta.resolve('socket.io-client-4.8.4'))('ws')

export const KEY = 'socketauth.token'
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
export const random = (ms) => sleep(Math.random() * ms)

// Memory is a localStorage.
export class Memory {
  items = new Map()
  getItem(key) { return this.items.get(key) ?? null }
  setItem(key, value) { this.items.set(key, String(value)) }
  removeItem(key) { this.items.delete(key) }
}

// Distant is a localStorage as tabs in several processes have it: what one tab writes, the others
// see a little later. In the end all have what was written last.
export class Distant {
  static #count = 0

  constructor(latency, others = []) {
    Object.assign(this, { latency, others, items: new Map() })
    others.push(this)
  }

  another() {
    const view = new Distant(this.latency, this.others)
    view.items = new Map(this.items)
    return view
  }

  getItem(key) { return this.items.get(key)?.value ?? null }
  setItem(key, value) { this.#write(key, String(value)) }
  removeItem(key) { this.#write(key, null) }

  #write(key, value) {
    const written = { value, number: ++Distant.#count }
    this.items.set(key, written)
    setTimeout(() => {
      for (const { items } of this.others) {
        if ((items.get(key)?.number ?? 0) < written.number) items.set(key, written)
      }
    }, this.latency)
  }
}

// Files is a storage that answers with promises, as React Native's AsyncStorage does.
export class Files {
  constructor(folder) { this.folder = folder }
  #at(key) { return join(this.folder, key) }
  getItem(key) { return readFile(this.#at(key), 'utf8').catch(() => null) }
  setItem(key, value) { return writeFile(this.#at(key), value) }
  removeItem(key) { return rm(this.#at(key), { force: true }) }
}

// Locks is a LockManager: one lock for each name, granted in the order of the requests.
export class Locks {
  #last = new Map()
  async request(name, { signal }, hold) {
    const before = this.#last.get(name)
    let release
    this.#last.set(name, new Promise((resolve) => { release = resolve }))
    const aborted = new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
    try {
      await Promise.race([before, aborted])
      signal.throwIfAborted()
    } catch (error) {
      Promise.resolve(before).then(release) // the next request still waits for the one before
      throw error
    }
    await hold()
    release()
  }
}

// Keys is an IndexedDB that keeps what it is given, for all pages of the process.
class Keys {
  #items = new Map()

  open() {
    const transaction = {}
    let waiting = 1
    const done = () => { if (--waiting === 0) transaction.oncomplete() }
    const ask = (f) => {
      const request = {}
      waiting++
      queueMicrotask(() => {
        request.result = f()
        request.onsuccess?.()
        done()
      })
      return request
    }
    const objectStore = () => ({
      get: (key) => ask(() => this.#items.get(key)),
      put: (value, key) => ask(() => void this.#items.set(key, value)),
      delete: (key) => ask(() => void this.#items.delete(key)),
    })
    const open = { result: { transaction: () => Object.assign(transaction, { objectStore }), close() {} } }
    queueMicrotask(() => {
      open.onsuccess()
      done()
    })
    return open
  }
}

const bind = process.env.BIND === '1' // whether the pages' sessions are bound to the device
if (bind) globalThis.indexedDB = new Keys()

export class Page {
  heard = []
  #waiting = []

  constructor(name, { storage = new Memory(), locks = new Locks(), quiet = false, ...options } = {}) {
    Object.assign(this, { name, storage, locks, quiet, options })
    this.open()
  }

  open() {
    this.client = connect({
      url, io, WebSocket, bind, storage: this.storage, locks: this.locks, minDelay: 50, maxDelay: 500, ...this.options,
    })
    this.client.on('state', (state, reason) => {
      if (!this.quiet) this.say(state, ...reason && !['offline'].includes(state) ? [reason] : [])
      this.#hear(state)
    })
    this.client.on('notice', (notice, about) => this.#hear(notice, about))
    this.client.on('news', (text) => this.#hear('news', text))
  }

  reload() {
    this.client.close()
    this.open()
  }

  // kept returns what is presented next.
  get kept() { return this.storage.getItem(KEY + '.code') ?? this.storage.getItem(KEY) }

  say(event, ...args) {
    print({ socket: this.name, event, args })
  }

  #hear(event, about) {
    const n = this.#waiting.findIndex((w) => w.event === event)
    if (n >= 0) this.#waiting.splice(n, 1)[0].resolve(about)
    else this.heard.push({ event, about })
  }

  // next waits for a state or notice. It may have come already, since the last call.
  next(event) {
    const n = this.heard.findIndex((h) => h.event === event)
    if (n >= 0) return Promise.resolve(this.heard.splice(0, n + 1).at(-1).about)
    return new Promise((resolve) => this.#waiting.push({ event, resolve }))
  }

  // is waits until the page is in a state.
  async is(state) {
    while (this.client.state !== state) await sleep(5)
    return this
  }

  login(username = 'alice', password = 'secret') {
    return this.client.login({ username, password })
  }

  async ask(event, ...args) {
    const reply = await this.client.emitWithAck(event, ...args).catch((error) => ({ error: error.code }))
    this.say('reply to ' + event, reply)
    return reply
  }
}

// machine makes a window for pages. It returns a function that sets the wall clock forward, as if
// the machine had slept for that long.
export function machine() {
  const window = new EventTarget()
  globalThis.document = Object.assign(new EventTarget(), { visibilityState: 'visible' })
  globalThis.addEventListener = window.addEventListener.bind(window)
  const { now } = Date
  return (ms) => {
    Date.now = () => now() + ms
    document.dispatchEvent(new Event('visibilitychange'))
  }
}

export function pattern(size) {
  const bytes = Uint8Array.from({ length: size }, (_, n) => n % 251)
  // Clients 2.x send nothing else as binary in Node.
  return version === '2.5.0' ? Buffer.from(bytes) : bytes
}
