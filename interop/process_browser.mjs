// Browsers that are processes of their own, driven over their debugging protocols: Chromium over
// CDP, Firefox over WebDriver BiDi, WebKit over its remote inspector.
//
// Playwright, Puppeteer and WebKitWebDriver would not do. They start browsers with flags that
// switch the throttling of timers off, with profiles that are gone afterwards (in WebKit's case
// always), or in a way that no signal reaches the browser as a whole. These browsers are started as
// users start them, so they can be killed, stopped, and started again with their profiles.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const { WebSocket } = createRequire(import.meta.resolve('socket.io-client-4.8.4'))('ws')
const START_TIMEOUT = 120_000 // ms until a browser can be told what to do, on a busy machine
const PAGE_TIMEOUT = 120_000 // ms until something is true in a page

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// Connection sends commands and waits for their results: all three protocols have the same form of
// message.
class Connection {
  #last = 0
  #waiting = new Map() // id to the functions of a promise
  #hear

  // open connects. hear is called with what is no result.
  static async open(url, hear = () => {}) {
    const connection = new Connection()
    connection.#hear = hear
    connection.ws = new WebSocket(url)
    connection.ws.on('message', (text) => connection.receive(JSON.parse(text)))
    connection.ws.on('close', () => connection.#close())
    await once(connection.ws, 'open')
    return connection
  }

  send(method, params = {}, more = {}) {
    const id = ++this.#last
    this.ws.send(JSON.stringify({ id, method, params, ...more }))
    return this.wait(id, method)
  }

  // wait resolves to the result with an id.
  wait(id, method) {
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject, method }))
  }

  receive(data) {
    const { id, result, error, message } = data
    const { resolve, reject, method } = this.#waiting.get(id) ?? {}
    if (!resolve) return this.#hear(data)
    this.#waiting.delete(id)
    if (error) reject(new Error(`${method}: ${error.message ?? error} ${message ?? ''}`))
    else resolve(result)
  }

  #close() {
    for (const { reject, method } of this.#waiting.values()) reject(new Error(`${method}: the browser is gone`))
    this.#waiting.clear()
  }
}

// supervised is a shell that becomes the program. When Node ends, however that is, the program and
// all that it has started do: a pipe ends with it. Who waits for that is in a process group of its
// own, because the program's may be stopped.
const supervised = 'setsid sh -c \'cat; kill -s KILL -- "-$1"\' sh $$ <&3 >/dev/null 2>&1 & exec "$@" 3<&-'

function start(command, args, { env, stdio }) {
  return spawn('sh', ['-c', supervised, 'sh', command, ...args], {
    detached: true, // the leader of a process group
    env: { ...process.env, ...env },
    stdio: [...stdio, 'pipe'],
  })
}

// display starts an X server without a screen. It ends with Node.
export async function display() {
  const args = ['-displayfd', '1', '-nolisten', 'tcp', '-screen', '0', '1280x800x24']
  const server = start('Xvfb', args, { stdio: ['ignore', 'pipe', 'ignore'] })
  const [number] = await once(server.stdout, 'data')
  return ':' + String(number).trim()
}

