// Users of the page of examples/chat, in Chromium:
//
//   node chat.mjs <scenario> <url>
//
// What they see is printed as lines, like those of client.mjs. The Go test checks the lines.
import { launch } from './chromium.mjs'
import { print } from './peer.mjs'

const [scenario, url] = process.argv.slice(2)

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

  async register() {
    await this.open()
    await this.is('signed-out')
    await this.fill('register', this.name, 'correct horse')
    await this.is('online')
  }

  // logIn logs a user in on another device.
  async logIn(username) {
    await this.open()
    await this.fill('login', username, 'correct horse')
    await this.is('online')
  }

  // fill fills in and sends the login or the registration form.
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

  // reads waits for the last message, and prints all messages.
  async reads(last) {
    await this.page.locator('#messages li .text').last().and(this.page.getByText(last, { exact: true })).waitFor()
    this.say('reads', ...await this.page.locator('#messages li .text').allTextContents())
  }

  // meets waits until that many users are online, and prints who they are.
  async meets(count) {
    if (count > 0) await this.page.locator('#users li').nth(count - 1).waitFor()
    await this.page.locator('#users li').nth(count).waitFor({ state: 'detached' })
    this.say('meets', ...await this.page.locator('#users li').allTextContents())
  }

  async hasToken() {
    this.say('tokens', await this.page.evaluate(() => localStorage.length))
  }

  // owns waits until that many devices are listed, and prints which they are, and whether one is not
  // bound to its key.
  async owns(count) {
    const rows = this.page.locator('#devices li')
    await rows.nth(count - 1).waitFor()
    await rows.nth(count).waitFor({ state: 'detached' })
    this.say('owns', ...await rows.evaluateAll((rows) => rows.map((row) => {
      const bound = / bound to (this|its) device$/.test(row.querySelector('.since').textContent)
        && !document.getElementById('bound').hidden
      return row.querySelector('.name').textContent + (row.matches('.here') ? ', here' : '') + (bound ? '' : ', not bound')
    })))
  }

  // focuses prints which element has the focus.
  async focuses() {
    this.say('focuses', await this.page.evaluate(() => document.activeElement.id))
  }

  // complains sends a form as a script does, and prints which field has the focus and which fields
  // are marked.
  async complains(form, username, password) {
    this.say('complains', ...await this.page.evaluate(async ([name, username, password]) => {
      const form = document.getElementById(name + '-form')
      form.noValidate = true // so that the server has to refuse it
      form.elements.username.value = username
      form.elements.password.value = password
      document.activeElement.blur()
      form.requestSubmit()
      while (document.getElementById('sign-in-error').textContent === '') await new Promise((resolve) => setTimeout(resolve, 20))
      return [document.activeElement.id, ...Array.from(form.querySelectorAll('[aria-invalid="true"]'), (field) => field.id)]
    }, [form, username, password]))
  }

  // sees prints whether enough of the messages is visible, whether the whole message field is
  // visible, and whether the page needs no horizontal scrolling.
  async sees(width, height) {
    await this.page.setViewportSize({ width, height })
    this.say('sees', ...await this.page.evaluate(() => {
      const input = document.getElementById('message-input')
      input.blur()
      input.focus()
      const [field, log] = [input, document.getElementById('log')].map((element) => element.getBoundingClientRect())
      const seen = Math.min(log.bottom, innerHeight) - Math.max(log.top, 0)
      const wide = document.documentElement.scrollWidth
      return [seen >= 100, field.top >= 0 && field.bottom <= innerHeight, wide <= innerWidth]
    }))
  }

  // reaches prints whether one can scroll to the last line of the session's half.
  async reaches() {
    await this.page.locator('#show-session').click()
    const last = this.page.locator('#journal li').last()
    await last.scrollIntoViewIfNeeded()
    this.say('reaches', await last.evaluate((line) => line.getBoundingClientRect().bottom <= innerHeight))
    await this.page.locator('#show-room').click()
  }

  // arrivals prints how many messages are shown as new when the narrow view changes to the session
  // and back.
  async arrivals() {
    this.say('arrivals', await this.page.evaluate(async () => {
      const arriving = () => document.getElementById('messages').getAnimations({ subtree: true })
      await Promise.all(arriving().map((animation) => animation.finished))
      document.getElementById('show-session').click()
      arriving() // makes the browser render the change
      document.getElementById('show-room').click()
      return arriving().length
    }))
  }

  // session returns the session id of this device.
  session() {
    return this.page.locator('#devices .here').getAttribute('data-session')
  }

  // told waits until a place has text, and prints the text.
  async told(place) {
    const at = this.page.locator(place + ':not(:empty)')
    await at.waitFor()
    this.say('told', await at.textContent())
  }

  // learns waits for a line in the list of the session's events.
  async learns(text) {
    await this.page.locator('#journal li').getByText(text, { exact: true }).waitFor()
    this.say('learns', text)
  }

  // holds waits until the page shows this generation of its token.
  async holds(number) {
    await this.page.locator('#generation').getByText(String(number), { exact: true }).waitFor()
    this.say('holds', number)
  }
}

const ready = () => print({ socket: 'client', event: 'ready', args: [] })
const browser = await launch()
const context = (options) => browser.newContext(options)
const person = async (name, at) => new Person(name, await (at ?? await context()).newPage())

