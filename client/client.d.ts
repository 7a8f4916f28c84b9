// Made from client.js by interop/types.mjs.

/**
 * A page's client. Its members are bound to it: `const { emit } = client` works.
 */
export class Client<ServerEvents extends EventMap<ServerEvents> = AnyEvents, ClientEvents extends EventMap<ClientEvents> = AnyEvents> {
    private constructor();
    /**
     * The state, reason, user, claims, shared and bound as they are now. It is the same object until
     * one of them changes.
     */
    get snapshot(): Snapshot;
    get state(): State;
    /**
     * Why the client is in its state. undefined where nobody was signed in.
     */
    get reason(): Reason | undefined;
    /** The user's id: the token's "sub". null where nobody is signed in. */
    get user(): string | null;
    /**
     * What the app has put in the token, without the library's own claims. It is frozen, and the same
     * object until a claim changes. null where nobody is signed in, and, as user, until a page that
     * was just opened knows its token. null also where they are nested thousands of levels deep.
     */
    get claims(): Claims | null;
    /** Whether other tabs, and this page when it is opened again, share the session. */
    get shared(): boolean;
    /**
     * Whether the session is bound to this device. It is not where the option bind is not set, where
     * no key could be made or stored ("binding_refused"), where the server binds nothing, and where
     * the session began unbound.
     */
    get bound(): boolean;
    /**
     * The newest session token, for `Authorization: Bearer`; one that is bound needs a proof beside
     * it, which fetch adds. It changes, so read it for each request; it may have expired, which
     * getToken and fetch see to. It is null until a page that was just opened has found out that its
     * session was not logged out, which takes some milliseconds.
     */
    get token(): string | null;
    /**
     * Logs in. Resolves when the server has let the new session in. Rejects with a SocketAuthError
     * when the server refuses the credentials or the session, or has not let it in after 20 seconds.
     * Where that is not the end of the session, the client goes on trying; the state tells.
     */
    login(credentials: object): Promise<void>;
    /**
     * Registers, and logs in with that, as login does.
     */
    register(credentials: object): Promise<void>;
    /**
     * Ends the session, for all its tabs. Resolves to whether the server has said that it is over.
     * Here it is over in any case, also for a browser that is killed once this has resolved. Where
     * the server could not be told, it is told later, by this page or by the next that is opened.
     */
    logout(): Promise<boolean>;
    /**
     * Proves again who the user is, and keeps the session: with what login takes, or with a step-up
     * code that the app has made by IssueStepUp. Resolves when the server has accepted that as the
     * session's last proof. Rejects with a SocketAuthError when the server refuses it
     * ("USER_INVALID" also for another user, "step_up_refused" for a code), or has not accepted it
     * after 20 seconds.
     */
    reauthenticate(proof: object | string): Promise<void>;
    /**
     * Resolves to a session token that lives for minValidity seconds more, or to null where nobody is
     * signed in. It has the token replaced if need be: on the socket or, if there is none, at
     * tokenPath. The default is 30 seconds; more than a quarter of a token's life is not asked for.
     */
    getToken(options?: {
        minValidity?: number;
    }): Promise<string | null>;
    /**
     * Does what fetch does, with the session's token: one that is not about to expire, as
     * `Authorization: Bearer` or, with its proof, as `Authorization: DPoP`. Where the server answers
     * 401 `stale_token` or `token_expired`, the token is presented, and the request is repeated once
     * with the next one, unless its body is a stream. So it is after `no_longer_valid` if other tabs
     * have had the token replaced meanwhile, and after `use_dpop_nonce`. Relative URLs are those of
     * the server. A request to another origin is refused. Where nobody is signed in, the request is
     * made without a token.
     */
    fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
    /**
     * Calls f at an event of the server's, at "state" or at "notice". Where the server waits for a
     * reply, the last argument is a function that sends one. A function that is given twice is called
     * twice. Returns a function that undoes this call of on, and no other.
     */
    on<E extends EventName<ServerEvents> | "state" | "notice">(event: E, f: Listener<ServerEvents, E>): () => void;
    /**
     * Calls f the first time that an event comes. Returns a function that undoes this.
     */
    once<E extends EventName<ServerEvents> | "state" | "notice">(event: E, f: Listener<ServerEvents, E>): () => void;
    /**
     * Calls f with the name and the arguments of each event that the server sends, also of those that
     * have functions of their own. Returns a function that undoes this.
     */
    onAny(f: (...event: AnyEvent<ServerEvents>) => void): () => void;
    /**
     * Undoes every on and once of f for an event.
     */
    off(event: EventName<ServerEvents> | "state" | "notice", f: (...args: any[]) => void): void;
    /**
     * Sends an event. Returns whether there was a connection to send it on: nothing is kept for
     * later. A function as the last argument is called with the server's reply.
     */
    emit<E extends EventName<ClientEvents>>(event: E, ...args: Parameters<ClientEvents[E]>): boolean;
    /**
     * Sends an event and resolves to the server's reply. Rejects with a SocketAuthError where the
     * reply is `{error: {code}}` ("bad_answer" where the code is no string), or where none comes
     * within timeout ms (10,000), and with its reason when the signal aborts.
     */
    emitWithAck<E extends AskableEvent<ClientEvents>>(event: E | {
        event: E;
        timeout?: number;
        signal?: AbortSignal;
    }, ...args: Exchange<ClientEvents[E]>["args"]): Promise<Exchange<ClientEvents[E]>["reply"]>;
    /**
     * Resolves to the snapshot once the state is "online" and no logout is under way. Rejects with a
     * SocketAuthError where nobody is signed in ("signed_out", with the reason in its details) or the
     * client is closed, and with its reason when the signal aborts.
     */
    ready({ signal }?: {
        signal?: AbortSignal;
    }): Promise<Snapshot>;
    /**
     * Calls f after each change of the snapshot, before the functions of the event that comes with
     * it. The last one that is heard is that to "offline" when the client is closed. Returns a
     * function that undoes this.
     */
    subscribe(f: () => void): () => void;
    /**
     * Leaves without logging out: the session is there for whoever comes next. The client cannot be
     * used any more: no events come, and the state is "offline" where somebody was signed in.
     */
    close(): void;
    #private;
}
import type { EventMap } from './types.js';
import type { AnyEvents } from './types.js';
import type { Snapshot } from './types.js';
import type { State } from './types.js';
import type { Reason } from './types.js';
import type { Claims } from './types.js';
import type { EventName } from './types.js';
import type { Listener } from './types.js';
import type { AnyEvent } from './types.js';
import type { AskableEvent } from './types.js';
import type { Exchange } from './types.js';
