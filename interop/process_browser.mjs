// Browsers that are processes of their own, driven over their debugging protocols without a
// driver's flags: they can be killed as a whole, and their timers are throttled as those of a
// user's browser are.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const { WebSocket } = createRequire(import.meta.resolve('socket.io-client-4.8.4'))('ws')

// Connection sends commands and waits for their results: CDP and WebDriver BiDi have the same form
// of message.
class Connection {
  #last = 0
  #waiting = new Map() // id to the functions of a promise

  static async open(url) {
    const connection = new Connection()
    connection.ws = new WebSocket(url)
    connection.ws.on('message', (text) => connection.#receive(JSON.parse(text)))
    connection.ws.on('close', () => connection.#close())
    await once(connection.ws, 'open')
    return connection
  }

  send(method, params = {}, more = {}) {
    const id = ++this.#last
    this.ws.send(JSON.stringify({ id, method, params, ...more }))
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject, method }))
  }

  #receive({ id, result, error, message }) {
    const { resolve, reject, method } = this.#waiting.get(id) ?? {}
    if (!resolve) return // an event
    this.#waiting.delete(id)
    if (error) reject(new Error(`${method}: ${error.message ?? error} ${message ?? ''}`))
    else resolve(result)
  }

  #close() {
    for (const { reject, method } of this.#waiting.values()) reject(new Error(`${method}: the browser is gone`))
    this.#waiting.clear()
  }
}

// supervised is a shell that becomes the browser. When Node ends, however that is, the browser
// does: a pipe ends with it.
const supervised = '{ cat; kill -KILL 0; } <&3 >/dev/null & exec "$@" 3<&-'

// display starts an X server without a screen. It ends with Node.
export async function display() {
  const server = spawn('sh', ['-c', supervised, 'sh', 'Xvfb', '-displayfd', '1', '-nolisten', 'tcp', '-screen', '0', '1280x800x24'], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
  })
  const [number] = await once(server.stdout, 'data')
  return ':' + String(number).trim()
}

class ProcessBrowser {
  // start resolves when the browser can be told what to do.
  static async start(folder, options = {}) {
    const browser = new this()
    const { command, args, env } = browser.command(folder, options)
    const child = browser.process = spawn('sh', ['-c', supervised, 'sh', command, ...args], {
      detached: true, // the leader of a process group
      env: { ...process.env, ...env },
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    })
    browser.exited = once(child, 'exit')
    browser.exited.then(() => child.stdio[3].destroy(), () => {})
    const listening = new Promise((resolve, reject) => {
      let text = ''
      child.stderr.on('data', (chunk) => {
        text += chunk
        const found = /listening on (ws:\S+)/.exec(text)
        if (found) resolve(found[1])
      })
      child.once('error', reject)
      child.once('exit', () => reject(new Error(`${command} ended: ${text}`)))
    })
    try {
      await browser.connect(await listening)
    } catch (error) {
      await browser.kill()
      throw error
    }
    return browser
  }

  // kill ends all its processes at once, so that nothing is written any more.
  async kill() {
    try {
      process.kill(-this.process.pid, 'SIGKILL')
    } catch {} // it has ended
    await this.exited
  }
}

export class Chromium extends ProcessBrowser {
  command(folder, { display }) {
    for (const file of ['SingletonLock', 'SingletonCookie', 'SingletonSocket']) rmSync(join(folder, file), { force: true })
    return {
      command: '/usr/bin/chromium',
      args: [
        ...display ? ['--ozone-platform=x11'] : ['--headless'],
        '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--password-store=basic',
        '--disable-background-networking', '--disable-component-update', '--disable-sync', '--hide-crash-restore-bubble',
        '--remote-debugging-port=0', `--user-data-dir=${folder}`, 'about:blank',
      ],
      env: display ? { DISPLAY: display } : {},
    }
  }

  async connect(url) {
    this.connection = await Connection.open(url)
  }

  // open opens a page in a tab, which is in front of those that are there.
  async open(url) {
    const { targetId } = await this.connection.send('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await this.connection.send('Target.attachToTarget', { targetId, flatten: true })
    const send = (method, params) => this.connection.send(method, params, { sessionId })
    await send('Page.navigate', { url })
    const evaluate = async (expression) => {
      const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true })
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
      return result.value
    }
    const front = () => this.connection.send('Target.activateTarget', { targetId })
    return Object.assign(new Page(evaluate), { front })
  }

  // close ends it as a user does, with all written.
  async close() {
    await this.connection.send('Browser.close').catch(() => {})
    await this.exited
  }
}

export class Firefox extends ProcessBrowser {
  command(folder, { prefs: more }) {
    const prefs = {
      'app.normandy.enabled': false,
      'browser.aboutwelcome.enabled': false,
      'browser.sessionstore.resume_from_crash': false,
      'browser.shell.checkDefaultBrowser': false,
      'datareporting.policy.dataSubmissionEnabled': false,
      'network.captive-portal-service.enabled': false,
      'network.connectivity-service.enabled': false,
      'toolkit.startup.max_resumed_crashes': -1,
      ...more,
    }
    const lines = Object.entries(prefs).map(([name, value]) => `user_pref("${name}", ${value});\n`)
    writeFileSync(join(folder, 'user.js'), lines.join(''))
    return {
      command: '/usr/bin/firefox-esr',
      args: ['--headless', '--no-remote', '--profile', folder, '--remote-debugging-port=0', 'about:blank'],
      env: { MOZ_CRASHREPORTER_DISABLE: '1' },
    }
  }

  async connect(url) {
    this.connection = await Connection.open(url + '/session')
    await this.connection.send('session.new', { capabilities: {} })
  }

  async open(url) {
    const { context } = await this.connection.send('browsingContext.create', { type: 'tab' })
    await this.connection.send('browsingContext.navigate', { context, url, wait: 'complete' })
    const evaluate = async (expression) => {
      const { type, result, exceptionDetails } = await this.connection.send('script.evaluate', {
        expression: `Promise.resolve(${expression}).then((value) => JSON.stringify(value))`,
        target: { context },
        awaitPromise: true,
      })
      if (type !== 'success') throw new Error(exceptionDetails.text)
      return result.value === undefined ? undefined : JSON.parse(result.value)
    }
    return new Page(evaluate)
  }

  async close() {
    await this.connection.send('browser.close').catch(() => {})
    await this.exited
  }
}

class Page {
  constructor(evaluate) {
    this.evaluate = evaluate
  }

  // do runs a function in the page, with arguments that can be JSON.
  do(f, ...args) {
    return this.evaluate(`(${f})(...${JSON.stringify(args)})`)
  }

  // until waits for a function to be true in the page, which may be loading still.
  async until(f, ...args) {
    for (const end = Date.now() + 30_000; Date.now() < end;) {
      if (await this.do(f, ...args).catch(() => false)) return
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    throw new Error(`never true: ${f} ${JSON.stringify(args)}`)
  }
}
