// @ts-check
// What a page calls.

/**
 * @import { AnyEvent, AnyEvents, AskableEvent, Claims, EventMap, EventName, Exchange, Listener,
 *   Options, Reason, Snapshot, State } from './types.js'
 */

import { failLoading, SocketAuthError } from "./errors.js";
import { ANY, callAll, checkName, Handlers } from "./events.js";
import { postCredentials, readAnswer } from "./login.js";
import { serverURL } from "./page.js";
import { Session } from "./session.js";
import { Snapshots } from "./snapshot.js";
import { connectionFault } from "./socketio.js";
import { unlessAborted } from "./time.js";
import { isSessionToken } from "./token.js";

const REPLY_TIMEOUT = 10_000; // ms for an acknowledgement
const MAX_TIMEOUT = 2 ** 31 - 1; // ms that a timer can hold

/**
 * A page's client. Its members are bound to it: `const { emit } = client` works.
 *
 * @template {EventMap<ServerEvents>} [ServerEvents=AnyEvents]
 * @template {EventMap<ClientEvents>} [ClientEvents=AnyEvents]
 */
export class Client {
  #options;
  #handlers = new Handlers();
  #session;
  #snapshots;
  /** @type {any} */
  #requests;

  /**
   * @private
   * @param {Options} [options]
   */
  constructor({
    url = "", io, storage, locks, WebSocket, transport,
    key = "socketauth.token", loginPath = "/login", registerPath = "/register", tokenPath,
    path = "/socket.io/", fragment = "code", minDelay = 1_000, maxDelay = 30_000, bind = false,
  } = {}) {
    if (io && typeof io !== "function") {
      throw new TypeError("socketauth: io is not socket.io-client's function");
    }
    this.#options = {
      url: serverURL(url), io, WebSocket, transport, storage, locks,
      key, loginPath, registerPath, tokenPath, path, fragment, minDelay, maxDelay, bind,
    };
    this.#session = new Session(this.#options, this.#handlers);
    this.#snapshots = new Snapshots(this.#session);
    const update = new Set([() => this.#snapshots.update()]);
    this.#handlers.changed = () => callAll(update); // the session goes on, whatever it throws
    bindMembers(this);
  }

  /**
   * The state, reason, user, claims, shared and bound as they are now. It is the same object until
   * one of them changes.
   *
   * @returns {Snapshot}
   */
  get snapshot() {
    return this.#snapshots.current;
  }

  /** @returns {State} */
  get state() {
    return this.snapshot.state;
  }

  /**
   * Why the client is in its state. undefined where nobody was signed in.
   *
   * @returns {Reason | undefined}
   */
  get reason() {
    return this.snapshot.reason;
  }

  /** The user's id: the token's "sub". null where nobody is signed in. */
  get user() {
    return this.snapshot.user;
  }

  /**
   * What the app has put in the token, without the library's own claims. It is frozen, and the same
   * object until a claim changes. null where nobody is signed in, and, as user, until a page that
   * was just opened knows its token. null also where they are nested thousands of levels deep.
   *
   * @returns {Claims | null}
   */
  get claims() {
    return this.snapshot.claims;
  }

  /** Whether other tabs, and this page when it is opened again, share the session. */
  get shared() {
    return this.snapshot.shared;
  }

  /**
   * Whether the session is bound to this device. It is not where the option bind is not set, where
   * no key could be made or stored ("binding_refused"), where the server binds nothing, and where
   * the session began unbound.
   */
  get bound() {
    return this.snapshot.bound;
  }

  /**
   * The newest session token, for `Authorization: Bearer`; one that is bound needs a proof beside
   * it, which fetch adds. It changes, so read it for each request; it may have expired, which
   * getToken and fetch see to. It is null until a page that was just opened has found out that its
   * session was not logged out, which takes some milliseconds.
   *
   * @returns {string | null}
   */
  get token() {
    const { store } = this.#session;
    const token = store.isChecked ? store.get() : null;
    return isSessionToken(token) ? token : null;
  }

  /**
   * Logs in. Resolves when the server has let the new session in. Rejects with a SocketAuthError
   * when the server refuses the credentials or the session, or has not let it in after 20 seconds.
   * Where that is not the end of the session, the client goes on trying; the state tells.
   *
   * @param {object} credentials
   * @returns {Promise<void>}
   */
  login(credentials) {
    return this.#submit(this.#options.loginPath, credentials);
  }

  /**
   * Registers, and logs in with that, as login does.
   *
   * @param {object} credentials
   * @returns {Promise<void>}
   */
  register(credentials) {
    return this.#submit(this.#options.registerPath, credentials);
  }

  /**
   * @param {string} path
   * @param {object} credentials
   */
  async #submit(path, credentials) {
    const { url } = this.#options;
    this.#checkOpen();
    const fault = connectionFault(this.#options);
    if (fault) throw new SocketAuthError(fault);
    const { binding } = this.#session;
    const request = binding.fetchLogin.bind(binding);
    const answer = await postCredentials(new URL(path, url), credentials, request);
    this.#checkOpen(); // the code of a client that was closed meanwhile is forgotten
    const { code, page } = readAnswer(answer, this.#options);
    if (code) return this.#session.begin(code);
    globalThis.location.assign(page);
    return this.#session.awaitLogin(); // fails if the browser stays on this page
  }

  /**
   * Ends the session, for all its tabs. Resolves to whether the server has said that it is over.
   * Here it is over in any case, also for a browser that is killed once this has resolved. Where
   * the server could not be told, it is told later, by this page or by the next that is opened.
   *
   * @returns {Promise<boolean>}
   */
  async logout() {
    this.#checkOpen();
    return this.#session.logout();
  }

  /**
   * Proves again who the user is, and keeps the session: with what login takes, or with a step-up
   * code that the app has made by IssueStepUp. Resolves when the server has accepted that as the
   * session's last proof. Rejects with a SocketAuthError when the server refuses it
   * ("USER_INVALID" also for another user, "step_up_refused" for a code), or has not accepted it
   * after 20 seconds.
   *
   * @param {object | string} proof
   * @returns {Promise<void>}
   */
  async reauthenticate(proof) {
    return (await this.#loadRequests()).reauthenticate(proof);
  }

  /**
   * Resolves to a session token that lives for minValidity seconds more, or to null where nobody is
   * signed in. It has the token replaced if need be: on the socket or, if there is none, at
   * tokenPath. The default is 30 seconds; more than a quarter of a token's life is not asked for.
   *
   * @param {{ minValidity?: number }} [options]
   * @returns {Promise<string | null>}
   */
  async getToken(options) {
    return (await this.#loadRequests()).getToken(options);
  }

  /**
   * Does what fetch does, with the session's token: one that is not about to expire, as
   * `Authorization: Bearer` or, with its proof, as `Authorization: DPoP`. Where the server answers
   * 401 `stale_token` or `token_expired`, the token is presented, and the request is repeated once
   * with the next one, unless its body is a stream. So it is after `no_longer_valid` if other tabs
   * have had the token replaced meanwhile, and after `use_dpop_nonce`. Relative URLs are those of
   * the server. A request to another origin is refused. Where nobody is signed in, the request is
   * made without a token.
   *
   * @param {RequestInfo | URL} input
   * @param {RequestInit} [init]
   * @returns {Promise<Response>}
   */
  async fetch(input, init) {
    return (await this.#loadRequests()).fetch(input, init);
  }

  async #loadRequests() {
    this.#checkOpen();
    const { Requests } = await import("./requests.js").catch(failLoading);
    this.#checkOpen();
    return this.#requests ??= new Requests(this.#session, this.#options);
  }

  #checkOpen() {
    if (this.#session.isClosed) throw new SocketAuthError("closed");
  }

  /**
   * Calls f at an event of the server's, at "state" or at "notice". Where the server waits for a
   * reply, the last argument is a function that sends one. A function that is given twice is called
   * twice. Returns a function that undoes this call of on, and no other.
   *
   * @template {EventName<ServerEvents> | "state" | "notice"} E
   * @param {E} event
   * @param {Listener<ServerEvents, E>} f
   * @returns {() => void}
   */
  on(event, f) {
    return this.#add(event, f);
  }

  /**
   * Calls f the first time that an event comes. Returns a function that undoes this.
   *
   * @template {EventName<ServerEvents> | "state" | "notice"} E
   * @param {E} event
   * @param {Listener<ServerEvents, E>} f
   * @returns {() => void}
   */
  once(event, f) {
    return this.#add(event, f, true);
  }

  /**
   * Calls f with the name and the arguments of each event that the server sends, also of those that
   * have functions of their own. Returns a function that undoes this.
   *
   * @param {(...event: AnyEvent<ServerEvents>) => void} f
   * @returns {() => void}
   */
  onAny(f) {
    return this.#add(ANY, f);
  }

  /**
   * Undoes every on and once of f for an event.
   *
   * @param {EventName<ServerEvents> | "state" | "notice"} event
   * @param {(...args: any[]) => void} f
   */
  off(event, f) {
    this.#handlers.remove(event, f);
  }

  /**
   * @param {string | symbol} event
   * @param {(...args: any[]) => void} f
   * @param {boolean} [isOnce]
   */
  #add(event, f, isOnce) {
    checkName(event);
    return this.#handlers.add(event, f, isOnce);
  }

  /**
   * Sends an event. Returns whether there was a connection to send it on: nothing is kept for
   * later. A function as the last argument is called with the server's reply.
   *
   * @template {EventName<ClientEvents>} E
   * @param {E} event
   * @param {Parameters<ClientEvents[E]>} args
   * @returns {boolean}
   */
  emit(event, ...args) {
    return this.#emit(event, args);
  }

  /**
   * @param {string} event
   * @param {any[]} args
   */
  #emit(event, args) {
    checkName(event);
    const { state, connection } = this.#session;
    if (state !== "online" || !connection) return false; // a page that is left has no connection
    connection.socket.emit(event, ...args);
    return true;
  }

  /**
   * Sends an event and resolves to the server's reply. Rejects with a SocketAuthError where the
   * reply is `{error: {code}}` ("bad_answer" where the code is no string), or where none comes
   * within timeout ms (10,000), and with its reason when the signal aborts.
   *
   * @template {AskableEvent<ClientEvents>} E
   * @param {E | { event: E, timeout?: number, signal?: AbortSignal }} event
   * @param {Exchange<ClientEvents[E]>["args"]} args
   * @returns {Promise<Exchange<ClientEvents[E]>["reply"]>}
   */
  async emitWithAck(event, ...args) {
    const options = typeof event === "object" ? event : { event };
    const { timeout = REPLY_TIMEOUT, signal } = options;
    const { waiting } = this.#session.connection ?? { waiting: new Set() };
    /** @type {(() => void) | undefined} */
    let tidy;
    try {
      return await unlessAborted(signal, (resolve, reject) => {
        /** @type {(code: string, details?: any) => void} */
        const fail = (code, details) => {
          reject(new SocketAuthError(code, details?.retryAfter, details));
        };
        const timer = setTimeout(fail, Math.min(timeout, MAX_TIMEOUT), "no_reply");
        waiting.add(fail);
        tidy = () => {
          clearTimeout(timer);
          waiting.delete(fail);
        };
        const answer = (/** @type {any} */ reply) => {
          if (reply?.error?.code) fail(reply.error.code, reply.error);
          else resolve(reply);
        };
        if (!this.#emit(options.event, [...args, answer])) fail("offline");
      });
    } finally {
      tidy?.();
    }
  }

  /**
   * Resolves to the snapshot once the state is "online" and no logout is under way. Rejects with a
   * SocketAuthError where nobody is signed in ("signed_out", with the reason in its details) or the
   * client is closed, and with its reason when the signal aborts.
   *
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Snapshot>}
   */
  async ready({ signal } = {}) {
    /** @type {(() => void) | undefined} */
    let undo;
    try {
      return await unlessAborted(signal, (resolve, reject) => {
        const check = () => {
          const { state, reason } = this.snapshot;
          if (this.#session.isClosed) reject(new SocketAuthError("closed"));
          else if (state === "online" && !this.#session.isLoggingOut) resolve(this.snapshot);
          else if (!this.#session.isSignedIn) {
            const code = "signed_out";
            reject(new SocketAuthError(code, undefined, { code, reason }));
          }
        };
        undo = this.subscribe(check);
        check();
      });
    } finally {
      undo?.();
    }
  }

  /**
   * Calls f after each change of the snapshot, before the functions of the event that comes with
   * it. The last one that is heard is that to "offline" when the client is closed. Returns a
   * function that undoes this.
   *
   * @param {() => void} f
   * @returns {() => void}
   */
  subscribe(f) {
    return this.#snapshots.subscribe(f);
  }

  /**
   * Leaves without logging out: the session is there for whoever comes next. The client cannot be
   * used any more: no events come, and the state is "offline" where somebody was signed in.
   */
  close() {
    if (this.#session.isClosed) return;
    this.#session.close(); // whoever has subscribed hears of this, and of nothing after it
    this.#snapshots.close();
  }
}

/**
 * Gives an object bound copies of its class's members: reactive frameworks wrap objects in proxies,
 * which have no private members.
 *
 * @param {object} object
 */
function bindMembers(object) {
  const members = Object.getOwnPropertyDescriptors(Object.getPrototypeOf(object));
  for (const [name, { get, value }] of Object.entries(members)) {
    if (name === "constructor") continue;
    const member = get ? { get: get.bind(object) } : { value: value.bind(object) };
    Object.defineProperty(object, name, { ...member, configurable: true });
  }
}
