// The session: what state it is in, and what follows from each thing that happens to it.
//
// Three rules hold everywhere:
// - Tabs that share a storage take turns. A turn lasts from reading the token to having stored and
//   acknowledged the next one.
// - A token that the server offers is stored before it is acknowledged, and only by the client that
//   still has the turn, in place of the token that it presented. Until the acknowledgement the
//   token before it is good, so whatever fails, the client comes back with that one.
// - A token is removed when the server says that it is dead, and never because a network failed.

import { Binding } from "./binding.js";
import { Connection } from "./connection.js";
import { SocketAuthError } from "./errors.js";
import { PendingLogin } from "./login.js";
import { Logouts } from "./logouts.js";
import { listenToPage, takeCode } from "./page.js";
import { connectionFault, hearAll, makeSocket } from "./socketio.js";
import { TokenStore } from "./storage.js";
import { Backoff, elapsed } from "./time.js";
import { claims, isCode, isSessionToken, sameSession } from "./token.js";
import { Turns } from "./turns.js";

/** @import { Reason, State } from './types.js' */

const LOGOUT_TIMEOUT = 3_000; // ms that a logout waits for the server

export class Session {
  /** @type {State} */
  state;
  /** @type {Reason | undefined} */
  reason; // of the state, if there is something to say
  connection; // the one in use, or being made
  store;
  turns;
  binding;
  presented; // the token presented last, on whichever connection
  newest; // the newest token, when it came, its age by then, and its life, in ms
  observer; // is told of presentations, where requests.js has been loaded
  isClosed = false;
  closing = new AbortController(); // aborts when the client is closed

  #options;
  #handlers;
  #backoff;
  #endReason; // why the session in the storage is over, as the tab that ended it says
  #login; // the latest PendingLogin
  #finishLogout; // resolves the logout that is in progress
  #logouts;

  constructor(options, handlers) {
    const { storage, key, locks, bind } = options;
    this.#options = options;
    this.#handlers = handlers;
    const notice = (code) => queueMicrotask(() => handlers.call("notice", code));
    this.store = new TokenStore(storage, key, notice);
    this.binding = new Binding(bind, notice);
    this.turns = new Turns({ store: this.store, key, locks });
    this.store.reserveTurn = () => this.turns.reserve();
    this.#backoff = new Backoff(options);
    this.#logouts = new Logouts(this, options);
    this.#takeCode();
    this.binding.prepare(this.store.get());
    this.state = this.store.get() || this.store.needsLoad ? "connecting" : "signed-out";
    this.#listen();
    queueMicrotask(() => { // so that a page that listens at once hears the first state too
      if (this.isClosed) return;
      handlers.call("state", this.state, this.reason);
      if (this.state === "connecting" && !this.connection) this.#start();
    });
  }

  /**
   * Connects, if there is a session. The durable copy may have a session that the storage has lost,
   * or know that it was logged out, and an asynchronous storage is yet to be read.
   */
  async #start() {
    if (!this.store.needsLoad) return this.#open();
    const { lost, hasPendingLogouts } = await this.store.load();
    if (this.isClosed) return;
    this.#handlers.changed(); // the token is known
    if (hasPendingLogouts) this.#logouts.send();
    if (this.#finishLogout || this.connection || this.state !== "connecting") return;
    if (lost || this.store.get()) this.#open();
    else this.#signOut();
  }

  get isSignedIn() {
    return this.state !== "signed-out" && this.state !== "expired";
  }

  /** Whether another login was stored and the client is still online with the session before it. */
  get isBehind() {
    const stored = this.store.get();
    const token = this.state === "online" && this.connection?.token;
    return Boolean(stored && token) && stored !== token && !sameSession(stored, token);
  }

  /** Whether a logout is under way: the state is still the one before it. */
  get isLoggingOut() {
    return this.#finishLogout !== undefined;
  }

