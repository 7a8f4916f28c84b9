// What the clients do, a function for each test. What must come of it is written in the Go test of the same name.

// session lives through a lost connection, moves to a second socket, and has a replaced token presented by a third.
export async function session(client, { policy }) {
  const storage = { token: await client.login('alice') }
  const first = client.enter('first', storage)
  await first.next('authenticated')
  await first.settled() // the test cuts the connection here; the client comes back by itself
  await first.next('authenticated')
  const replaced = storage.token
  first.close()

  const second = client.enter('second', storage)
  await second.next('authenticated')
  const third = client.enter('third', { token: replaced })
  await third.next('disconnect')
  if (policy === 'RejectOnly') await second.ask('echo', 'alive')
  else await second.next('disconnect')
}

// refusals presents all sorts of tokens that must not be let in.
export async function refusals(client) {
  const code = await client.login('alice')
  const first = client.enter('first', { token: code })
  await first.next('authenticated')
  await client.enter('replayed', { token: code }).next('disconnect')
  await first.next('disconnect')

  const leaver = await client.member('leaver')
  leaver.socket.emit('logout', leaver.storage.token)
  await leaver.next('disconnect')
  await client.enter('returner', leaver.storage).next('disconnect')

  await client.enter('garbage', { token: 'garbage' }).next('disconnect')
}

// shapes authenticates with what is no token at all.
export async function shapes(client) {
  const shapes = { nothing: [], null: [null], number: [5], empty: [{}], list: [[]], field: [{ token: { toString: 1 } }] }
  for (const [name, args] of Object.entries(shapes)) {
    const peer = client.open(name)
    await Promise.all([peer.ask('authenticate', ...args), peer.next('disconnect')])
  }
}

// strays presents the token of another session on a socket that is in: a mistake, and no reason to be thrown out.
export async function strays(client) {
  const [alice, bob] = [await client.member('alice'), await client.member('bob')]
  alice.socket.emit('authenticate', { token: bob.storage.token })
  await alice.next('unauthorized')
  await alice.ask('logout', bob.storage.token)
  await alice.next('unauthorized')
  await alice.ask('who am I')
  await bob.ask('echo', 'alive')
}

// silence never authenticates.
export async function silence(client) {
  await client.open('silent').next('disconnect')
}

// expiry has one socket that lets its token expire, and one that asks for a new one half way.
export async function expiry(client, { life }) {
  const [careless, careful] = await Promise.all([client.member('careless'), client.member('careful')])
  await sleep(life / 2)
  await careful.ask('authenticate', { token: careful.storage.token })
  await careless.next('disconnect')
  await careful.ask('echo', 'still here')
  await careful.next('disconnect')
}

// logout ends both sockets of one session, and not the same user's other session.
export async function logout(client) {
  const first = await client.member('first', 'alice')
  const sibling = client.enter('sibling', first.storage)
  await sibling.next('authenticated')
  const other = await client.member('other', 'alice')

  sibling.socket.emit('logout', first.storage.token)
  await Promise.all([sibling.next('disconnect'), first.next('disconnect')])
  await other.ask('echo', 'alive')

  await other.ask('logout') // without a token, with an acknowledgement
  await other.next('disconnect')
}

// events are asked before and after authentication, both ways.
export async function events(client) {
  const unauthenticated = client.open('unauthenticated')
  await unauthenticated.next('connect')
  await unauthenticated.ask('echo', 'let me in')
  await unauthenticated.ask('no such event')

  const member = await client.member('member')
  await member.ask('echo', 'hello')
  await member.ask('nothing')
  await member.ask('refuse')
  await member.ask('break')
  await member.ask('add', 'no number', 2)
  await member.ask('add', 1)
  await member.ask('add', 1, 2)
  await member.ask('no such event')
  member.socket.on('question', (text, answer) => answer(text + '?', { of: 'client' }))
  await member.ask('ask me', 'why')
}

// kept sends events of many names, and reports those that were acknowledged.
export async function kept(client, { names }) {
  const member = await client.member('member')
  member.socket.off() // or it would take some for its own
  const arrived = []
  for (const name of names) {
    try {
      member.socket.emit(name, () => arrived.push(name))
    } catch {} // later versions refuse the names that they keep
  }
  await new Promise((resolve) => member.socket.emit('echo', 'end', resolve))
  client.report('arrived', ...arrived)
}

// payloads are texts, attachments and long messages, each sent, acknowledged and sent back by the server.
export async function payloads(client, { texts, sizes, long }) {
  const member = await client.member('member')
  for (const [n, text] of texts.entries()) {
    await member.ask('text', n, text)
    await member.next('text')
  }
  for (const size of sizes) {
    await member.ask('binary', { size }, pattern(size), pattern(3))
    await member.next('binary')
  }
  await member.ask('large', 'x'.repeat(long))
  await member.next('large')
  await member.ask('binary', { size: long }, pattern(long), pattern(3))
  await member.next('binary')

  member.socket.on('attachment', (data, answer) => answer(data, pattern(7)))
  await member.ask('ask for an attachment')
}

