// The views of the page of examples/chat, looked at by axe-core, in Chromium:
//
//   node chat_axe.mjs check <url>
//
// Its findings are printed as lines; see chat.mjs.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { browser, person } from './chat_person.mjs'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

// check prints what axe finds in a view, in each colour scheme and width: all findings, whatever their
// impact, and all that it could not decide.
async function check(who, view) {
  const found = []
  for (const colorScheme of ['light', 'dark']) {
    for (const viewport of [{ width: 1280, height: 800 }, { width: 320, height: 640 }]) {
      await who.page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      await who.page.setViewportSize(viewport)
      for (const finding of await who.page.evaluate(find)) found.push(`${colorScheme}, ${viewport.width}: ${finding}`)
    }
  }
  who.say('checked', view, ...found)
}

// find runs in the page.
async function find() {
  const { body } = document
  // axe does not look at gradients: this is the end of the page's that is the nearer one to the text.
  body.style.background = 'var(--glow)'
  const { violations, incomplete } = await globalThis.axe.run(document)
  body.style.background = ''
  // A long name is cut off, in the list of who is here and where it is typing. axe takes the rest of it, which
  // is not visible, for something that covers what is beside it, and decides nothing on the colours there.
  const isBesideName = ({ target, any }) => {
    return any[0]?.id === 'color-contrast' && /Obscured|bgOverlap/.test(any[0].data.messageKey)
      && document.querySelector(target).matches('#people bdi, .verb')
  }
  for (const result of incomplete) result.nodes = result.nodes.filter((node) => !isBesideName(node))
  return [...violations, ...incomplete].flatMap(({ id, impact, nodes }) => {
    return nodes.map(({ target, any, none }) => `${id} (${impact}), ${target.join(' ')}: ${[...any, ...none][0]?.message}`)
  })
}

const [alice, bob] = [await person('alice'), await person('b'.repeat(24))] // so that the names are too wide for a phone
await alice.page.addInitScript(axe)
let altered // a function for what alice sends; null: she is offline
let cut
await alice.page.routeWebSocket(/socket\.io/, (ws) => {
  if (altered === null) return ws.close()
  cut = () => ws.close()
  const server = ws.connectToServer()
  ws.onMessage((frame) => server.send(altered?.(frame) ?? frame))
})
await alice.open()
await alice.fill('login', 'alice', 'wrong horse')
await alice.told('#sign-in-error')
await check(alice, 'sign-in')

await alice.register()
await bob.register()
await bob.send('hello\nalice')
await alice.send('\u05e9\u05dc\u05d5\u05dd')
await alice.hasSent('sent')
altered = (frame) => frame.replace(/\["say","[^"]*"/, '["say",""')
await alice.send('refused')
await alice.hasSent('failed')
altered = undefined
await bob.page.locator('#message-input').pressSequentially('hm')
await alice.page.locator('#typing .who').waitFor()
await alice.page.locator('#message-input').fill('x'.repeat(1001))
await alice.page.locator('#send').click()
await alice.told('#message-error')
await check(alice, 'chat')

await bob.send('long\n'.repeat(60))
await alice.page.locator('#messages .text').getByText('long').waitFor()
await alice.page.locator('#log').evaluate((log) => { log.scrollTop = -500 })
await alice.page.locator('#jump').waitFor()
await check(alice, 'older messages')

const phone = await person('phone')
await phone.logIn('alice')
await alice.page.locator('#show-session').click()
await alice.owns(2)
await check(alice, 'devices')
await alice.page.waitForFunction(() => { // until the server asks: see -recent in the test
  const [, payload] = Object.values({ ...localStorage }).find((value) => value.includes('.')).split('.')
  return Date.now() / 1000 - JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/'))).auth_time > 2
}, undefined, { polling: 200 })
await alice.page.locator('#end-others').click()
await alice.page.getByRole('dialog').waitFor()
await alice.page.keyboard.type('wrong horse')
await alice.page.keyboard.press('Enter')
await alice.told('#proof-error')
await check(alice, 'proof')
await alice.page.keyboard.press('Escape')
await alice.page.locator('#show-room').click()

altered = null
cut()
await alice.page.locator('#offline[data-kind=offline]').waitFor()
await alice.send('for later')
await alice.hasSent('waiting')
await check(alice, 'offline')
await browser.close()