const scenarios = {
  async talk() {
    const [alice, bob] = [await person('alice'), await person('bob')]
    await alice.open()
    await alice.fill('register', 'a'.repeat(25), 'correct horse')
    await alice.told('#sign-in-error')
    for (const who of [alice, bob]) await who.register()
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
    await bob.meets(2) // one user, with two tabs

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
  },

  // access uses forms and the page with a high zoom, with marks for screen readers, and with text
  // from right to left.
  async access() {
    const alice = await person('alice')
    await alice.open()
    await alice.is('signed-out')
    await alice.page.locator('#show-register').click()
    await alice.complains('register', 'a'.repeat(25), 'correct horse')
    await alice.page.locator('#register-username').press('Backspace')
    await alice.page.locator('#register-username:not([aria-invalid])').waitFor()
    await alice.complains('register', 'alice', 'short')
    await alice.page.locator('#show-login').click()
    await alice.complains('login', 'alice', 'wrong horse')
    await alice.page.evaluate(() => { globalThis.fetch = () => Promise.reject(new Error('no network')) })
    await alice.complains('login', 'alice', 'wrong horse')
    await alice.register()
    await alice.focuses()

    const hebrew = '\u05e9\u05dc\u05d5\u05dd, alice!'
    for (const text of [hebrew, 'hello', 'one more', 'and another']) await alice.send(text)
    await alice.reads('and another')
    alice.say('directions', ...await alice.page.locator('#messages .text').evaluateAll((all) => all.map((text) => getComputedStyle(text).direction)))
    await alice.page.locator('#message-input').fill(hebrew)
    alice.say('writes', await alice.page.locator('#message-input').evaluate((input) => getComputedStyle(input).direction))

    for (const [width, height] of [[1280, 800], [390, 844], [320, 640], [640, 400], [320, 200], [844, 390]]) await alice.sees(width, height)
    await alice.page.setViewportSize({ width: 320, height: 200 })
    await alice.reaches()
  },

  // devices ends devices of their own user, and no other user's.
  async devices() {
    const [alice, bob] = [await person('alice'), await person('bob')]
    const iPhone = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1'
    const phone = await person('phone', await context({ userAgent: iPhone, viewport: { width: 390, height: 844 } }))
    await alice.register()
    await bob.register()
    await phone.logIn('alice')
    await alice.owns(2)
    await bob.owns(1)

    const foreign = await bob.session()
    const other = alice.page.locator('#devices li:not(.here)')
    await other.evaluate((row, id) => { row.dataset.session = id }, foreign)
    await other.getByRole('button').click()
    await alice.told('#devices-note')
    await bob.send('still here')
    await alice.reads('still here')

    await alice.page.reload()
    await alice.owns(2)
    await alice.page.getByRole('button', { name: 'Log out Safari on iPhone' }).click()
    await phone.is('signed-out')
    await phone.told('#notice')
    await phone.learns('This device was logged out from another one.')
    await phone.hasToken()
    await alice.told('#devices-note')
    await alice.owns(1)

    const laptop = await person('laptop')
    await phone.fill('login', 'alice', 'correct horse')
    await phone.is('online')
    await laptop.logIn('alice')
    await alice.owns(3)
    await phone.page.locator('#show-session').click()
    await phone.page.locator('#end-others').press('Enter')
    await alice.is('signed-out')
    await laptop.is('signed-out')
    await phone.told('#devices-note')
    await phone.owns(1)
    await phone.focuses()
    await bob.send('and still here')
    await phone.page.locator('#show-room').click()
    await phone.reads('and still here')
    await phone.arrivals()
  },

  // proof asks for the password again before devices are ended.
  async proof() {
    const [alice, phone] = [await person('alice'), await person('phone')]
    await alice.register()
    await phone.logIn('alice')
    await alice.owns(2)
    // So long that the server asks: see -recent in the test.
    await alice.page.waitForFunction(() => {
      const [, payload] = Object.values({ ...localStorage }).find((value) => value.includes('.')).split('.')
      const { auth_time } = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')))
      return Date.now() / 1000 - auth_time > 10
    }, undefined, { polling: 500 })
    const others = alice.page.locator('#end-others')
    const dialog = alice.page.getByRole('dialog', { name: 'Is it you?' })
    await others.dblclick() // Guards: the devices were ended twice, and the page said "0 other devices"
    await dialog.waitFor()
    await alice.focuses()
    await alice.page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'hidden' })
    await alice.told('#devices-note')
    await alice.focuses()
    await alice.owns(2)

    await others.dblclick()
    await dialog.waitFor()
    await alice.page.keyboard.type('wrong horse')
    await alice.page.keyboard.press('Enter')
    await alice.told('#proof-error')
    await alice.focuses()
    await alice.page.keyboard.type('correct horse') // in place of what is selected
    await alice.page.keyboard.press('Enter')
    await phone.is('signed-out')
    await alice.told('#devices-note')
    await alice.owns(1)
    alice.say('asked again', await dialog.isVisible())
  },

  // connection is lost and comes back, in two tabs, also when the server restarts.
  async connection() {
    const alice = await person('alice')
    await alice.register()
    await alice.holds(1)
    const tab = await person('second tab', alice.page.context())
    await tab.open()
    await tab.is('online')
    await tab.holds(2)
    await alice.holds(2) // both tabs share the token
    await alice.owns(1)

    await alice.page.locator('#lose').click()
    await alice.learns('The connection is lost.')
    await alice.learns('Reconnected. Token 3 replaces token 2.')
    await tab.holds(3)
    await alice.send('back again')
    await tab.reads('back again')

    ready() // the test stops the server
    await alice.is('offline')
    await tab.is('offline')
    await alice.meets(0)
    alice.say('devices', ...await alice.page.locator('#devices .seen').allTextContents())
    await alice.send('into the void')
    await alice.told('#message-error')
    ready() // the test starts the server again
    await alice.is('online')
    await tab.is('online')
    await alice.reads('back again')
    await tab.send('the server is back')
    await alice.reads('the server is back')
    await alice.page.reload()
    await alice.is('online')
    await alice.reads('the server is back')
    await alice.owns(1)
  },
}

await scenarios[scenario]()
await browser.close()