  #become(state, reason) {
    if (this.isClosed && reason !== "closed") return; // close was the last change
    if (state === this.state && reason === this.reason) return;
    this.state = state;
    this.reason = reason;
    this.#handlers.call("state", state, reason);
  }

  /** Leaves without logging out. It is called once. */
  close() {
    this.isClosed = true;
    this.#handlers.close();
    if (this.isSignedIn) this.#become("offline", "closed");
    this.#finishLogout?.(false);
    this.#login?.fail("closed");
    this.observer?.signedOut("closed");
    this.#logouts.stop();
    this.closing.abort();
    this.#stop();
    this.store.handOver();
  }

  // Logging in and out

  /** Takes a code from the URL's fragment. Returns whether there was one to trade. */
  #takeCode() {
    const code = takeCode(this.#options.fragment);
    // A code of the session that is stored was traded: its link was opened twice. To present it
    // again would look like theft.
    if (!code || sameSession(code, this.store.get())) return false;
    this.store.begin(code);
    return true;
  }

  /**
   * Trades the code of a login. It is stored where its tokens will be: so it survives a reload, and
   * any tab may trade it in its turn. Resolves when the server has let the session in.
   */
  begin(code) {
    this.store.begin(code);
    this.#endReason = this.newest = undefined;
    this.#backoff.reset();
    const loggedIn = this.awaitLogin(code);
    this.#connect();
    return loggedIn;
  }

  /** Resolves when the server has let in the session that a code begins. */
  awaitLogin(code) {
    this.#login?.fail("replaced");
    this.#login = new PendingLogin(code);
    return this.#login.promise;
  }

  /** Ends the session. Resolves to whether the server has said that it is over. */
  async logout() {
    const { lost } = this.store.needsLoad ? await this.store.load() : {};
    if (this.isClosed) throw new SocketAuthError("closed");
    // Not the code that may be stored: a code ends no session, and expires by itself.
    const token = this.store.replaced || this.store.get() || lost;
    const { socket, presented } = this.state === "online" && this.connection || {};
    if (this.#finishLogout || !token && !socket) return false;
    // The storage is cleared first: whatever becomes of the rest, nobody is signed in here.
    const remembered = this.store.clear("logged_out");
    let timer, outcome;
    const told = await new Promise((resolve) => {
      this.#finishLogout = resolve;
      timer = setTimeout(resolve, LOGOUT_TIMEOUT, false);
      if (socket && (!token || sameSession(token, presented))) {
        socket.emit("logout");
      } else {
        this.#stop();
        this.#logouts.end(token).then((result) => {
          outcome = result;
          resolve(result.told);
        });
      }
    });
    clearTimeout(timer);
    await remembered;
    this.#finishLogout = undefined;
    if (this.store.get()) this.#connect(); // somebody has logged in meanwhile
    else this.#signOut(told ? "logged_out" : "logged_out_here");
    this.#logouts.note(token || presented, outcome ?? { settled: told });
    return told;
  }

  #signOut(reason) {
    this.#stop();
    this.#login?.fail(reason ?? "elsewhere");
    this.observer?.signedOut(reason ?? "elsewhere");
    this.store.forget(this.presented);
    this.#become(reason === "token_expired" ? "expired" : "signed-out", reason);
  }

  /** Returns why there is nothing to present any more, where the server has not told this tab. */
  #whySignedOut() {
    if (this.store.hasMoved) return "storage_full";
    if (this.#endReason) return this.#endReason;
    const hasExpired = this.newest && elapsed(this.newest.since) >= this.newest.life;
    return hasExpired ? "token_expired" : "elsewhere";
  }

  // Connecting

  #connect() {
    if (this.isClosed || this.#finishLogout) return;
    this.#become("connecting");
    this.#open();
  }

  /** Opens a connection, when it is this tab's turn, and after the one before is closed. */
  async #open() {
    if (this.isClosed || this.#finishLogout) return;
    this.#stop();
    const fault = connectionFault(this.#options);
    if (fault) return this.#become("offline", fault);
    const connection = this.connection = new Connection();
    if (!await this.#takeTurn(connection)) return;
    const socket = makeSocket(this.#options, (give) => this.#present(connection, give));
    const emit = (data) => socket.emit("authenticate", data);
    const handlers = {
      connect: () => { if (!socket.auth) this.#present(connection, emit); }, // clients 2.x
      authenticated: (token, acknowledge) => this.#offered(connection, token, acknowledge),
      unauthorized: (refusal) => this.refused(connection, refusal),
      rotated: () => this.#rotated(connection),
      refresh: () => this.refresh(),
      logged_out: () => this.#loggedOut(connection),
    };
    const lost = (reason) => this.#lost(connection, reason);
    connection.use(socket, handlers, lost, () => connection === this.connection);
    hearAll(socket, (...event) => {
      if (connection === this.connection) this.#handlers.serve(...event);
    });
    socket.connect();
  }

  /**
   * Takes the turn for a presentation, which ends with the answer or with the connection. Resolves
   * to whether the connection has it and is still the one in use.
   */
  async #takeTurn(connection) {
    const restore = () => this.store.restore();
    const lost = (reason) => this.#lost(connection, reason);
    if (!await connection.takeTurn(this.turns, restore, lost)) return false;
    this.#handlers.changed();
    return connection === this.connection;
  }

  /** Gives what to present now, read afresh, to give: at once, unless it takes a proof. */
  async #present(connection, give) {
    for (let proved, proof; ;) {
      // A connection that took long to open, or its proof, has given the turn back.
      if (!connection.turn && !await this.#takeTurn(connection)) return;
      const token = this.#toPresent(connection);
      if (!token) return;
      if (token === proved || !this.binding.isProved(token)) {
        connection.present(this.presented = token);
        const proven = token === proved ? proof : undefined; // not that of the token before
        give({ token, confirm: true, ...proven, ...this.observer?.presenting(connection) });
        return;
      }
      try {
        proof = await this.binding.prove(token, connection.socket);
      } catch ({ code = "bad_answer" }) {
        if (connection !== this.connection || this.#finishLogout) return;
        connection.present(token);
        return this.refused(connection, { code, message: code, terminal: code === "key_lost" });
      }
      proved = token;
    }
  }

  /** Returns the token to present now; undefined: nothing on this connection. */
  #toPresent(connection) {
    if (connection !== this.connection || this.#finishLogout) return undefined;
    const token = this.store.get();
    if (!token) {
      this.#signOut(this.#whySignedOut());
    } else if (!connection.turn?.held()) { // while this tab slept, another took its turn
      this.#lost(connection, "overtaken");
    } else if (connection.presented && !sameSession(connection.presented, token)) {
      this.#connect(); // someone else has logged in
    } else {
      return token;
    }
    return undefined;
  }

  // What the server says

  /** The server offers the next token. */
  #offered(connection, token, acknowledge) {
    if (this.#finishLogout) return;
    if (!isSessionToken(token)) throw new SocketAuthError("bad_answer");
    const { turn, presented } = connection;
    if (!turn?.held() || this.store.get() !== presented) {
      // Another tab came first, or the user logged out. An offer that is not acknowledged counts
      // for nothing.
      this.#lost(connection, "overtaken");
      return;
    }
    const { replaced } = this.store;
    const isDue = () => connection.turn === turn && !this.#finishLogout;
    const isHeld = (expected) => turn.held() && this.store.get() === expected;
    const stored = this.store.keep(token, () => isDue() && isHeld(presented));
    if (!stored) return this.stored(connection, token, replaced, acknowledge);
    stored.then((isDurable) => {
      if (!isDue()) return;
      if (!isHeld(token)) this.#lost(connection, "overtaken");
      else this.stored(connection, token, replaced, acknowledge, isDurable);
    });
  }

  /** The next token is stored, in place of what was presented on this connection or without one. */
  stored(connection, token, replaced, acknowledge, isDurable = false) {
    acknowledge?.(); // until now the token before it was good, and this one is from now on
    if (replaced && !sameSession(replaced, token)) this.#logouts.endReplaced(replaced);
    this.#endReason = undefined;
    const wasOnline = connection.isOnline;
    this.newest = connection.tokenStored(token, isDurable);
    const isCurrent = () => connection === this.connection;
    if (!isCurrent()) return this.#handlers.changed();
    this.#become("online");
    if (wasOnline && isCurrent()) this.#handlers.call("notice", "renewed");
    if (isCurrent()) this.#login?.awaitDecision(connection.socket, token, isCurrent);
    this.observer?.stored(connection);
    this.#checkRenewal();
  }

  /** The token presented is refused, on this connection or without a socket; or has no proof. */
  refused(connection, refusal) {
    const { presented } = connection;
    if (typeof refusal.code !== "string") refusal = { ...refusal, code: "bad_answer" };
    // A code that comes without a proof comes without one next time, too.
    if (refusal.code === "proof_required" && isCode(presented)) {
      refusal = { ...refusal, terminal: true };
    }
    connection.refusal = refusal;
    this.store.refused(presented, refusal);
    connection.endTurn();
    const hasSocket = connection === this.connection;
    if (hasSocket && this.#finishLogout) return this.#finishLogout(false);
    if (this.#login?.isOf(presented)) this.#login.refused(refusal);
    this.observer?.refused(connection, refusal);
    this.#handlers.call("notice", "refused", refusal);
    if (!hasSocket && !this.store.get() && this.isSignedIn) this.#signOut(refusal.code);
    if (connection !== this.connection) return;
    if (this.state !== "online" || refusal.terminal) return this.#lost(connection, refusal.code);
    // The connection goes on, or the server is about to end it, which stops the renewal.
    connection.renewAfter(this.#backoff.afterRefusal(refusal));
    connection.isOutdated = false;
    this.#backoff.failures++;
    this.#checkRenewal();
  }

  /** Another socket of the session has a newer token. It, or another session's, is stored. */
  #rotated(connection) {
    const stored = this.store.get();
    this.#handlers.call("notice", "rotated");
    const { presented } = connection;
    if (connection !== this.connection || !stored || !presented) return;
    this.#follow(stored);
  }

  /**
   * Presents what another tab has stored: the token of another session on another connection, and
   * that of a user who has proved who they are again on the one that is there.
   */
  #follow(stored) {
    const { presented, token } = this.connection;
    if (!sameSession(stored, presented)) this.#connect();
    else if (token && claims(stored).auth_time > claims(token).auth_time) this.refresh();
  }

  /** The session is over, because of a logout here, in another tab or by another client. */
  #loggedOut(connection) {
    if (this.#finishLogout) return this.#finishLogout(true);
    const stored = this.store.get();
    if (!stored || sameSession(stored, connection.presented)) {
      this.store.clear("logged_out");
      this.#signOut("logged_out");
    } else {
      this.#connect();
    }
  }

  /** The connection is over. Comes back if there is anything to come back with. */
  #lost(connection, reason) {
    if (connection !== this.connection) return;
    if (this.#finishLogout) return this.#finishLogout(false);
    this.#stop();
    const why = connection.refusal?.code ?? this.#whySignedOut();
    if (this.store.get()) return this.#comeBack(connection, reason);
    if (!this.store.needsLoad) return this.#signOut(why);
    // What was refused may be the token of an earlier session than the durable copy has.
    this.store.load().then(({ lost }) => {
      if (this.isClosed || this.#finishLogout || this.connection || !this.isSignedIn) return;
      if (lost || this.store.get()) this.#comeBack(connection, reason);
      else this.#signOut(why);
    });
  }

  /** Connects again later. */
  #comeBack({ refusal, isStable }, reason) {
    if (isStable) this.#backoff.failures = 0;
    this.#backoff.retry(refusal, () => this.#open());
    const why = reason === "io server disconnect" ? refusal?.code : undefined;
    this.#become("offline", why ?? reason);
  }

  /** Ends the connection, and stops the timer of the next one. */
  #stop() {
    const { connection } = this;
    this.connection = undefined;
    this.#backoff.cancel();
    connection?.close();
  }

  // Renewal

  /** Asks for the next token, if it is time by the clocks; or looks again later. */
  #checkRenewal() {
    const { connection } = this;
    if (this.state !== "online" || this.#finishLogout) return;
    if (this.isBehind) return this.#connect();
    connection?.watchRenewal(() => {
      if (this.state === "online" && !this.#finishLogout) this.#renew(connection);
    });
  }

  /**
   * Presents the token on the connection that is there, also if it is not to be replaced yet and if
   * a presentation is in progress: that may have begun too early.
   */
  refresh() {
    const { connection } = this;
    if (!connection) return;
    connection.isOutdated = true;
    this.#checkRenewal();
  }

  /** Asks for the next token on the connection that is there. */
  async #renew(connection) {
    connection.renewAfter(undefined);
    if (!await this.#takeTurn(connection)) return;
    await this.#present(connection, (data) => connection.socket.emit("authenticate", data));
  }

  // The page and its other tabs

  #listen() {
    listenToPage(this.closing.signal, {
      storage: ({ storageArea, key, newValue }) => {
        if (storageArea !== this.store.shared || this.store.inMemory) return;
        if (key === this.store.endKey) this.#endReason = newValue || this.#endReason;
        else if (this.store.keys.includes(key)) this.#storageChanged();
      },
      hashchange: () => { if (this.#takeCode()) this.#connect(); },
      online: () => this.#wake(),
      visibilitychange: () => { if (document.visibilityState === "visible") this.#wake(); },
      // A page that is left may come back as it was. Meanwhile it has no connection and no turn.
      pagehide: () => {
        this.#stop();
        this.store.suspend();
      },
      pageshow: ({ persisted }) => {
        if (!persisted) return;
        this.store.resume();
        if (this.store.get() || this.store.needsLoad) this.#connect();
        else if (this.isSignedIn) this.#signOut(this.#whySignedOut());
      },
    });
  }

  /** Another tab has logged in, logged out, or has a newer token. */
  #storageChanged() {
    if (this.#finishLogout || this.store.inMemory || this.store.hasMoved) return;
    const stored = this.store.get();
    const presented = this.connection?.presented;
    if (!stored) {
      if (this.isSignedIn && !this.store.needsLoad) this.#signOut(this.#whySignedOut());
    } else if (!this.isSignedIn) {
      this.#connect();
    } else if (presented) {
      this.#follow(stored);
    }
    this.#handlers.changed();
  }

  /** The tab is visible again, or the network is back. */
  #wake() {
    this.#storageChanged(); // a tab that was frozen may have missed it
    this.#checkRenewal();
    if (this.#backoff.isAllowed) this.#open();
    this.#logouts.wake();
  }
}
