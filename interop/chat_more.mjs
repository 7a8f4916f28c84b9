// Users of the page of examples/chat who write, wait and read, in Chromium:
//
//   node chat_more.mjs <scenario> <url>
//
// It is like chat.mjs.
import { browser, context, person, ready } from './chat_person.mjs'
import { launch } from './chromium.mjs'

// intercept has what a page sends and receives on its sockets pass through tools: functions that
// take a frame and return what goes on, or undefined.
async function intercept(page, tools) {
  await page.routeWebSocket(/socket\.io/, (ws) => {
    tools.cut = () => ws.close()
    const server = ws.connectToServer()
    const pass = (way, to) => (frame) => {
      const passed = typeof frame === 'string' && tools[way] ? tools[way](frame) : frame
      if (passed !== undefined) to.send(passed)
    }
    ws.onMessage(pass('out', server))
    server.onMessage(pass('in', ws))
  })
}

const is = (event) => (frame) => /^42\d*\["(\w+)"/.exec(frame)?.[1] === event

const scenarios = {
  // typing shows who is typing.
  async typing() {
    const [alice, bob, dana] = [await person('alice'), await person('bob'), await person('\u05d3\u05e0\u05d4')]
    const told = []
    bob.page.on('websocket', (ws) => ws.on('framesent', ({ payload }) => { if (is('typing')(payload)) told.push(payload) }))
    for (const who of [alice, bob, dana]) await who.register()
    await alice.meets(3)
    await alice.page.evaluate(() => {
      globalThis.announced = []
      const place = document.getElementById('typing-said')
      new MutationObserver(() => { if (place.textContent) globalThis.announced.push(place.textContent) }).observe(place, { childList: true })
    })
    const field = bob.page.locator('#message-input')
    const shows = async (text) => {
      await alice.page.waitForFunction((text) => document.getElementById('typing').textContent === text, text)
      alice.say('shows', text)
    }
    await field.pressSequentially('a message of forty-four characters, at last.')
    await shows('bob is typing')
    bob.say('told', told.length)
    await dana.page.locator('#message-input').pressSequentially('hm')
    await shows('bob and \u05d3\u05e0\u05d4 are typing')
    alice.say('directions', ...await alice.page.locator('#typing bdi').evaluateAll((all) => all.map((name) => getComputedStyle(name).direction)))
    await dana.page.locator('#message-input').fill('')
    await shows('bob is typing')
    await bob.page.locator('#send').click()
    await shows('')
    await field.pressSequentially('and')
    await shows('bob is typing')
    await shows('') // after a pause
    await field.pressSequentially(' more')
    await shows('bob is typing')
    await bob.page.context().close()
    await shows('')
    alice.say('announced', ...await alice.page.evaluate(() => globalThis.announced))
  },

  // writing sends messages of more than one line, on a computer and on a phone.
  async writing() {
    const touched = await context({ hasTouch: true, isMobile: true, viewport: { width: 390, height: 844 } })
    const [alice, phone] = [await person('alice'), await person('phone', touched)]
    for (const who of [alice, phone]) await who.register()
    const field = alice.page.locator('#message-input')
    const height = () => field.evaluate((input) => input.offsetHeight)
    const before = await height()
    await field.pressSequentially('one')
    await field.press('Shift+Enter')
    await field.pressSequentially('two')
    alice.say('grows', await height() > before)
    await field.evaluate((input) => input.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', isComposing: true, bubbles: true, cancelable: true })))
    alice.say('composes', await field.inputValue())
    await field.press('Enter')
    await phone.reads('one two')
    alice.say('shrinks', await height() === before)
    const word = 'x'.repeat(900)
    await alice.send(word)
    await phone.reads(word)
    phone.say('overflows', await phone.page.evaluate(() => {
      const log = document.getElementById('log')
      return log.scrollWidth > log.clientWidth || document.documentElement.scrollWidth > innerWidth
    }))
    await field.fill('\u{1f600}'.repeat(999) + 'xyz')
    await field.press('Enter')
    await alice.told('#message-error')
    await alice.told('#count')
    await field.press('Backspace')
    await field.press('Backspace')
    alice.say('valid', await alice.page.locator('#message-input:not([aria-invalid])').count(), await alice.page.locator('#message-error').textContent())

    // Guards: where Enter makes a line, screen readers read the hint on Shift+Enter, and a phone that says it can
    // hover showed it and sent.
    const browserWithHover = await launch('--blink-settings=primaryPointerType=2,availablePointerTypes=2,primaryHoverType=2,availableHoverTypes=2')
    const hovering = await person('hovering phone', await browserWithHover.newContext())
    await hovering.logIn('phone')
    for (const who of [alice, phone, hovering]) {
      who.say('hints', await who.page.locator('#message-input').evaluate((input) => input.enterKeyHint),
        await who.page.locator('#keys-hint').textContent())
    }
    await hovering.page.locator('#message-input').pressSequentially('one')
    await hovering.page.locator('#message-input').press('Enter')
    hovering.say('holds', await hovering.page.locator('#message-input').inputValue())
    await browserWithHover.close()

    const touchField = phone.page.locator('#message-input')
    await touchField.pressSequentially('one')
    await touchField.press('Enter')
    await touchField.pressSequentially('two')
    phone.say('holds', await touchField.inputValue(), await touchField.evaluate((input) => input.enterKeyHint))
    await phone.page.locator('#send').click()
    await phone.hasSent('sent')
  },

  // sending shows how far a message is.
  async sending() {
    const [alice, bob] = [await person('alice'), await person('bob')]
    const tools = {}
    await intercept(alice.page, tools)
    for (const who of [alice, bob]) await who.register()
    let held
    const release = (alter = (frame) => frame) => {
      const frame = held
      tools.out = undefined
      return alter(frame)
    }
    const hold = () => new Promise((resolve) => {
      tools.out = (frame) => {
        if (!is('say')(frame)) return frame
        held = frame
        resolve()
        return undefined
      }
    })
    // A page that is reloaded sends again what it has no answer to.
    let holding = hold()
    await alice.send('first')
    await holding
    await alice.send('second')
    alice.say('states', ...await alice.page.locator('#messages .own').evaluateAll((all) => all.map((row) => row.dataset.state)))
    await alice.page.locator('#message-input').fill('a draft')
    release()
    await alice.page.reload()
    await alice.is('online')
    await bob.reads('second')
    await alice.hasSent('sent')
    alice.say('writes', await alice.page.locator('#message-input').inputValue())

    // The server stores it, and its answer is lost.
    tools.in = (frame) => {
      if (!is('message')(frame) && !/^43/.test(frame)) return frame
      tools.in = undefined
      tools.cut()
      return undefined
    }
    await alice.send('third')
    await alice.is('offline')
    await alice.is('online')
    await alice.hasSent('sent')
    await bob.reads('third')

    // The server refuses it.
    const refuse = () => {
      tools.out = (frame) => is('say')(frame) ? release(() => frame.replace(/\["say","[^"]*"/, '["say",""')) : frame
    }
    refuse()
    await alice.send('fourth')
    await alice.hasSent('failed')
    await alice.told('#messages [data-state=failed] .state p')
    await alice.send('fifth')
    await bob.reads('fifth')
    refuse()
    await alice.page.locator('#messages .retry').press('Enter')
    await alice.page.waitForFunction(() => document.querySelector('#messages .retry') && document.activeElement.id === 'log')
    await alice.page.locator('#messages .retry').press('Enter')
    await bob.reads('fourth')
    refuse()
    await alice.send('sixth')
    await alice.hasSent('failed')
    await alice.page.locator('#messages .remove').press('Enter')
    await alice.focuses()
    await alice.reads('fourth')

    // Nothing is left for who comes next.
    await alice.page.locator('#message-input').fill('secret')
    await alice.page.locator('#logout').click()
    await alice.is('signed-out')
    alice.say('leaves', await alice.page.evaluate(() => [sessionStorage.length, document.getElementById('message-input').value].join()))
  },

  // reading has days between messages, which change at midnight, and keeps what is read in place.
  async reading() {
    const hour = new Date().getUTCHours()
    const east = hour < 9 ? -1 - hour : 23 - hour // hours, so that it is between 23:00 and 24:00 there
    const timezoneId = `Etc/GMT${east > 0 ? '-' : '+'}${Math.abs(east)}`
    // Without motion, so that rows are at once where they will be.
    const alice = await person('alice', await context({ timezoneId, locale: 'en-GB', reducedMotion: 'reduce' }))
    const bob = await person('bob')
    const now = new Date()
    now.setUTCMinutes(59, 50, 0) // ten seconds before midnight, and there it stays
    await alice.page.clock.setFixedTime(now)
    await intercept(alice.page, {
      in: (frame) => frame.replace(/("text":"(\d+) days ago","time":")[^"]+/g, (_, head, days) => head + new Date(now - days * 86_400_000 - 60_000).toISOString()),
    })
    await bob.register()
    for (const days of [400, 1, 1, 0]) await bob.send(`${days} days ago`)
    await bob.hasSent('sent')
    await alice.register()
    const shows = async (...last) => {
      const rows = alice.page.locator('#messages li')
      await rows.filter({ hasText: last[0] }).nth(last[1]).waitFor()
      alice.say('shows', ...await rows.evaluateAll((all) => all.map((row) => {
        const text = (row.querySelector('.text') ?? row).textContent
        return row.matches('.day') && /\d/.test(text) ? /\d{4}/.test(text) ? 'a day with its year' : 'a day' : text
      })))
    }
    await shows('Today', 0)
    await alice.page.clock.setFixedTime(now.getTime() + 20_000)
    await alice.page.locator('.day').getByText('Today').waitFor({ state: 'detached' })
    await shows('Yesterday', 0)

    const log = alice.page.locator('#log')
    await bob.send('many\n'.repeat(100))
    await alice.page.locator('#messages .text').getByText('many').waitFor()
    const scroll = (top) => log.evaluate((log, top) => new Promise((resolve) => {
      log.addEventListener('scroll', resolve, { once: true })
      log.scrollTop = top
    }), top)
    const place = () => alice.page.locator('#messages .text').getByText('many').evaluate((row) => Math.round(row.getBoundingClientRect().top))
    const jump = alice.page.locator('#jump')
    alice.say('jump is hidden', await jump.isHidden())
    await scroll(-1000)
    await alice.told('#jump')
    const before = await place()
    await bob.send('new')
    await jump.getByText('1 new message').waitFor()
    await bob.send('newer')
    await jump.getByText('2 new messages').waitFor()
    alice.say('moved', await place() - before)
    await jump.click()
    await jump.waitFor({ state: 'hidden' })
    await alice.focuses()
    await scroll(-1000)
    await alice.send('mine')
    await jump.waitFor({ state: 'hidden' })
    alice.say('is at', await log.evaluate((log) => log.scrollTop))
  },

  // offline is said across the top, and what is written then is sent later.
  async offline() {
    const [alice, bob] = [await person('alice'), await person('bob')]
    await alice.page.clock.install()
    await alice.register()
    await bob.register()
    await alice.meets(2)
    await alice.page.evaluate(() => {
      globalThis.kinds = []
      const bar = document.getElementById('offline')
      new MutationObserver(() => globalThis.kinds.push(bar.dataset.kind)).observe(bar, { attributes: true, attributeFilter: ['data-kind'] })
    })
    // In 1.1 seconds of the page's, however long a busy machine takes for them.
    const pause = async () => alice.page.clock.pauseAt(await alice.page.evaluate(() => Date.now()) + 1_000)
    await pause()
    await alice.page.locator('#lose').click()
    await alice.is('offline')
    await alice.page.clock.runFor(1_100)
    await alice.learns('Reconnected. Token 2 replaces token 1.')
    await alice.page.clock.resume()
    alice.say('blinks', await alice.page.evaluate(() => globalThis.kinds.length))

    ready() // the test stops the server
    const bar = alice.page.locator('#offline')
    await bar.and(alice.page.locator('[data-kind=offline]')).waitFor()
    await alice.told('#offline-text')
    alice.say('is across the top', await bar.evaluate((bar) => {
      const { top, left, width, height } = bar.getBoundingClientRect()
      return top === 0 && left === 0 && width === innerWidth && height >= 40
    }), await alice.page.locator('#offline-text').getAttribute('role'))
    for (const text of ['one', 'two', 'three\nlines']) await alice.send(text)
    await alice.hasSent('waiting')
    await alice.page.locator('#message-input').fill('a draft')

    // No timer runs, so that nothing but the button makes the page try.
    await pause()
    await alice.page.locator('#try').getByText('Try now').waitFor()
    const tries = alice.page.waitForEvent('websocket')
    await alice.page.locator('#try').click()
    await tries
    alice.say('tries')
    await alice.page.clock.resume()

    ready() // the test starts the server again
    await bar.and(alice.page.locator('[data-kind=back]')).waitFor()
    await alice.told('#offline-text')
    await bob.is('online')
    await bob.reads('three lines')
    await alice.hasSent('sent')
    alice.say('writes', await alice.page.locator('#message-input').inputValue())
    await bar.and(alice.page.locator('[data-kind]')).waitFor({ state: 'detached' })
  },
}

await scenarios[process.argv[2]]()
await browser.close()
