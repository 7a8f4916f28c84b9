// The client's half of signing in: trades the code of a login for a session token, keeps the newest token in storage,
// presents it at each connect, has it replaced before it expires, and logs out.
//
// The server replaces a token once the client has confirmed that it has stored the next one. Presentations take turns:
// one at a time among all tabs that share the storage, each with the token that it finds there when its turn comes.

import { Socket } from "./socketio.js";

const KEY = "socketauth.token";
const TURN = "socketauth.presentation"; // the Web Lock that is held for the length of a presentation
const ANSWER_TIMEOUT = 20_000; // ms until a presentation's connection is given up
const LOGOUT_TIMEOUT = 3_000; // ms that a log-out waits for the server
const MAX_RETRY_DELAY = 30_000;
const MAX_TIMER = 2 ** 31 - 1; // browsers take a longer one for none

/** Refusals after which no token of the session is good, whichever was presented. */
const sessionIsOver = ["token_reused", "session_revoked"];

/**
 * @typedef {"signed-out" | "connecting" | "online" | "offline"} State
 *   connecting: for the first time; offline: the connection is lost, and it goes on trying.
 */

export class Session {
  /** @type {State | undefined} undefined until resume() or begin() */
  state;

  /** The connection, for the app's own events: on, emit, emitWithAck. */
  socket;

  #storage;
  #locks;
  #changed;
  #code = null; // of a login, until it is traded
  #presented = null; // the token that was presented last
  #refusal; // what the server said against it
  #refusals = 0; // in a row
  #ended; // AbortSignal of the connection
  #endTurn = () => {};
  #renewal; // timer of the next renewal
  #retry; // timer of the next connect after a refusal
  #leaving; // timer of a log-out

