// People at the chat page of examples/chat, in Chromium:
//
//   node chat.mjs <url>
//
// What they see is printed as lines, like those of client.mjs, for the Go side to judge.
import { launch } from './chromium.mjs'
import { print } from './peer.mjs'

const [url] = process.argv.slice(2)

class Person {
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

  async open() {
    await this.page.goto(url)
  }

  async is(state) {
    await this.page.locator(`#status[data-state="${state}"]`).waitFor()
    this.say('is', state)
  }

  // fill sends the login or the registration form.
  async fill(form, username, password) {
    await this.page.locator('#show-' + form).click()
    const at = this.page.locator(`#${form}-form`)
    await at.locator('[name=username]').fill(username)
    await at.locator('[name=password]').fill(password)
    await at.locator('[type=submit]').click()
  }

  async send(text) {
    await this.page.locator('#message-input').fill(text)
    await this.page.locator('#send').click()
  }

  // reads waits for the last message, and tells all.
  async reads(last) {
    await this.page.locator('#messages li .text').last().and(this.page.getByText(last, { exact: true })).waitFor()
    this.say('reads', ...await this.page.locator('#messages li .text').allTextContents())
  }

  // meets waits until so many are online, and tells who.
  async meets(count) {
    await this.page.locator('#users li').nth(count - 1).waitFor()
    await this.page.locator('#users li').nth(count).waitFor({ state: 'detached' })
    this.say('meets', ...await this.page.locator('#users li').allTextContents())
  }

  async hasToken() {
    this.say('tokens', await this.page.evaluate(() => localStorage.length))
  }
}

const browser = await launch()
const person = async (name, context) => new Person(name, await (context ?? await browser.newContext()).newPage())

const [alice, bob] = [await person('alice'), await person('bob')]
for (const who of [alice, bob]) {
  await who.open()
  await who.is('signed-out')
  await who.fill('register', who.name, 'correct horse')
  await who.is('online')
}
await alice.meets(2)
await bob.meets(2)

await alice.send('hello bob')
await bob.reads('hello bob')
const markup = '<img src=x onerror="document.title=\'owned\'"> & <b>bold</b>'
await bob.send(markup)
await alice.reads(markup)
alice.say('title', await alice.page.title())

await alice.page.reload()
await alice.is('online')
await alice.reads(markup)

const tab = await person('second tab', alice.page.context())
await tab.open()
await tab.is('online')
await tab.send('from another tab')
await alice.reads('from another tab')
await bob.meets(2) // one person, however many tabs

await alice.page.locator('#logout').click()
await alice.is('signed-out')
await tab.is('signed-out')
await alice.hasToken()
await bob.meets(1)
await tab.page.close()

await alice.fill('login', 'alice', 'wrong horse')
await alice.page.locator('#sign-in-error:not(:empty)').waitFor()
await alice.is('signed-out')
await alice.fill('login', 'alice', 'correct horse')
await alice.is('online')
await bob.meets(2)

await browser.close()
