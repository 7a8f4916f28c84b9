// Pages that want a visitor's browser to use somebody else's server, in Chromium:
//
//   node attacks.mjs <url of the server> <origin of another site's page>
import { launch } from './chromium.mjs'
import { print } from './peer.mjs'

const [url, foreign] = process.argv.slice(2)
const browser = await launch('--host-resolver-rules=MAP evil.example 127.0.0.1')

// Embedded as an image, by a page of the same site and by one of another, which send no Origin.
for (const [socket, from] of [['same-site', foreign], ['cross-site', foreign.replace('127.0.0.1', 'localhost')]]) {
  const page = await browser.newPage()
  await page.goto(from + '/?client=4.8.4')
  // What was answered the browser keeps to itself: it is no image.
  await page.evaluate((src) => new Promise((resolve) => {
    Object.assign(new Image(), { onload: resolve, onerror: resolve, src })
  }), url + '/socket.io/?EIO=4&transport=polling')
  print({ socket, event: 'embedded', args: [] })
  await page.close()
}

// A name of the attacker's that now has the server's address (DNS rebinding).
const page = await browser.newPage()
await page.goto(url.replace('127.0.0.1', 'evil.example') + '/nothing')
const statuses = await page.evaluate(async () => {
  const headers = { 'Content-Type': 'application/json' }
  const body = JSON.stringify({ username: 'alice', password: 'secret' })
  const answers = [await fetch('/login', { method: 'POST', headers, body }), await fetch('/socket.io/?EIO=4&transport=polling')]
  const opened = await new Promise((resolve) => {
    const socket = new WebSocket('/socket.io/?EIO=4&transport=websocket')
    socket.onopen = () => resolve(true)
    socket.onerror = () => resolve(false)
  })
  return [...answers.map((answer) => answer.status), opened]
})
print({ socket: 'rebound', event: 'answers', args: statuses })
await browser.close()