  /**
   * @param {string | URL} url
   * @param {object} options the rest are those of Socket
   * @param {(state: State, reason?: string) => void} options.changed hears of each new state. The reason of signed-out
   *   is the code of a refusal, "logged_out", "logged_out_here" where the server did not confirm it, or "elsewhere"
   *   where another tab did it; there is none where nobody was signed in.
   * @param {Storage} [options.storage] localStorage
   * @param {LockManager} [options.locks] browsers have none on pages that came over plain http from another host
   */
  constructor(url, { changed, storage = globalThis.localStorage, locks = globalThis.navigator?.locks, ...rest }) {
    this.#changed = changed;
    this.#storage = storage;
    this.#locks = locks;
    this.socket = new Socket(url, { ...rest, auth: (ended) => this.#introduce(ended) })
      .on("authenticated", (token, stored) => this.#accepted(token, stored))
      .on("unauthorized", (refusal) => this.#refused(refusal))
      .on("logged_out", () => this.#forget("logged_out"))
      .on("disconnect", (reason) => this.#disconnected(reason))
      .on("connect_error", () => this.#become("offline"));
  }

  /** Goes on with the stored token, if there is one. */
  resume() {
    if (this.#stored) this.#connect();
    else this.#signOut();
  }

  /** Begins a session with the code that a login or registration answered. */
  begin(code) {
    this.#code = code;
    this.#connect();
  }

  /** Ends the session, for all its tabs. Where the server cannot be reached, at least nothing is left here. */
  logOut() {
    if (this.socket.emit("logout", this.#stored)) {
      this.#leaving = setTimeout(() => this.#forget("logged_out_here"), LOGOUT_TIMEOUT);
    } else {
      this.#forget("logged_out_here");
    }
  }

  /** To be called at the window's event "storage": another tab has changed it. */
  storageChanged() {
    const stored = this.#stored;
    if (this.state === "signed-out") {
      if (stored) this.#connect();
    } else if (!stored) {
      if (!this.#code) this.#signOut("elsewhere");
    } else if (this.state === "online" && !sameSession(stored, this.#presented)) {
      this.#connectAnew(); // someone else logged in there
    }
  }

  /** To be called at the window's event "online": the network is back. */
  networkChanged() {
    if (this.state !== "offline") return;
    clearTimeout(this.#retry);
    this.socket.connect();
  }

  get #stored() {
    return this.#storage.getItem(KEY);
  }

  /** The first presentation on a connection. */
  async #introduce(ended) {
    this.#ended = ended;
    await this.#takeTurn();
    this.#refusal = undefined;
    this.#presented = this.#code ?? this.#stored;
    if (!this.#presented) {
      this.#signOut("elsewhere");
      throw new Error("signed out");
    }
    return { token: this.#presented, confirm: true };
  }

  /** One more, on the same connection, before the token expires. */
  async #renew() {
    try {
      await this.#takeTurn();
    } catch {
      return; // the connection has ended
    }
    const stored = this.#stored;
    if (!stored) {
      this.#signOut("elsewhere");
    } else if (!sameSession(stored, this.#presented)) {
      this.#connectAnew();
    } else {
      this.#presented = stored;
      this.socket.emit("authenticate", { token: stored, confirm: true });
    }
  }

  /** Waits for the right to present a token. It ends with the answer, or with the connection. */
  async #takeTurn() {
    const ended = this.#ended;
    let release = () => {};
    if (this.#locks) {
      await new Promise((granted, failed) => {
        const hold = () => new Promise((done) => granted((release = done)));
        this.#locks.request(TURN, { signal: ended }, hold).catch(failed);
      });
    }
    const timer = setTimeout(() => this.#connectAnew(), ANSWER_TIMEOUT);
    const endTurn = () => {
      clearTimeout(timer);
      release();
    };
    if (ended.aborted) endTurn(); // while the turn was given
    ended.throwIfAborted();
    ended.addEventListener("abort", endTurn, { once: true });
    this.#endTurn = endTurn;
  }

  #accepted(token, stored) {
    this.#storage.setItem(KEY, token);
    stored(); // until now the token before it was good, and this one is from now on
    this.#code = null;
    this.#endTurn();
    this.#refusals = 0;
    const { dur } = claims(token); // seconds of life: unlike "exp" it needs no clock that agrees with the server's
    if (dur > 2) this.#renewIn(dur * 1000 * 0.8); // less is the end of the longest that a session may live
    this.#become("online");
  }

  #refused(refusal) {
    this.#refusal = refusal;
    this.#endTurn();
    if (refusal.terminal) this.#drop(refusal.code);
    else if (this.state === "online") this.#renewIn(this.#retryDelay()); // if it disconnects, the timer is stopped
  }

  /** Throws a dead token away, but not one that another tab has put in its place. */
  #drop(code) {
    if (this.#code === this.#presented) this.#code = null;
    const stored = this.#stored;
    if (stored === this.#presented || sessionIsOver.includes(code) && sameSession(stored, this.#presented)) {
      this.#storage.removeItem(KEY);
    }
  }

  #disconnected(reason) {
    clearTimeout(this.#renewal);
    if (reason === "io client disconnect") return;
    if (reason === "io server disconnect") { // the socket comes back from all others by itself
      if (!this.#code && !this.#stored) {
        this.#signOut(this.#refusal?.code);
        return;
      }
      this.#retry = setTimeout(() => this.socket.connect(), this.#retryDelay());
    }
    this.#become("offline");
  }

  #retryDelay() {
    const atLeast = (this.#refusal?.retryAfter ?? 0) * 1000;
    const delay = Math.min(MAX_RETRY_DELAY, 500 * 2 ** this.#refusals++);
    return Math.max(atLeast, delay * (1 + Math.random()) / 2);
  }

  #renewIn(ms) {
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(() => this.#renew(), Math.min(ms, MAX_TIMER));
  }

  #connect() {
    this.#become("connecting");
    this.socket.connect();
  }

  #connectAnew() {
    this.socket.close();
    this.#become("offline");
    this.socket.connect();
  }

  #forget(reason) {
    this.#storage.removeItem(KEY);
    this.#signOut(reason);
  }

  #signOut(reason) {
    for (const timer of [this.#renewal, this.#retry, this.#leaving]) clearTimeout(timer);
    this.#code = this.#presented = null;
    this.socket.close();
    this.#become("signed-out", reason);
  }

  #become(state, reason) {
    if (state === this.state) return;
    this.state = state;
    this.#changed(state, reason);
  }
}

/** What a token says, unverified: that is the server's to do. */
function claims(token) {
  try {
    const base64 = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

function sameSession(a, b) {
  const { sid } = claims(a);
  return sid !== undefined && sid === claims(b).sid;
}
