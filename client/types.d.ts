// Made from types.js by interop/types.mjs.

/**
 * - "connecting": for the first time or as another user, and for the moment in which a page that
 *   was just opened finds out whether somebody is signed in.
 * - "offline": the connection is lost, and the client goes on trying.
 * - "expired": the session's last token has expired.
 */
export type State = "signed-out" | "connecting" | "online" | "offline" | "expired";
/**
 * The server's codes for a token that it refuses: docs/protocol.md says when.
 */
export type RefusalCode = "invalid_token" | "token_expired" | "invalid_tenant" | "no_longer_valid" | "token_reused" | "session_revoked" | "wrong_session" | "stale_token" | "step_up_refused" | "proof_required" | "invalid_proof" | "timeout" | "too_many_attempts" | "too_many_connections" | "unavailable" | "server_error";
/**
 * Why the client is in its state: a code of the server's, or
 * - of "signed-out": "logged_out" (in this tab or another), "logged_out_here" (the server could not
 *   be told), "elsewhere" (the storage was emptied, and nobody said why), "storage_full" (the
 *   session has gone on in the memory of another tab), "key_lost" (the key to which the session was
 *   bound is gone: the browser has removed it, or the token is from elsewhere); the server's
 *   "proof_required" is that it wants all sessions to be bound, and this one cannot be;
 * - of "offline": "closed", "no_url", "no_websocket", "key_unavailable" (IndexedDB, which has the
 *   key, cannot be read just now), "overtaken" (another tab was faster), "bad_answer" (what came is
 *   not of this library's server), or what the connection failed with, such as "transport close".
 *
 * Codes of your own (a PublicError's) come too.
 */
export type Reason = RefusalCode | "logged_out" | "logged_out_here" | "elsewhere" | "storage_full" | "key_lost" | "key_unavailable" | "closed" | "no_url" | "no_websocket" | "overtaken" | "bad_answer" | "transport close" | "ping timeout" | "parse error" | "io server disconnect" | (string & {});
/**
 * The code of a SocketAuthError: the server's, or one of the client's own:
 * - "network": there was no answer.
 * - "http_<status>": the answer has no code.
 * - "bad_answer": the answer is not one of this library's server: is the path right?
 * - "offline": there was no connection to send the event on.
 * - "disconnected": the connection ended before the reply.
 * - "no_reply": no reply came in time.
 * - "replaced": a later login, or a later call of reauthenticate, took the place of this one.
 * - "signed_out": nobody is signed in, for ready or to prove it again.
 * - "timeout": another tab has not finished in time.
 * - "other_origin": the request is not one to the server, so it was not made.
 * - "key_lost": the key to which the session was bound is gone. Log in again.
 * - "key_unavailable": IndexedDB, which has the key, cannot be read just now.
 * - "closed": the client was closed.
 * - "no_url", "no_websocket": there is none, so the client cannot connect.
 *
 * Where a session ends while something waits for it, the code is the reason. Codes of your own (a
 * PublicError's) come too.
 */
export type ErrorCode = RefusalCode | "USER_INVALID" | "PASSWORD_TOO_LONG" | "TOO_MANY_ATTEMPTS" | "UNAVAILABLE" | "SERVER_ERROR" | "BODY_MALFORMED" | "BODY_TOO_LARGE" | "MEDIA_TYPE_NOT_SUPPORTED" | "ORIGIN_NOT_ALLOWED" | "INVALID_PROOF" | "USE_DPOP_NONCE" | "unauthorized" | "unknown_event" | "bad_arguments" | "reauthentication_required" | "use_dpop_nonce" | "body_malformed" | "body_too_large" | "media_type_not_supported" | "origin_not_allowed" | "network" | `http_${number}` | "bad_answer" | "offline" | "disconnected" | "no_reply" | "replaced" | "signed_out" | "other_origin" | "key_lost" | "key_unavailable" | "closed" | "no_url" | "no_websocket" | "logged_out" | "logged_out_here" | "elsewhere" | "storage_full" | (string & {});
/**
 * What happened to the session, besides its state.
 * - "renewed": the token was replaced in time.
 * - "rotated": another tab has a newer token.
 * - "refused": the server refused the token, or it could not be proved ("key_lost",
 *   "key_unavailable"); comes with a Refusal.
 * - "storage_refused", "storage_full": the session is kept in memory, and is this tab's alone.
 * - "binding_refused": no key can be made or stored here, for there is no WebCrypto or no
 *   IndexedDB, so the session that begins is not bound.
 */
export type Notice = "renewed" | "rotated" | "refused" | "storage_refused" | "storage_full" | "binding_refused";
export type Refusal = {
    message: string;
    code: RefusalCode | "key_lost" | "key_unavailable" | (string & {});
    /**
     * Whether the token that was presented is dead.
     */
    terminal: boolean;
    /**
     * When to come back, in seconds. The client keeps to it by itself.
     */
    retryAfter?: number | undefined;
};
/**
 * What a client shows at one moment. It is frozen.
 */
