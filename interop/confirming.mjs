// Scenarios of clients that confirm their tokens. As in scenarios.mjs, the Go test of the same name
// checks the results.

const leave = () => {} // neither stores nor acknowledges an offered token

// confirm has a socket that is not authenticated until it acknowledges its token.
export async function confirm(client) {
  const bob = await client.member('bob')
  const storage = { token: await client.login('alice') }
  const code = storage.token
  const alice = client.enter('alice', storage, { confirm: true, take: leave })
  const [token, acknowledge] = await alice.next('authenticated')
  await alice.ask('echo', 'let me in')
  await alice.ask('join', 'red')
  for (const [kind, name] of Object.entries({ all: '', room: 'red', user: 'alice', session: claims(token).sid })) {
    await bob.ask('speak', kind, name, 'too early for alice')
  }
  await bob.next('news')
  await alice.ask('echo', 'still nobody') // all that was sent to her before has arrived

  storage.token = token
  acknowledge()
  await alice.ask('echo', 'in')
  await bob.ask('speak', 'all', '', 'welcome')
  await alice.next('news')
  await client.enter('late', { token: code }).next('disconnect') // the confirmed token has replaced this one
  await alice.next('disconnect')
}

// cut loses connections before the acknowledgement, and reconnects with the token that it has
// stored.
export async function cut(client) {
  const storage = { token: await client.login('alice') }
  const first = client.enter('first', storage, { confirm: true, take: leave })
  const [lost] = await first.next('authenticated')
  first.socket.disconnect()
  // Clients for Java and Kotlin can only send strings, so they send it like this.
  const rival = client.enter('rival', storage, { confirm: 'true', take: leave })
  await rival.next('authenticated')
  const witness = client.open('witness')
  await witness.next('connect')

  const second = client.enter('second', storage, { confirm: true, take: leave })
  const sever = async () => { // its client reconnects by itself
    await second.settled()
    second.socket.io.engine.close()
    await second.next('disconnect')
  }
  const [unstored] = await second.next('authenticated')
  await sever()
  const [stored] = await second.next('authenticated')
  storage.token = stored
  await sever()
  const [last, acknowledge] = await second.next('authenticated') // the reply to the token that it had stored but not confirmed
  storage.token = last
  acknowledge()
  await second.ask('echo', 'in')
  await rival.next('disconnect')

  witness.socket.emit('authenticate', { token: lost }) // this socket was open before, so it could not know
  await witness.next('disconnect')
  await second.ask('echo', 'still in')
  await client.enter('thief', { token: unstored }).next('disconnect')
  await second.next('disconnect')
}

// withheld has sockets that do not acknowledge: one its first token, another its second.
export async function withheld(client) {
  const leaver = async () => {
    const storage = { token: await client.login('leaver') }
    const peer = client.enter('leaver', storage, { confirm: true, take: leave })
    await peer.next('authenticated')
    await peer.ask('echo', 'let me in')
    peer.socket.emit('authenticate', { token: storage.token, confirm: true })
    await peer.next('disconnect')
  }
  const member = async () => {
    const storage = { token: await client.login('member') }
    const peer = client.enter('member', storage, { confirm: true, take: leave })
    const accept = async () => {
      const [token, acknowledge] = await peer.next('authenticated')
      storage.token = token
      acknowledge()
      await peer.ask('echo', 'in')
    }
    await accept()
    peer.socket.emit('authenticate', { token: storage.token, confirm: true })
    await peer.next('authenticated')
    await peer.ask('echo', 'still in')
    await peer.next('disconnect')
    await reconnect(peer) // with the token that is still valid
    await accept()
  }
  await Promise.all([leaver(), member()])
}

// rotated has two sockets of one session that take turns, and one of another session of the user.
export async function rotated(client) {
  const first = await client.member('first', 'alice', { confirm: true })
  const { storage } = first
  await first.ask('echo', 'in')
  const other = await client.member('other', 'alice', { confirm: true })

  const second = client.enter('second', storage, { confirm: true, take: leave })
  const [token, acknowledge] = await second.next('authenticated')
  await first.ask('echo', 'before') // nothing is confirmed yet
  storage.token = token
  acknowledge()
  await second.ask('echo', 'in')
  await first.next('rotated')
  await first.ask('authenticate', { token: storage.token, confirm: true })
  await first.next('authenticated')
  await first.ask('echo', 'confirmed')
  await second.next('rotated')
  for (const peer of [first, second, other]) await peer.ask('echo', 'end') // all that was sent before has come
}

// young presents a token that is too young to be replaced, on new connections and on an
// authenticated one.
export async function young(client) {
  const code = await client.login('alice')
  const storage = { token: code }
  const store = (storage, token) => { storage.token = token } // and never acknowledges
  const first = client.enter('first', storage, { confirm: true, take: store })
  await first.next('authenticated')
  await first.settled()
  first.socket.io.engine.close()
  await first.next('disconnect')
  await first.next('authenticated')
  await first.ask('echo', 'in') // a token that was presented needs no acknowledgement

  const plain = client.enter('plain', storage)
  await plain.next('authenticated')
  await first.ask('authenticate', { token: storage.token, confirm: true })
  await plain.ask('echo', 'in')
  await first.ask('echo', 'still in')
  await client.enter('thief', { token: code }).next('disconnect')
  await Promise.all([first.next('disconnect'), plain.next('disconnect')])
}

