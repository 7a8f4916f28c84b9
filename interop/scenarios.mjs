// What the clients do, with a function for each test. The Go test of the same name checks the
// results.

// session survives a lost connection and moves to a second socket. Then a third socket presents a
// replaced token.
export async function session(client, { policy }) {
  const storage = { token: await client.login('alice') }
  const first = client.enter('first', storage)
  await first.next('authenticated')
  await first.settled() // the test cuts the connection here; the client reconnects by itself
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

// refusals presents all kinds of tokens that must be refused.
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

// shapes authenticates with values that are not tokens at all.
export async function shapes(client) {
  const shapes = { nothing: [], null: [null], number: [5], empty: [{}], list: [[]], field: [{ token: { toString: 1 } }] }
  for (const [name, args] of Object.entries(shapes)) {
    const peer = client.open(name)
    await Promise.all([peer.ask('authenticate', ...args), peer.next('disconnect')])
  }
}

// strays presents the token of another session on an authenticated socket. That is a mistake, for
// which the socket must not be disconnected.
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

// expiry has one socket that lets its token expire, and one that asks for a new token before that.
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

// events asks for acknowledgements before and after authentication, in both directions.
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

// kept sends events with many names, and reports those that were acknowledged.
export async function kept(client, { names }) {
  const member = await client.member('member')
  member.socket.off() // otherwise its own handlers would receive some of them
  const arrived = []
  for (const name of names) {
    try {
      member.socket.emit(name, () => arrived.push(name))
    } catch {} // later versions throw for names that they reserve
  }
  await new Promise((resolve) => member.socket.emit('echo', 'end', resolve))
  client.report('arrived', ...arrived)
}

// payloads sends texts, attachments and long messages, which the server acknowledges and sends
// back.
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

// stored asks for each stored value, and shows that the connection still works.
export async function stored(client, { cases }) {
  const member = await client.member('member')
  for (let n = 0; n < cases; n++) {
    await member.ask('show', n)
    await member.ask('echo', 'alive')
  }
}

// audiences has sockets that listen while one of them sends to each group in turn.
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

// mixed is one of many clients of all versions in one room. It listens, then speaks.
export async function mixed(client, { name }) {
  const member = await client.member(name)
  await member.settled()
  await member.ask('join', 'red')
  await member.next('news')
  await member.ask('speak', 'room', 'red', name)
  for (let n = 0; n < client.options.others; n++) await member.next('news')
}

// refuseMany is refused many times, and counts what it receives.
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

// enterMany authenticates many times, and counts the transports that it uses in the end.
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

// restart loses its server, and reconnects to one that knows none of the sessions.
export async function restart(client) {
  const member = await client.member('member')
  await member.settled()
  await member.next('disconnect')
  await member.next('disconnect')
}

// outlive loses its server, and comes back to another one that knows its session.
export async function outlive(client) {
  const member = await client.member('member')
  await member.settled()
  await member.next('disconnect')
  await member.next('authenticated')
}

// subprotocols offers some websocket subprotocols.
export async function subprotocols(client) {
  const member = await client.member('member', 'alice', { protocols: ['chat.v1', 'x'] })
  await member.settled()
  await member.ask('echo', 'alive')
}

// idle sends nothing for longer than the server's timeouts.
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

// ending returns which of several events came first, and its arguments.
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

// pool calls f for 0 to times-1, several calls at a time.
async function pool(times, atOnce, f) {
  let next = 0
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (next < times) await f(next++)
  }))
}
