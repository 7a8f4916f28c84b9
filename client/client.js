// What a page calls.

import { SocketAuthError } from "./errors.js";
import { ANY, checkName, Handlers, once } from "./events.js";
import { postCredentials, readAnswer } from "./login.js";
import { serverURL } from "./page.js";
import { Session } from "./session.js";
import { Snapshots } from "./snapshot.js";
import { connectionFault } from "./socketio.js";
import { unlessAborted } from "./time.js";
import { isSessionToken } from "./token.js";

const REPLY_TIMEOUT = 10_000; // ms for an acknowledgement
const MAX_TIMEOUT = 2 ** 31 - 1; // ms that a timer can hold

/** A page's client. socketauth.d.ts has its types. */
export class Client {
  #options;
  #handlers = new Handlers();
  #session;
  #snapshots;
  #requests;

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
    this.#handlers.changed = () => this.#snapshots.update();
    bindMembers(this);
  }

  /**
   * Returns state, reason, user, claims, shared and bound as they are now. It is frozen, and the
   * same object until one of them changes.
   */
  get snapshot() {
    return this.#snapshots.current;
  }

  /** Returns "signed-out", "connecting", "online", "offline" or "expired". */
  get state() {
    return this.snapshot.state;
  }

  /** Returns why the client is in its state, if there is something to say. */
  get reason() {
    return this.snapshot.reason;
  }

  /**
   * Reports whether other tabs, and this page when it is opened again, share the session: not where
   * the storage fails.
   */
  get shared() {
    return this.snapshot.shared;
  }

  /**
   * Reports whether the session is bound to this device, so that its token is worth nothing
   * elsewhere.
   */
  get bound() {
    return this.snapshot.bound;
  }

  /** Returns the user's id, or null where nobody is signed in. */
  get user() {
    return this.snapshot.user;
  }

  /**
   * Returns the claims that the app has put in the token, or null where nobody is signed in. They
   * are frozen, and the same object until they change.
   */
  get claims() {
    return this.snapshot.claims;
  }

  /**
   * Returns the newest session token, for HTTP requests: "Authorization: Bearer ". It changes, so
   * read it for each request. It is null until the client knows that the session was not logged
   * out, some milliseconds after the page was opened.
   */
  get token() {
    const { store } = this.#session;
    const token = store.isChecked ? store.get() : null;
    return isSessionToken(token) ? token : null;
  }

  /**
   * Logs in. Resolves when the server has let the new session in: the state is "online". Rejects
   * with a SocketAuthError when the login is refused, or is not in after 20 seconds.
   */
  login(credentials) {
    return this.#submit(this.#options.loginPath, credentials);
  }

  /** Registers, and logs in with that. */
  register(credentials) {
    return this.#submit(this.#options.registerPath, credentials);
  }

  async #submit(path, credentials) {
    const { url } = this.#options;
    this.#checkOpen();
    const fault = connectionFault(this.#options);
    if (fault) throw new SocketAuthError(fault);
    const { binding } = this.#session;
    const request = (url, init) => binding.fetchLogin(url, init);
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
   */
  async logout() {
    this.#checkOpen();
    return this.#session.logout();
  }

  /**
   * Proves again who the user is, by credentials or by a step-up code, and keeps the session.
   * Resolves when the server has taken it for the session's last proof.
   */
  async reauthenticate(proof) {
    return (await this.#loadRequests()).reauthenticate(proof);
  }

  /**
   * Resolves to a token that lives for minValidity seconds more, or to null where nobody is signed
   * in. It needs no socket where the server has a TokenPath.
   */
  async getToken(options) {
    return (await this.#loadRequests()).getToken(options);
  }

  /**
   * Does what fetch does, at the server only and with the token. A request that is refused because
   * the token has expired or its claims have changed is repeated once, with the next token.
   */
  async fetch(input, init) {
    return (await this.#loadRequests()).fetch(input, init);
  }

  async #loadRequests() {
    this.#checkOpen();
    let module;
    try {
      module = await import("./requests.js");
    } catch {
      throw new SocketAuthError("network");
    }
    this.#checkOpen();
    return this.#requests ??= new module.Requests(this.#session, this.#options);
  }

  #checkOpen() {
    if (this.#session.isClosed) throw new SocketAuthError("closed");
  }

  /**
   * Calls f at an event: one of the server's, "state" (state, reason) or "notice" (code, details).
   * Returns a function that undoes this.
   */
  on(event, f) {
    checkName(event);
    this.#handlers.add(event, f);
    return () => this.off(event, f);
  }

  /** Calls f the first time that an event comes. Returns a function that undoes this. */
  once(event, f) {
    const undo = this.on(event, once(f, () => undo()));
    return undo;
  }

  /**
   * Calls f with the name and the arguments of each event that the server sends, also of those that
   * have functions of their own. Returns a function that undoes this.
   */
  onAny(f) {
    return this.on(ANY, f);
  }

  /** Undoes on and once. */
  off(event, f) {
    this.#handlers.remove(event, f);
  }

  /**
   * Sends an event. Returns whether there was a connection to send it on: nothing is kept for
   * later. A function as the last argument is called with the server's reply.
   */
  emit(event, ...args) {
    checkName(event);
    const { state, connection } = this.#session;
    if (state !== "online" || !connection) return false; // a page that is left has no connection
    connection.socket.emit(event, ...args);
    return true;
  }

  /**
   * Sends an event and resolves to the server's reply. Rejects where that is an error, or where
   * none comes within timeout ms, or when the signal aborts. event is a name or
   * { event, timeout, signal }.
   */
  async emitWithAck(event, ...args) {
    const options = typeof event === "object" ? event : { event };
    const { timeout = REPLY_TIMEOUT, signal } = options;
    const { waiting } = this.#session.connection ?? { waiting: new Set() };
    let timer, fail;
    try {
      return await unlessAborted(signal, (resolve, reject) => {
        fail = (code, details) => {
          reject(new SocketAuthError(code, details?.retryAfter, details));
        };
        waiting.add(fail);
        timer = setTimeout(fail, Math.min(timeout, MAX_TIMEOUT), "no_reply");
        const sent = this.emit(options.event, ...args, (reply) => {
          if (reply?.error?.code) fail(reply.error.code, reply.error);
          else resolve(reply);
        });
        if (!sent) fail("offline");
      });
    } finally {
      clearTimeout(timer);
      waiting.delete(fail);
    }
  }

  /**
   * Resolves to the snapshot once the state is "online". Rejects with "signed_out" where nobody is
   * signed in, with "closed", or when the signal aborts.
   */
  async ready({ signal } = {}) {
    let undo;
    try {
      return await unlessAborted(signal, (resolve, reject) => {
        const check = () => {
          const { state, reason } = this.snapshot;
          const fail = (code, details) => reject(new SocketAuthError(code, undefined, details));
          if (this.#session.isClosed) fail("closed");
          else if (state === "online") resolve(this.snapshot);
          else if (!this.#session.isSignedIn) fail("signed_out", { code: "signed_out", reason });
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
   * it. Returns a function that undoes this.
   */
  subscribe(f) {
    return this.#snapshots.subscribe(f);
  }

  /**
   * Leaves without logging out: the session is there for whoever comes next. The client cannot be
   * used any more.
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
 */
function bindMembers(object) {
  const members = Object.getOwnPropertyDescriptors(Object.getPrototypeOf(object));
  for (const [name, { get, value }] of Object.entries(members)) {
    if (name === "constructor") continue;
    const member = get ? { get: get.bind(object) } : { value: value.bind(object) };
    Object.defineProperty(object, name, { ...member, configurable: true });
  }
}
