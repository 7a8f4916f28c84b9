// A tab with one of the pages. What happens is printed as lines, like those of client.mjs, which
// the Go tests check.
import { print } from '../peer.mjs'

export class Tab {
  faults = [] // what the page has thrown, or printed as a warning or an error

  static async open(name, browser, url, timeout) {
    const context = await browser.newContext()
    const tab = new Tab(name, await context.newPage())
    await tab.page.goto(url, { timeout })
    return tab
  }

  constructor(name, page) {
    Object.assign(this, { name, page })
    page.setDefaultTimeout(30_000)
    page.on('pageerror', (error) => this.faults.push(error.message))
    page.on('console', (message) => {
      if (!['warning', 'error'].includes(message.type())) return
      // The browser says so of a client that was closed while it connected.
      if (/^WebSocket connection to .*closed before/.test(message.text())) return
      this.faults.push(message.text())
    })
  }

  say(event, ...args) { print({ socket: this.name, event, args }) }
  do(f, arg) { return this.page.evaluate(f, arg) }
  close() { return this.page.context().close() }

  // until waits until a function returns true in the page.
  async until(f, arg) {
    try {
      await this.page.waitForFunction(f, arg, { polling: 20 })
    } catch (error) {
      this.say('is stuck', await this.do(() => [document.body.outerHTML, globalThis.client?.snapshot]), this.faults)
      throw error
    }
  }

  // shows waits until the text is that of the page's chats, and another that of its probe.
  async shows(chats, probe) {
    await this.until(([chats, probe]) => {
      const texts = (selector) => [...document.querySelectorAll(selector)].map((element) => element.textContent)
      return texts('p').join() === `${chats},${chats}` && texts('output').join() === probe
    }, [chats, probe])
    this.say('shows', chats, probe)
  }

  // news has the server send an event to a user, and says how often each of the page's chats shows
  // it.
  async news(user, text) {
    await this.do(([user, text]) => client.emitWithAck('speak', 'user', user, text), [user, text])
    await this.until((text) => [...document.querySelectorAll('ul')].every((list) => list.lastElementChild?.textContent === text), text)
    this.say('news', ...await this.do((text) => [...document.querySelectorAll('ul')].map((list) => {
      return [...list.children].filter((line) => line.textContent === text).length
    }), text))
  }

  // counts says how many sockets and sessions the user has, once there is one socket.
  async counts() {
    await this.until(async () => (await client.emitWithAck('count').catch(() => {}))?.sockets === 1)
    this.say('counts', await this.do(() => client.emitWithAck('count')))
  }

  // tellsFaults says what has gone wrong since the last call.
  tellsFaults() { this.say('faults', ...this.faults.splice(0)) }
}

// code returns the fragment of a link that signs a user in.
export async function code(app, username) {
  const body = JSON.stringify({ username, password: 'secret' })
  const answer = await fetch(app + '/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
  return '#code=' + (await answer.json()).token
}