class ProcessBrowser {
  // start resolves when the browser can be told what to do. options.display is its X server;
  // without one it has no screen. options.tabs is how many tabs are opened at most, by WebKit.
  static async start(folder, options = {}) {
    const browser = new this()
    const { command, args, env } = browser.command(folder, options)
    const child = browser.process = start(command, args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
    browser.exited = once(child, 'exit')
    browser.exited.then(() => child.stdio[3].destroy(), () => {})
    let text = ''
    const listening = new Promise((resolve, reject) => {
      child.stderr.on('data', (chunk) => {
        text = (text + chunk).slice(-100_000)
        const found = /listening on (ws:\S+)/.exec(text)
        if (found) resolve(found[1])
      })
      child.once('error', reject)
      child.once('exit', () => reject(new Error(`${command} ended`)))
      setTimeout(() => reject(new Error(`${command} does not listen`)), START_TIMEOUT).unref()
    })
    listening.catch(() => {})
    try {
      await browser.connect(listening)
    } catch (error) {
      await browser.kill()
      throw new Error(`${error.message}: ${text}`)
    }
    return browser
  }

  // kill ends all its processes at once, so that nothing is written any more.
  async kill() {
    this.#signal('SIGKILL')
    await this.exited
  }

  // stop stops all its processes, as a machine that goes to sleep does. Resolves when none runs.
  async stop() {
    this.#signal('SIGSTOP')
    while (!this.#states().every((state) => 'TtZX'.includes(state))) await pause(5)
  }

  resume() {
    this.#signal('SIGCONT')
  }

  #signal(signal) {
    try {
      process.kill(-this.process.pid, signal)
    } catch {} // it has ended
  }

  // #states returns the states of its processes, each a letter of ps.
  #states() {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
      try {
        const [state, , group] = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ')
        return Number(group) === this.process.pid ? [state] : []
      } catch {
        return [] // it has ended meanwhile
      }
    })
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

  async connect(listening) {
    this.connection = await Connection.open(await listening)
    this.version = (await this.connection.send('Browser.getVersion')).product
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
    return new Page(evaluate, () => this.connection.send('Target.activateTarget', { targetId }))
  }

  // close ends it as a user does, with all written.
  async close() {
    await this.connection.send('Browser.close').catch(() => {})
    await this.exited
  }
}

export class Firefox extends ProcessBrowser {
  command(folder, { display, prefs: more }) {
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
      args: [
        ...display ? [] : ['--headless'],
        '--no-remote', '--profile', folder, '--remote-debugging-port=0', 'about:blank',
      ],
      env: { MOZ_CRASHREPORTER_DISABLE: '1', ...display && { DISPLAY: display, MOZ_ENABLE_WAYLAND: '0' } },
    }
  }

  async connect(listening) {
    this.connection = await Connection.open(await listening + '/session')
    const { capabilities } = await this.connection.send('session.new', { capabilities: {} })
    this.version = `${capabilities.browserName} ${capabilities.browserVersion}`
  }

  async open(url) {
    const { context } = await this.connection.send('browsingContext.create', { type: 'tab' })
    await this.connection.send('browsingContext.navigate', { context, url, wait: 'none' })
    const evaluate = async (expression) => {
      const { type, result, exceptionDetails } = await this.connection.send('script.evaluate', {
        expression: `Promise.resolve(${expression}).then((value) => JSON.stringify(value))`,
        target: { context },
        awaitPromise: true,
      })
      if (type !== 'success') throw new Error(exceptionDetails.text)
      return result.value === undefined ? undefined : JSON.parse(result.value)
    }
    return new Page(evaluate, () => this.connection.send('browsingContext.activate', { context }))
  }

  async close() {
    await this.connection.send('browser.close').catch(() => {})
    await this.exited
  }
}

// WebKit is MiniBrowser of WebKitGTK. It has no command that opens a tab, so it is started with
// tabs that are empty. The first of them is in front.
export class WebKit extends ProcessBrowser {
  static #started = 0

  // program returns where MiniBrowser is, which depends on the architecture and the version.
  static program() {
    const folders = (path, pattern) => readdirSync(path).filter((name) => pattern.test(name)).map((name) => join(path, name))
    const found = folders('/usr/lib', /-linux-gnu/).flatMap((path) => folders(path, /^webkit2?gtk-/))
      .map((path) => join(path, 'MiniBrowser')).find(existsSync)
    if (!found) throw new Error('MiniBrowser is missing: run `apt-get install webkit2gtk-driver`')
    return found
  }

  command(folder, { display, tabs = 1 }) {
    // The inspector needs a port that is given. On an address that is this process's alone, no
    // other program has it.
    const { pid } = process
    this.address = `127.${pid >> 16 & 255}.${pid >> 8 & 255}.${pid & 255}:${20_000 + WebKit.#started++}`
    const env = {
      DISPLAY: display,
      GDK_BACKEND: 'x11',
      HOME: folder,
      XDG_CACHE_HOME: join(folder, 'cache'),
      XDG_CONFIG_HOME: join(folder, 'config'),
      XDG_DATA_HOME: join(folder, 'data'),
      // No services of a desktop.
      DBUS_SESSION_BUS_ADDRESS: 'disabled:',
      GIO_USE_VFS: 'local',
      GSETTINGS_BACKEND: 'memory',
      NO_AT_BRIDGE: '1',
      GTK_A11Y: 'none',
      WEBKIT_INSPECTOR_HTTP_SERVER: this.address,
    }
    this.tabs = tabs
    const command = WebKit.program()
    this.version = String(execFileSync(command, ['--version'], { env: { ...process.env, ...env } })).trim()
    return { command, args: Array(tabs).fill('about:blank'), env }
  }

