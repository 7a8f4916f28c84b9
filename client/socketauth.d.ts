/**
 * - "connecting": for the first time or as another user, and for the moment in which a page that
 *   was just opened finds out whether somebody is signed in.
 * - "offline": the connection is lost, and the client goes on trying.
 * - "expired": the session's last token has expired.
 */
export type State = "signed-out" | "connecting" | "online" | "offline" | "expired";

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
export type Notice =
  "renewed" | "rotated" | "refused" | "storage_refused" | "storage_full" | "binding_refused";

export interface Refusal {
  message: string;
  code: string;
  /** Whether the token that was presented is dead. */
  terminal: boolean;
  /** When to come back, in seconds. The client keeps to it by itself. */
  retryAfter?: number;
}

/** The members of a Storage that are used. All clients that are given it share it. */
export type TokenStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/**
 * A storage that answers with promises, such as React Native's AsyncStorage. Tabs can share one
 * only if there are Web Locks. If it fails or takes more than 5 seconds, the client goes on in
 * memory.
 */
export interface AsyncTokenStorage {
  getItem(key: string): Promise<string | null | undefined>;
  setItem(key: string, value: string): Promise<unknown>;
  removeItem(key: string): Promise<unknown>;
}

export interface Options {
  /**
   * Where the server is. The default is the page's origin. Its path does not count. If there is
   * neither, the client does nothing.
   */
  url?: string | URL;
  /**
   * socket.io-client's function, 2.x, 3.x or 4.x. The default is a small client of its own, over
   * WebSocket alone.
   */
  io?: (url: string, options: any) => any;
  /** More options for io, such as `{ transports: ["websocket"] }`. */
  transport?: Record<string, unknown>;
  /**
   * Where the token is kept. The default is localStorage, and memory in Node.
   * sessionStorage: each tab has a session of its own.
   * null: in memory, until the page is reloaded.
   */
  storage?: TokenStorage | AsyncTokenStorage | null;
  /**
   * The key in the storage, with which the client's other keys begin. The default is
   * "socketauth.token". If one page uses several servers, give each a key of its own.
   */
  key?: string;
  /**
   * The locks by which tabs take turns. The default is navigator.locks. null, or where there are
   * none: the storage.
   */
  locks?: LockManager | null;
  /** The default is "/login". */
  loginPath?: string;
  /** The default is "/register". */
  registerPath?: string;
  /**
   * The server's TokenPath, where tokens are replaced without a socket. The default is none:
   * getToken, fetch and reauthenticate then wait for the socket.
   */
  tokenPath?: string;
  /** Where the server has Socket.IO. The default is "/socket.io/". */
  path?: string;
  /**
   * The name of a code in the URL's fragment. The default is "code". false: codes in URLs are left
   * alone.
   */
  fragment?: string | false;
  /**
   * About how many ms to wait before the first try to come back. Doubled after each failure. The
   * default is 1000.
   */
  minDelay?: number;
  /** The most ms between tries, unless the server asks for more. The default is 30000. */
  maxDelay?: number;
  /**
   * Whether new sessions are bound to this device: their tokens are worth nothing without a key
   * that cannot leave this browser. A session that has begun stays as it is. The default is false.
   */
  bind?: boolean;
  /** The WebSocket class that the client uses where it has no io. The default is the global one. */
  WebSocket?: typeof WebSocket;
}

export declare class SocketAuthError extends Error {
  /**
   * The server's code, or one of the client's own:
   * - "network": there was no answer.
   * - "http_<status>": the answer has no code.
   * - "bad_answer": the answer is not one of this library's server: is the path right?
   * - "offline": there was no connection to send the event on.
   * - "disconnected": the connection ended before the reply.
   * - "no_reply": no reply came in time.
   * - "replaced": a later login, or a later call of reauthenticate, took the place of this one.
   * - "signed_out": nobody is signed in who could prove it again.
   * - "timeout": another tab has not finished in time.
   * - "other_origin": the request is not one to the server, so it was not made.
   * - "key_lost": the key to which the session was bound is gone. Log in again.
   * - "key_unavailable": IndexedDB, which has the key, cannot be read just now.
   * - "closed": the client was closed.
   * - "no_url", "no_websocket": there is none, so the client cannot connect.
   */
  code: string;
  /** Seconds to wait, if the server said. */
  retryAfter?: number;
  /**
   * The server's answer, with what it says besides the code: maxAge and acr where the code is
   * "reauthentication_required".
   */
  details?: { code: string; [name: string]: unknown };
}

/** What a client shows at one moment. */
export interface Snapshot {
  readonly state: State;
  readonly reason: string | undefined;
  readonly user: string | null;
  readonly claims: Readonly<Record<string, unknown>> | null;
  readonly shared: boolean;
  readonly bound: boolean;
}

