// Users of the page of examples/cluster, in Chromium:
//
//   node cluster.mjs <url>
import { launch } from './chromium.mjs'
import { print } from './peer.mjs'

const url = process.argv[2]
const browser = await launch()

class Tab {
  constructor(name, page) {
    Object.assign(this, { name, page })
    page.setDefaultTimeout(30_000)
    page.on('pageerror', (error) => this.say('page error', error.message))
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.say('console', message.text())
    })
  }

  say(event, ...args) {
    print({ socket: this.name, event, args })
  }

  async is(state) {
    await this.page.locator(`#status[data-state="${state}"]`).waitFor()
    this.say('is', state)
  }

  async logIn(username) {
    await this.page.goto(url)
    await this.is('signed-out')
    await this.page.locator('#username').fill(username)
    await this.page.locator('#password').fill('open sesame')
    await this.page.locator('#login-form button').click()
    await this.is('online')
  }

  // node returns the node that serves the tab.
  async node() {
    const app = this.page.locator('#app[data-node]')
    await app.waitFor()
    return app.getAttribute('data-node')
  }

  // connectsTo connects again until the tab is on the node.
  async connectsTo(node) {
    while (await this.node() !== node) {
      await this.page.locator('#again').click()
      await this.page.locator('#app:not([data-node])').waitFor()
    }
  }

  // sees waits until the page shows so many tabs on each node, and how many are of its session.
  async sees(a, b, own) {
    await this.page.waitForFunction(([a, b, own]) => {
      const count = (selector) => document.querySelectorAll(`#nodes ${selector}`).length
      return count('[data-node="A"] .tabs li') === a && count('[data-node="B"] .tabs li') === b && count('.tabs .own') === own
    }, [a, b, own])
    this.say('sees', a, b, own)
  }

  async writes(text) {
    await this.page.locator('#message-input').fill(text)
    await this.page.locator('#message-input').press('Enter')
  }

  async reads(text) {
    const message = this.page.locator('#messages li', { hasText: text })
    await message.waitFor()
    this.say('reads', await message.getAttribute('data-node'), text)
  }

  // told waits until a place has text, and prints its beginning, up to end.
  async told(place, end) {
    const at = this.page.locator(place + ':not(:empty)')
    await at.waitFor()
    this.say('told', (await at.textContent()).split(end)[0])
  }

  // fits prints whether the page needs no horizontal scrolling.
  async fits(width, height) {
    await this.page.setViewportSize({ width, height })
    this.say('fits', await this.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth))
  }
}

const laptop = await browser.newContext()
const tab = async (name, context) => new Tab(name, await context.newPage())

const one = await tab('one', laptop)
await one.logIn('ada')
await one.connectsTo('A')
const two = await tab('two', laptop)
await two.page.goto(url)
await two.is('online')
await two.connectsTo('B')
await one.sees(1, 1, 2)
await two.sees(1, 1, 2)

await one.writes('hello B')
await two.reads('hello B')
await two.writes('hello A')
await one.reads('hello A')

const phone = await tab('phone', await browser.newContext({ viewport: { width: 390, height: 844 } }))
await phone.logIn('ada')
await phone.connectsTo('A')
await two.sees(2, 1, 2)
await phone.sees(2, 1, 1)
await phone.fits(390, 844)
await phone.fits(320, 640)
await two.page.locator('#end-others').click()
await phone.is('signed-out')
await phone.told('#notice')
await two.told('#devices-note')
await two.sees(1, 1, 2)

await phone.logIn('ada')
await phone.connectsTo('B')
await one.sees(1, 2, 2)
await phone.page.locator('#devices li:not(.here) button').click() // ends the session of both tabs
await one.is('signed-out')
await two.is('signed-out')
await phone.told('#devices-note', ' with ') // a tab that learns it from the other one may close first

await phone.page.locator('#logout').click()
await phone.is('signed-out')
await phone.told('#notice')
await browser.close()