// stored asks for each thing that users have stored, and shows that it is still there.
export async function stored(client, { cases }) {
  const member = await client.member('member')
  for (let n = 0; n < cases; n++) {
    await member.ask('show', n)
    await member.ask('echo', 'alive')
  }
}

// audiences listen while one of them speaks to each group in turn.
export async function audiences(client) {
  const unauthenticated = client.open('unauthenticated')
  await unauthenticated.next('connect')
  const phone = await client.member('phone', 'alice')
  const tablet = client.enter('tablet', phone.storage)
  await tablet.next('authenticated')
  const desktop = await client.member('desktop', 'alice')
  const bob = await client.member('bob')

  await phone.ask('join', 'red')
  await bob.ask('join', 'red')
  const [{ session }] = await phone.ask('who am I')
  await bob.ask('speak', 'all', '', 'to all')
  await bob.ask('speak', 'room', 'red', 'to the room')
  await bob.ask('speak', 'user', 'alice', 'to alice')
  await bob.ask('speak', 'session', session, 'to one session')
  await phone.ask('leave', 'red')
  await bob.ask('speak', 'room', 'red', 'to who stayed')
  await bob.ask('speak', 'room', 'blue', 'to nobody')
  for (const peer of [unauthenticated, phone, tablet, desktop, bob]) await peer.ask('echo', 'end') // all that was sent before has come
}

// mixed is one of many clients of all versions in one room: it listens, and then speaks.
export async function mixed(client, { name }) {
  const member = await client.member(name)
  await member.settled()
  await member.ask('join', 'red')
  await member.next('news')
  await member.ask('speak', 'room', 'red', name)
  for (let n = 0; n < client.options.others; n++) await member.next('news')
}

// refuseMany is refused again and again, and counts what it hears.
export async function refuseMany(client, { times, atOnce }) {
  const outcomes = {}
  await pool(times, atOnce, async (n) => {
    const peer = client.enter('refused ' + n, { token: 'garbage' }, { quiet: true, reconnection: false })
    const heard = []
    peer.socket.on('unauthorized', ({ code }) => heard.push(code))
    heard.push(await ending(peer, 'disconnect', 'connect_error'))
    count(outcomes, heard.join(', '))
  })
  client.report('outcomes', outcomes)
}

// enterMany authenticates again and again, and counts the transports that it ends up on.
export async function enterMany(client, { times, atOnce }) {
  const outcomes = {}
  await pool(times, atOnce, async (n) => {
    const peer = client.enter('user ' + n, { token: await client.login('user ' + n) }, { quiet: true, reconnection: false })
    const entered = Promise.all([peer.next('authenticated'), peer.settled()])
    count(outcomes, await Promise.race([
      entered.then(() => 'authenticated, ' + peer.socket.io.engine.transport.name),
      ending(peer, 'unauthorized', 'disconnect', 'connect_error'),
    ]))
    peer.close()
  })
  client.report('outcomes', outcomes)
}

// restart loses its server and finds one that has forgotten all.
export async function restart(client) {
  const member = await client.member('member')
  await member.settled()
  await member.next('disconnect')
  await member.next('disconnect')
}

// subprotocols offers some of the websocket's own.
export async function subprotocols(client) {
  const member = await client.member('member', 'alice', { protocols: ['chat.v1', 'x'] })
  await member.settled()
  await member.ask('echo', 'alive')
}

// idle says nothing for longer than the server's timeouts.
export async function idle(client, { pause }) {
  const member = await client.member('member')
  await member.settled()
  await sleep(pause)
  await member.ask('speak', 'all', '', 'still here')
  await member.next('news')
}

// origins connects as pages of two other origins, of which one is allowed.
export async function origins(client, { allowed, foreign }) {
  const options = (Origin) => ({ extraHeaders: { Origin }, reconnection: false })
  await client.open('foreign', options(foreign)).next('connect_error')
  const storage = { token: await client.login('alice') }
  await client.enter('allowed', storage, options(allowed)).next('authenticated')
}

// ending tells which of some events came first, and what it said.
function ending(peer, ...events) {
  return Promise.race(events.map(async (event) => {
    const [why] = await peer.next(event)
    return `${event}: ${why.code ?? why.message ?? why}`
  }))
}

function count(outcomes, outcome) {
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
}

function pattern(size) {
  return Buffer.from(Uint8Array.from({ length: size }, (_, n) => n % 251))
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}

// pool calls f for 0 to times-1, some at once.
async function pool(times, atOnce, f) {
  let next = 0
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (next < times) await f(next++)
  }))
}