export declare class Client {
  private constructor();

  /**
   * state, reason, user, claims, shared and bound as they are now. It is frozen, and the same
   * object until one of them changes.
   */
  readonly snapshot: Snapshot;

  /** The user's id, the token's "sub". null where nobody is signed in. */
  readonly user: string | null;

  /**
   * What the app has put in the token, without the library's own claims. It is frozen, and the same
   * object until the claims change. null where nobody is signed in.
   */
  readonly claims: Readonly<Record<string, unknown>> | null;

  /**
   * Calls f after each change of the snapshot, before the functions of the event that comes with
   * it. Returns a function that undoes this. The last change is that to "offline" by close.
   */
  subscribe(f: () => void): () => void;

  readonly state: State;

  /**
   * Why the client is in its state: the server's code, or
   * - of "signed-out": "logged_out" (in this tab or another), "logged_out_here" (the server could
   *   not be told), "elsewhere" (the storage was emptied, and nobody said why), "storage_full" (the
   *   session has gone on in the memory of another tab), "key_lost" (the key to which the session
   *   was bound is gone: the browser has removed it, or the token is from elsewhere); the server's
   *   "proof_required" is that it wants all sessions to be bound, and this one cannot be;
   * - of "offline": what the connection failed with, "closed", "no_url", "no_websocket" or
   *   "key_unavailable" (IndexedDB, which has the key, cannot be read just now).
   *
   * undefined where nobody was signed in.
   */
  readonly reason: string | undefined;

  /** Whether other tabs, and this page when it is opened again, share the session. */
  readonly shared: boolean;

  /**
   * Whether the session is bound to this device. It is not where the option bind is not set, where
   * no key could be made or stored ("binding_refused"), where the server binds nothing, and where
   * the session began unbound.
   */
  readonly bound: boolean;

  /**
   * The newest session token, for `Authorization: Bearer`; one that is bound needs a proof beside
   * it, which fetch adds. It changes, so read it for each request; it may have expired, which
   * getToken and fetch see to. It is null until a page that was just opened has found out that its
   * session was not logged out, which takes some milliseconds.
   */
  readonly token: string | null;

  /**
   * Logs in. Resolves when the server has let the new session in. Rejects with a SocketAuthError
   * when the server refuses the credentials or the session, or has not let it in after 20 seconds.
   * Where that is not the end of the session, the client goes on trying; the state tells.
   */
  login(credentials: object): Promise<void>;
  /** Registers, and logs in with that, as login does. */
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
   * Resolves to a session token that lives for minValidity seconds more, or to null where nobody is
   * signed in. It has the token replaced if need be: on the socket or, if there is none, at
   * tokenPath. The default is 30 seconds; more than a quarter of a token's life is not asked for.
   */
  getToken(options?: { minValidity?: number }): Promise<string | null>;

  /** Calls f at an event. Returns a function that undoes this. */
  on(event: "state", f: (state: State, reason?: string) => void): () => void;
  on(event: "notice", f: (notice: Notice, about?: Refusal) => void): () => void;
  /** Where the server waits for a reply, the last argument is a function that sends one. */
  on<E extends string>(
    event: E extends "state" | "notice" ? never : E,
    f: (...args: any[]) => void,
  ): () => void;
  /** Calls f the first time that an event comes. Returns a function that undoes this. */
  once(event: string, f: (...args: any[]) => void): () => void;
  /**
   * Calls f with the name and the arguments of each event that the server sends, also of those that
   * have functions of their own. Returns a function that undoes this.
   */
  onAny(f: (event: string, ...args: any[]) => void): () => void;
  off(event: string, f: (...args: any[]) => void): void;

  /**
   * Resolves to the snapshot once the state is "online". Rejects with a SocketAuthError,
   * "signed_out" (details.reason says why) or "closed", or with the reason of the signal.
   */
  ready(options?: { signal?: AbortSignal }): Promise<Snapshot>;

  /**
   * Sends an event. Returns whether there was a connection to send it on: nothing is kept for
   * later. A function as the last argument is called with the server's reply.
   */
  emit(event: string, ...args: unknown[]): boolean;

  /**
   * Sends an event and resolves to the server's reply. Rejects with a SocketAuthError where the
   * reply is `{error: {code}}`, or where none comes in 10 seconds or timeout ms, and with the
   * reason of the signal.
   */
  emitWithAck(
    event: string | { event: string; timeout?: number; signal?: AbortSignal },
    ...args: unknown[]
  ): Promise<any>;

  /**
   * Leaves without logging out: the session is there for whoever comes next. The client cannot be
   * used any more: no events come, and the state is "offline" where somebody was signed in.
   */
  close(): void;
}

/**
 * Makes a client. It begins at once: with a code in the URL's fragment, or else with the token in
 * the storage.
 */
export declare function connect(options?: Options): Client;
