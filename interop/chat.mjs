// Users of the page of examples/chat, in Chromium:
//
//   node chat.mjs <scenario> <url>
//
// What they see is printed as lines, like those of client.mjs. The Go test checks the lines.
import { browser, context, person, ready } from './chat_person.mjs'

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
    const foreigner = alice.page.locator('#devices li:not(.here)')
    await foreigner.evaluate((row, id) => { row.dataset.session = id }, foreign)
    await foreigner.getByRole('button').click()
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

    const [laptop, other] = [await person('laptop'), await person('other laptop')]
    await phone.fill('login', 'alice', 'correct horse')
    await phone.is('online')
    await Promise.all([laptop, other].map((one) => one.logIn('alice'))) // mostly within one second
    await alice.owns(4)
    const labels = await alice.page.locator('#devices button').evaluateAll((all) => all.map((button) => button.getAttribute('aria-label')))
    alice.say('tells apart', new Set(labels).size)
    await phone.page.locator('#show-session').click()
    await phone.page.locator('#end-others').press('Enter')
    await alice.is('signed-out')
    for (const one of [laptop, other]) await one.is('signed-out')
    await phone.told('#devices-note')
    await phone.owns(1)
    await phone.focuses()
    await bob.send('and still here')
    await phone.page.locator('#show-room').click()
    await phone.reads('and still here')
    await phone.arrivals()
  },

  // crowd presses buttons in a list of devices that is longer than the panel.
  async crowd() {
    const alice = await person('alice')
    await alice.register()
    for (let n = 2; n <= 8; n++) {
      const other = await person(`device ${n}`)
      await other.logIn('alice')
      await alice.page.locator('#devices li').nth(n - 1).waitFor()
      await other.page.context().close()
    }
    const buttons = alice.page.locator('#devices li:not(.here) button')
    await buttons.last().click()
    await alice.page.locator('#devices li').nth(7).waitFor({ state: 'detached' })
    await alice.isInSight('#devices-note')
    await buttons.first().click()
    await alice.page.locator('#devices li').nth(6).waitFor({ state: 'detached' })
    await alice.isInSight('#devices-note')
    for (let n = 7; n <= 8; n++) {
      const other = await person(`device ${n} again`)
      await other.logIn('alice')
      await alice.page.locator('#devices li').nth(n - 1).waitFor()
      await other.page.context().close()
    }
    await alice.owns(8)

    ready() // the test stops the server
    await alice.is('offline')
    await alice.page.locator('#offline[data-kind=offline]').waitFor()
    for (const [width, height] of [[1280, 800], [390, 844], [320, 640], [320, 256]]) {
      await alice.page.setViewportSize({ width, height })
      if (width < 832) await alice.page.locator('#show-session').click()
      for (const button of [buttons.first(), buttons.last(), alice.page.locator('#end-others')]) {
        await alice.page.locator('#devices-title').focus()
        await button.click()
        await alice.isInSight('#devices-note')
      }
      if (height <= 480) continue
      // With the keyboard, down and up the list.
      await alice.page.locator('#lose').focus()
      alice.say('sees what has the focus', await alice.walks('Tab', 8), await alice.walks('Shift+Tab', 8))
    }
  },

  // parting logs out while the server is away, which is told later.
  async parting() {
    const alice = await person('alice')
    await alice.register()
    ready() // the test stops the server
    await alice.is('offline')
    const told = new Promise((resolve) => alice.page.on('websocket', (ws) => ws.on('framereceived', ({ payload }) => {
      if (/^42\["logged_out"/.test(payload)) resolve()
    })))
    await alice.page.locator('#logout').click()
    await alice.is('signed-out')
    await alice.told('#notice')
    ready() // the test starts the server again
    await told
    await alice.fill('login', 'alice', 'correct horse')
    await alice.is('online')
    await alice.owns(1)
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
    await alice.learns('You gave your password. Token 2 replaces token 1.')
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
    await alice.send('for later')
    await alice.hasSent('waiting')
    ready() // the test starts the server again
    await alice.is('online')
    await tab.is('online')
    await tab.reads('for later')
    await tab.send('the server is back')
    await alice.reads('the server is back')
    await alice.page.reload()
    await alice.is('online')
    await alice.reads('the server is back')
    await alice.owns(1)
  },
}

await scenarios[process.argv[2]]()
await browser.close()
