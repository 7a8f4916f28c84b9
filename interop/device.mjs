// A user of the page of examples/minimal, in Chromium, while a stranger guesses their password:
//
//   node device.mjs <url>
//
// What the user sees, and the answers to the stranger, are printed as lines like those of
// client.mjs.
import { launch } from './chromium.mjs'
import { print } from './peer.mjs'

const [url] = process.argv.slice(2)
const say = (event, ...args) => print({ socket: 'ada', event, args })
const login = async (password) => {
  const body = JSON.stringify({ username: 'ada', password })
  const response = await fetch(new URL('/login', url), { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
  return response.status
}

const browser = await launch()
const context = await browser.newContext()
const page = await context.newPage()
page.setDefaultTimeout(30_000)
const logIn = async () => {
  await page.getByPlaceholder('ada').fill('ada')
  await page.getByPlaceholder('open sesame').fill('open sesame')
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.locator('output').filter({ hasText: /^Hello, ada$/ }).waitFor()
  say('sees', 'the greeting')
}

await page.goto(url)
await logIn()
const [cookie] = await context.cookies()
say('cookie', cookie?.name, cookie?.httpOnly, cookie?.sameSite, await page.evaluate(() => document.cookie))
await page.locator('#logout').click()
await page.locator('form').waitFor()
while (await login('a guess') === 401);
say('another client', await login('open sesame'))
await logIn()
await browser.close()
