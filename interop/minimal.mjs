// A user of the page of examples/minimal, in Chromium:
//
//   node minimal.mjs <url>
//
// What the user sees is printed as lines, like those of client.mjs. The Go test checks the lines.
import { launch } from './chromium.mjs'
import { print } from './peer.mjs'

const [url] = process.argv.slice(2)
const say = (event, ...args) => print({ socket: 'ada', event, args })

const browser = await launch()
const page = await browser.newPage()
page.setDefaultTimeout(30_000)
page.on('pageerror', (error) => say('page error', error.message))
page.on('console', (message) => say('console', message.text()))

const form = page.locator('form')
const sees = async (what, at) => {
  await at.waitFor()
  say('sees', what)
}
const greeting = page.locator('output').filter({ hasText: /^Hello, ada$/ })

await page.goto(url)
await sees('the form', form)
await page.getByPlaceholder('ada').fill('ada')
await page.getByPlaceholder('open sesame').fill('open sesame')
await page.getByRole('button', { name: 'Log in' }).click()
await sees('the greeting', greeting)
await page.reload()
await sees('the greeting', greeting)
say('form', await form.isVisible())
await page.locator('#logout').click()
await sees('the form', form)
await browser.close()