  // connect waits until all tabs are listed.
  async connect(listening) {
    let isGivenUp = false
    listening.catch(() => { isGivenUp = true })
    for (this.blank = []; this.blank.length < this.tabs;) {
      const list = await fetch(`http://${this.address}/`).then((answer) => answer.text(), () => '')
      this.blank = [...list.matchAll(/\/socket\/\d+\/\d+\/WebPage/g)].map(([path]) => path)
      if (isGivenUp) await listening // throws
      await pause(20)
    }
  }

  // open opens a page in a tab that is still empty: the first in the one that is in front.
  async open(url) {
    const isFirst = !this.opened
    this.opened = true
    const path = this.blank.shift()
    if (!path) throw new Error('there is no empty tab')
    const page = await InspectedPage.open(`ws://${this.address}${path}`)
    const front = () => { if (!isFirst) throw new Error('another tab is in front') }
    await page.evaluate(`void (location.href = ${JSON.stringify(url)})`)
    return new Page((expression) => page.evaluate(expression), front)
  }

  // close ends it so that all is written.
  async close() {
    this.process.kill('SIGTERM')
    await this.exited
  }
}

// InspectedPage evaluates expressions in a page of WebKit's. The commands for it are wrapped in
// those for the process that shows it, and so are their results.
class InspectedPage {
  #connection
  #target
  #last = 1_000_000 // its ids are not those of the connection itself

  static async open(url) {
    const page = new InspectedPage()
    const attached = new Promise((resolve) => {
      page.#connection = Connection.open(url, ({ method, params }) => {
        if (method === 'Target.targetCreated' && !params.targetInfo.isProvisional) {
          page.#target = params.targetInfo.targetId
          resolve()
        } else if (method === 'Target.didCommitProvisionalTarget') {
          page.#target = params.newTargetId
        } else if (method === 'Target.dispatchMessageFromTarget') {
          page.#connection.receive(JSON.parse(params.message))
        }
      })
    })
    page.#connection = await page.#connection
    await attached
    return page
  }

  async #send(method, params) {
    const id = ++this.#last
    const result = this.#connection.wait(id, method)
    result.catch(() => {})
    await this.#connection.send('Target.sendMessageToTarget', {
      targetId: this.#target,
      message: JSON.stringify({ id, method, params }),
    })
    return result
  }

  async evaluate(expression) {
    const began = await this.#send('Runtime.evaluate', {
      expression: `((value) => value instanceof Promise ? value.then((value) => JSON.stringify(value)) : JSON.stringify(value))(${expression})`,
    })
    const { objectId, className } = began.result
    const { result, wasThrown } = className === 'Promise'
      ? await this.#send('Runtime.awaitPromise', { promiseObjectId: objectId, returnByValue: true })
      : began
    if (wasThrown) throw new Error(result.description)
    return result.value === undefined ? undefined : JSON.parse(result.value)
  }
}

class Page {
  // front brings the page's tab to the front.
  constructor(evaluate, front) {
    Object.assign(this, { evaluate, front })
  }

  // do runs a function in the page, with arguments that can be JSON.
  do(f, ...args) {
    return this.evaluate(`(${f})(...${JSON.stringify(args)})`)
  }

  // until waits for a function to be true in the page, which may be loading still. What a page that
  // was left has not answered is asked again.
  async until(f, ...args) {
    for (const end = Date.now() + PAGE_TIMEOUT; Date.now() < end;) {
      if (await Promise.race([this.do(f, ...args).catch(() => false), pause(10_000)])) return
      await pause(20)
    }
    throw new Error(`never true: ${f} ${JSON.stringify(args)}`)
  }
}
