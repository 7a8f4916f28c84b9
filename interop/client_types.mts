// What TypeScript says of client/socketauth.d.ts: see TestClientTypes. Nothing here runs.
import {
  connect, SocketAuthError, type Claims, type Client, type ErrorCode, type Notice, type Options, type Reason, type Refusal, type Snapshot, type State,
} from '../client/socketauth.js'

const options: Options = { url: new URL('https://app.example'), storage: sessionStorage, locks: null, fragment: false }
const client: Client = connect(options)
connect()
connect({ storage: null, WebSocket })
const items = new Map<string, string>()
connect({
  storage: {
    getItem: async (key) => items.get(key),
    setItem: async (key, value) => { items.set(key, value) },
    removeItem: async (key) => items.delete(key),
  },
})

const off: () => void = client.on('state', (state: State, reason?: string) => state === 'online' && reason)
client.on('notice', (notice: Notice, about?: Refusal) => notice === 'refused' && about?.retryAfter)
client.on('news', (text: string, reply: (answer: number) => void) => reply(text.length))
client.off('news', () => {})
off()

const done: Promise<void> = client.login({ username: 'alice', password: 'secret' })
const told: Promise<boolean> = client.logout()
const sent: boolean = client.emit('typing', 1, new Uint8Array())
const token: string | null = client.token
const next: Promise<string | null> = client.getToken({ minValidity: 60 })
client.getToken()
const response: Promise<Response> = client.fetch('/api/me', { method: 'PUT', body: new FormData() })
client.fetch(new Request('https://app.example/api/me'))
client.fetch(new URL('https://app.example/api/me'))
const proved: Promise<void> = client.reauthenticate({ password: 'secret' })
client.reauthenticate('a code')
connect({ tokenPath: '/token' })
client.register({}).catch((error) => error instanceof SocketAuthError && error.code && error.retryAfter && error.details?.maxAge)
client.close()
const isBound: boolean = connect({ bind: true }).bound

// @ts-expect-error: connect makes it
new Client()
// @ts-expect-error: none of the states
client.state === 'offline!'
// @ts-expect-error: a notice is no state
client.on('state', (notice: Notice) => notice)
// @ts-expect-error: seconds
client.getToken({ minValidity: '30s' })
// @ts-expect-error: nobody writes it
client.token = null
// @ts-expect-error: nobody writes it
client.bound = true

// What it shows.
const snapshot: Snapshot = client.snapshot
const user: string | null = client.user
const claims: Claims | null = snapshot.claims
const roles: string[] = client.claims?.roles
const undo: () => void = client.subscribe(() => {})
const ready: Promise<Snapshot> = client.ready()
client.ready({ signal: AbortSignal.timeout(1000) })
const { subscribe, emit } = client
// @ts-expect-error: nobody writes it
client.snapshot.state = 'online'
// @ts-expect-error: nobody writes it
snapshot.claims!.role = 'admin'
// @ts-expect-error: there may be nobody
const somebody: string = client.user
// @ts-expect-error: it is called with nothing
client.subscribe((state: State) => state)
// @ts-expect-error: a signal, and no promise of it
client.ready(AbortSignal.timeout(1000))

// Reasons and codes.
const reason: Reason | undefined = client.reason
if (reason === 'session_revoked' || reason === 'logged_out' || reason === 'a code of the app') client.close()
client.on('state', (state, reason) => state === 'expired' && reason === 'token_expired')
client.on('notice', (notice, about) => notice === 'refused' && about?.code === 'token_reused')
new SocketAuthError('session_revoked', 3, { maxAge: 300 }).code satisfies ErrorCode
// @ts-expect-error: none of the notices
client.on('notice', (notice) => notice === 'token_expired')
// @ts-expect-error: a reason is text
client.on('state', (state, reason: number) => reason)

// Events of any kind, where none are given.
client.on('news', (text: string, n: number) => text + n)
client.once('news', (text) => text.anything)
client.onAny((event: string, ...args) => args[0].anything + event.length)
const reply: any = await client.emitWithAck('save', 1, { two: 2 })
client.emitWithAck({ event: 'save', timeout: 3000, signal: AbortSignal.timeout(1000) }, 1)
emit('typing')
// @ts-expect-error: the name is text
client.emit(1)
// @ts-expect-error: ms
client.emitWithAck({ event: 'save', timeout: '3s' })
// @ts-expect-error: which event
client.emitWithAck({ timeout: 3000 })

// Events of the app's own.
interface ServerEvents {
  news: (text: string) => void
  question: (text: string, reply: (answer: boolean) => void) => void
}
interface ClientEvents {
  hello: (name: string, reply: (answer: string) => void) => void
  save: (title: string, pages: number, reply: (id: { id: number }) => void) => void
  perhaps: (reply?: (answer: number) => void) => void
  ping2: (reply: () => void) => void
  typing: () => void
  move: (x: number, y?: number) => void
}
const typed = connect<ServerEvents, ClientEvents>({ url: 'https://app.example' })
typed.on('news', (text) => text.toUpperCase())
typed.on('question', (text, reply) => reply(text.length > 1))
typed.once('question', async (text, reply) => reply(Boolean(text)))
typed.on('state', (state, reason) => state === 'online' && reason?.length)
typed.off('news', () => {})
typed.onAny((event, ...args) => {
  const name: 'news' | 'question' = event
  return [name, args.length]
})
typed.onAny((...event) => {
  if (event[0] === 'question') event[2](true)
  else event[1].toUpperCase()
})
typed.emit('typing')
typed.emit('move', 1)
typed.emit('move', 1, 2)
typed.emit('hello', 'alice', (answer) => answer.toUpperCase())
const answer: Promise<string> = typed.emitWithAck('hello', 'alice')
const saved: Promise<{ id: number }> = typed.emitWithAck({ event: 'save', timeout: 3000 }, 'title', 3)
const perhaps: Promise<number> = typed.emitWithAck('perhaps')
const nothing: Promise<undefined> = typed.emitWithAck({ event: 'ping2' })
const loose: Client = typed // for a function that takes any client
connect<ServerEvents>().emit('anything', 1)
// @ts-expect-error: no event of the server's
typed.on('gossip', () => {})
// @ts-expect-error: no event of the server's
typed.once('hello', () => {})
// @ts-expect-error: text
typed.on('news', (n: number) => n)
// @ts-expect-error: the reply is true or false
typed.on('question', (text, reply) => reply(text))
// @ts-expect-error: a notice is no state
typed.on('state', (notice: Notice) => notice)
// @ts-expect-error: text, of each event
typed.onAny((event, n: number) => n)
// @ts-expect-error: no event of the client's
typed.emit('news', 'text')
// @ts-expect-error: no event of the client's
typed.emit('state')
// @ts-expect-error: a number
typed.emit('move', '1')
// @ts-expect-error: too much
typed.emit('typing', 1)
// @ts-expect-error: the name is missing
typed.emitWithAck('hello')
// @ts-expect-error: a number
typed.emitWithAck({ event: 'save' }, 'title', '3')
// @ts-expect-error: the reply is no number
const wrong: Promise<number> = typed.emitWithAck('hello', 'alice')
// @ts-expect-error: there is no reply to it
typed.emitWithAck('typing')
// @ts-expect-error: there is no reply to it
typed.emitWithAck({ event: 'move' }, 1)
// @ts-expect-error: no function
connect<{ news: string }>()

export {
  done, told, sent, token, next, response, proved, isBound, user, claims, roles, undo, ready, subscribe, somebody, reply, answer, saved, perhaps, nothing, loose,
  wrong,
}