// revocations has sockets connected while a session, a user and then all sessions are revoked.
export async function revocations(client) {
  const confirm = true
  const phone = await client.member('phone', 'alice', { confirm })
  await phone.ask('who am I')
  const sibling = client.enter('sibling', phone.storage, { confirm })
  await sibling.next('authenticated')
  await sibling.ask('echo', 'in')
  const waiting = client.enter('waiting', phone.storage, { confirm, take: leave })
  await waiting.next('authenticated')
  const tablet = await client.member('tablet', 'alice', { confirm })
  const bob = await client.member('bob')
  await bob.ask('echo', 'in')
  client.report('ready') // the test revokes the phone's session
  await Promise.all([phone, sibling, waiting].map((peer) => peer.next('disconnect')))
  await returns(phone)

  const early = await client.login('alice')
  await tablet.ask('echo', 'alive')
  client.report('ready') // the test revokes alice
  await tablet.next('disconnect')
  await returns(tablet)
  await client.enter('early', { token: early }).next('disconnect')

  const again = await client.member('again', 'alice', { confirm })
  await again.ask('echo', 'in')
  await bob.ask('echo', 'alive')
  client.report('ready') // the test revokes all
  await Promise.all([again.next('disconnect'), bob.next('disconnect')])
  await Promise.all([returns(again), returns(bob)])
  await client.member('last', 'alice')
}

// returns reconnects a socket that the server has disconnected and will disconnect again.
async function returns(peer) {
  await reconnect(peer)
  await peer.next('disconnect')
}

// reconnect reconnects a socket that the server has disconnected. It first waits for the end of the
// old connection, which clients before 4.x would take for the end of the new one.
async function reconnect({ socket }) {
  const { engine } = socket.io
  if (engine.readyState !== 'closed') await new Promise((resolve) => engine.once('close', resolve))
  socket.connect()
}

// devices has two devices of one user, with three sockets, and another socket that only waits.
export async function devices(client) {
  const agent = (name) => ({ confirm: true, extraHeaders: { 'User-Agent': name } })
  await client.login('alice') // a code that is never used
  const phone = await client.member('phone', 'alice', agent('a phone'))
  await phone.ask('who am I') // it is authenticated: its acknowledgement would be refused if two newer generations came first
  const sibling = client.enter('sibling', phone.storage, agent('a phone'))
  await sibling.next('authenticated')
  await sibling.ask('echo', 'in')
  const waiting = client.enter('waiting', phone.storage, { ...agent('a phone'), take: leave })
  await waiting.next('authenticated')
  const tablet = await client.member('tablet', 'alice', agent('a tablet'))
  const bob = await client.member('bob')
  for (const peer of [tablet, bob]) await peer.ask('who am I')
  client.report('ready')

  await Promise.all([phone, sibling, tablet].map((peer) => peer.next('news')))
  sibling.close()
  tablet.socket.emit('logout')
  await tablet.next('disconnect')
  client.report('ready')
  await phone.next('news')
}

// durable keeps its sessions through two restarts of the app.
export async function durable(client) {
  const member = await client.member('member', 'alice', { confirm: true })
  await member.ask('who am I')
  const hesitant = client.enter('hesitant', { token: await client.login('dave') }, { confirm: true, take: leave })
  await hesitant.next('authenticated')
  const leaver = await client.member('leaver', 'bob', { confirm: true })
  leaver.socket.emit('logout')
  await leaver.next('disconnect')
  const banned = await client.member('banned', 'carol')
  await banned.next('disconnect')
  client.report('ready') // the test restarts the app

  await Promise.all([member.next('disconnect'), hesitant.next('disconnect')])
  const [, acknowledge] = await hesitant.next('authenticated') // with the token that it kept, since it stored no other
  acknowledge()
  await hesitant.ask('echo', 'in')
  await member.next('authenticated')
  await member.ask('who am I')
  await Promise.all([returns(leaver), returns(banned)])
  hesitant.close()
  client.report('ready') // the test restarts the app again

  await member.next('disconnect')
  await member.next('authenticated')
  await member.ask('who am I')
  client.report('ready') // the test checks the state
  await member.next('news')
}

// storm renews its token all the time over a network that breaks, until the network is calm.
export async function storm(client, { code }) {
  const storage = { token: code }
  const outcomes = { offered: 0, connections: 0 }
  await new Promise((calm) => {
    const { socket } = client.enter('client', storage, {
      confirm: true,
      quiet: true,
      timeout: 2000, // clients do not notice if a connection ends before its first packet
      reconnectionDelay: 1,
      reconnectionDelayMax: 10,
      take(storage, token, acknowledge) {
        outcomes.offered++
        storage.token = token
        acknowledge()
        socket.emit('weather', (weather) => {
          if (weather === 'calm') return calm()
          socket.emit('authenticate', { token: storage.token, confirm: true })
        })
      },
    })
    socket.on('connect', () => outcomes.connections++)
    socket.on('unauthorized', ({ code, terminal, retryAfter = 0 }) => {
      const outcome = `${code}, ${terminal ? 'terminal' : 'not terminal'}`
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
      if (terminal) return calm()
      setTimeout(() => socket.connect(), retryAfter * 1000)
    })
  })
  client.report('outcomes', outcomes)
}

function claims(token) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))
}
