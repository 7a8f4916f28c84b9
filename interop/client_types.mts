// What TypeScript says of client/socketauth.d.ts: see TestClientTypes. Nothing here runs.
import { connect, SocketAuthError, type Client, type Notice, type Options, type Refusal, type State } from '../client/socketauth.js'

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

export { done, told, sent, token, next, response, proved, isBound }
