// Users of the page of examples/chat, in Chromium, for chat.mjs and chat_more.mjs.
import { launch } from './chromium.mjs'
import { print } from './peer.mjs'

export const url = process.argv[3]
export const ready = () => print({ socket: 'client', event: 'ready', args: [] })
export const browser = await launch()
export const context = (options) => browser.newContext(options)
export const person = async (name, at) => new Person(name, await (at ?? await context()).newPage())

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

  // hasSent waits until the last message of the user's is in a state.
  async hasSent(state) {
    await this.page.locator(`#messages .own[data-state="${state}"]`).last().waitFor()
    this.say('has sent', state, await this.page.locator('#messages .own .text').last().textContent())
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

  // isInSight waits until a place has text, and prints whether all of it is visible: in the panel, in the
  // window, and with nothing above it.
  async isInSight(place) {
    await this.page.locator(place + ':not(:empty)').waitFor()
    this.say('is in sight', await this.page.evaluate((place) => {
      const note = document.querySelector(place)
      const [box, panel] = [note, note.closest('.panel')].map((element) => element.getBoundingClientRect())
      const isAt = (x, y) => note.contains(document.elementFromPoint(x, y))
      return box.top >= Math.max(panel.top, 0) && box.bottom <= Math.min(panel.bottom, innerHeight)
        && isAt(box.left + 10, box.top + 5) && isAt(box.right - 10, box.bottom - 5)
    }, place), await this.page.locator(place).textContent())
  }

  // walks presses a key a number of times, and returns whether each time what has the focus is visible.
  async walks(key, times) {
    for (let n = 0; n < times; n++) {
      await this.page.keyboard.press(key)
      const isVisible = await this.page.evaluate(() => {
        const { activeElement: at } = document
        const { left, top, width, height } = at.getBoundingClientRect()
        return at.contains(document.elementFromPoint(left + width / 2, top + height / 2))
      })
      if (!isVisible) return false
    }
    return true
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