export type Snapshot = {
    readonly state: State;
    readonly reason: Reason | undefined;
    readonly user: string | null;
    readonly claims: Claims | null;
    readonly shared: boolean;
    readonly bound: boolean;
};
/**
 * What the app has put in the token: all but the library's own claims. "sub" is the user's id.
 */
export type Claims = {
    readonly [name: string]: any;
};
/**
 * The members of a Storage that are used. All clients that are given it share it.
 */
export type TokenStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;
/**
 * A storage that answers with promises, such as React Native's AsyncStorage. Tabs can share one
 * only if there are Web Locks. If it fails or takes more than 5 seconds, the client goes on in
 * memory.
 */
export type AsyncTokenStorage = {
    getItem: (key: string) => Promise<string | null | undefined>;
    setItem: (key: string, value: string) => Promise<unknown>;
    removeItem: (key: string) => Promise<unknown>;
};
export type Options = {
    /**
     * Where the server is. The default is the page's origin. Its path
     * does not count. If there is neither, the client does nothing.
     */
    url?: string | URL | undefined;
    /**
     * socket.io-client's function, 2.x, 3.x or 4.x.
     * The default is a small client of its own, over WebSocket alone.
     */
    io?: ((url: string, options: any) => any) | undefined;
    /**
     * More options for io, such as
     * `{ transports: ["websocket"] }`.
     */
    transport?: Record<string, unknown> | undefined;
    /**
     * Where the token is kept. The
     * default is localStorage, and memory in Node. sessionStorage: each tab has a session of its own.
     * null: in memory, until the page is reloaded.
     */
    storage?: TokenStorage | AsyncTokenStorage | null | undefined;
    /**
     * The key in the storage, with which the client's other keys begin. The
     * default is "socketauth.token". If one page uses several servers, give each a key of its own.
     */
    key?: string | undefined;
    /**
     * The locks by which tabs take turns. The default is
     * navigator.locks. null, or where there are none: the storage.
     */
    locks?: LockManager | null | undefined;
    /**
     * The default is "/login".
     */
    loginPath?: string | undefined;
    /**
     * The default is "/register".
     */
    registerPath?: string | undefined;
    /**
     * The server's TokenPath, where tokens are replaced without a
     * socket. The default is none: getToken, fetch and reauthenticate then wait for the socket.
     */
    tokenPath?: string | undefined;
    /**
     * Where the server has Socket.IO. The default is "/socket.io/".
     */
    path?: string | undefined;
    /**
     * The name of a code in the URL's fragment. The default is
     * "code". false: codes in URLs are left alone.
     */
    fragment?: string | false | undefined;
    /**
     * About how many ms to wait before the first try to come back.
     * Doubled after each failure. The default is 1000.
     */
    minDelay?: number | undefined;
    /**
     * The most ms between tries, unless the server asks for more. The
     * default is 30000.
     */
    maxDelay?: number | undefined;
    /**
     * Whether new sessions are bound to this device: their tokens are worth
     * nothing without a key that cannot leave this browser. A session that has begun stays as it is.
     * The default is false.
     */
    bind?: boolean | undefined;
    /**
     * The WebSocket class that the client uses where it has no
     * io. The default is the global one.
     */
    WebSocket?: {
        new (url: string | URL, protocols?: string | string[]): WebSocket;
        prototype: WebSocket;
        readonly CONNECTING: 0;
        readonly OPEN: 1;
        readonly CLOSING: 2;
        readonly CLOSED: 3;
    } | undefined;
};
/**
 * Events and the functions that are called at them. The last argument may be a function: the reply
 * of who receives the event.
 */
export type EventMap<Events> = { [E in keyof Events]: (...args: any[]) => any; };
/**
 * Any events with any arguments.
 */
export type AnyEvents = {
    [event: string]: (...args: any[]) => any;
};
/**
 * The names of events.
 */
export type EventName<Events> = keyof Events & string;
/**
 * The function that is called at an event of the server's, or of the client's own.
 */
export type Listener<Events, E> = E extends "state" ? (state: State, reason?: Reason) => void : E extends "notice" ? (notice: Notice, about?: Refusal) => void : E extends keyof Events ? Events[E] : never;
/**
 * The name of an event, followed by its arguments.
 */
export type AnyEvent<Events extends EventMap<Events>> = { [E in EventName<Events>]: [event: E, ...args: Parameters<Events[E]>]; }[EventName<Events>];
/**
 * What is sent with an event, without the function that is called with the reply, and the reply.
 */
export type Exchange<F extends (...args: any[]) => any> = Required<Parameters<F>> extends [...infer Args, (...reply: infer R) => any] ? {
    args: Args;
    reply: R[0];
} : unknown[] extends Parameters<F> ? {
    args: unknown[];
    reply: any;
} : never;
/**
 * The names of the events to which there is a reply.
 */
export type AskableEvent<Events extends EventMap<Events>> = { [E in EventName<Events>]: Exchange<Events[E]> extends never ? never : E; }[EventName<Events>];
