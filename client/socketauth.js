// socketauth: a page's half of signing in. It trades the code of a login for a session token, keeps the newest token in
// storage, presents it at each connect, has it replaced before it expires, and logs out; in as many tabs as there are.
//
//   const client = connect({ url: "https://app.example" });
//   client.on("state", (state, reason) => render(state, reason));
//   await client.login({ username, password });
//   console.log(await client.emitWithAck("hello"));
//
// Three rules carry all the rest:
// - Tabs that share a storage take turns. A turn lasts from reading the token to having stored and acknowledged the next.
// - What was offered is stored before it is acknowledged, and only by who still has the turn, in place of what it
//   presented. Until it is acknowledged the token before it is good, so every way to fail ends in coming back with that.
// - A token is thrown away when the server calls it dead, and never since a network failed.

const PATIENCE = 20_000; // ms from having the turn to the answer; then the connection is given up
const STUCK = 60_000; // ms of waiting for the turn; then whoever has it is taken for frozen
const SEEN = 50; // ms in which other tabs see what was stored: in Chromium a lock may be passed on faster than that
const ADMISSION_TIMEOUT = 20_000; // ms from the code of a login to being let in
const REMEMBERED = 8; // sessions whose end the server knows of that are remembered as ended
const LOGIN_PATIENCE = 60_000; // ms for the answer to credentials: the server may have to ask others
const LOGOUT_PATIENCE = 3_000; // ms that a log-out waits for the server
const REPLY_PATIENCE = 10_000; // ms for an acknowledgement
const DISK_PATIENCE = 1_000; // ms that the disk has to take a token, or to give it
const STORAGE_TIMEOUT = 5_000; // ms that an asynchronous storage has to read or to write
const LOOK = 30_000; // ms between looks at the clocks: no timer counts while a machine sleeps
const LONGEST = 86_400; // s to wait at most, whatever is said: no timer holds more than some weeks
const STEADY = 10_000; // ms online after which a connection counts as one that works

/** Refusals after which no token of the session is good, whichever was presented. */
const sessionIsOver = ["token_reused", "session_revoked"];

/** Events of a socket that are not the page's: they are heard here, or are the connection's own. */
const reserved = ["authenticate", "authenticated", "unauthorized", "rotated", "logout", "logged_out",
  "connect", "connect_error", "connect_timeout", "disconnect", "disconnecting", "error", "connecting", "ping", "pong",
  "reconnect", "reconnecting", "reconnect_attempt", "reconnect_error", "reconnect_failed"];
const own = ["state", "notice"];

/** Refusals that a login waits out, where the server does not say to come back too late for it. */
const passing = ["unavailable", "too_many_attempts", "too_many_connections", "timeout", "no_longer_valid"];

/**
 * An event that no server handles. The server answers it after deciding about what was sent before
 * it.
 */
const PROBE = "socketauth:probe";

/** Makes a client. It begins at once: with a code in the URL's fragment, or else with the token in the storage. */
export function connect(options) {
  return new Client(options);
}

/** The messages of codes that are for the page's author. Other errors have the code as message. */
const explanations = {
  no_url: "socketauth: there is no page here whose server could be meant: call connect with a url",
  no_websocket: "socketauth: there is no WebSocket here: call connect with one, as the package ws has, or with io",
  bad_answer: "socketauth: the answer is none of socketauth's: is the path right, and does the server have that route?",
};

/** Why something was not done: its code is the server's, or one of this file's. */
export class SocketAuthError extends Error {
  constructor(code, retryAfter) {
    super(explanations[code] ?? code);
    this.name = "SocketAuthError";
    this.code = code;
    this.retryAfter = retryAfter; // seconds, where the server said
  }
}

export class Client {
  #options;
  #vault;
  #takeTurn; // (signal) => Promise<{ held(): boolean, end(): void }>
  #handlers = new Map(); // event to Set of functions
  #listening = new AbortController(); // to the window
  #state;
  #reason;
  #link; // the connection in use, or being made: see #open
  #renewal; // timer of the next look at the clocks
  #retry; // timer of the next connection
  #endReason; // why the session in the storage is over, as the tab that ended it says
  #newest; // when the newest token came, and how long it lives: { since, life }
  #presented; // the token presented last, on whichever connection
  #logouts; // those that the server does not know of yet
  #notBefore = 0; // when the server lets it come back, by performance.now()
  #failures = 0; // in a row
  #leaving; // resolves the log-out that is going on
  #admission; // the latest login, on its way in
  #closed = false;

  constructor({
    url = "", io, storage, locks, WebSocket, transport,
    key = "socketauth.token", loginPath = "/login", registerPath = "/register", path = "/socket.io/", fragment = "code",
    minDelay = 1_000, maxDelay = 30_000,
  } = {}) {
    if (io && typeof io !== "function") throw new TypeError("socketauth: io is not socket.io-client's function");
    url = serverURL(url);
    this.#options = { url, io, WebSocket, transport, key, loginPath, registerPath, path, fragment, minDelay, maxDelay };
    if (locks === undefined) locks = attempt(() => globalThis.navigator.locks);
    const notice = (code) => queueMicrotask(() => this.#call("notice", code));
    this.#vault = new Vault(storage, key, notice);
    const { shared } = this.#vault;
    locks ??= this.#vault.locks;
    const mutex = shared && !locks ? new Mutex(shared, key + ".turn") : undefined;
    this.#vault.reserve = () => !mutex || mutex.reserve();
    this.#takeTurn = (signal) => {
      if (this.#vault.alone) return { held: () => true, end: () => {} };
      return mutex ? mutex.acquire(signal) : acquireInOrder(locks, key, signal);
    };
    bindMembers(this);
    this.#logouts = new PendingLogouts({
      store: this.#vault,
      revoke: (token) => this.#revoke(token),
      delay: (failures) => this.#backoff(failures),
      oneTab: (send) => locks ? locks.request(`socketauth:${key}.ended`, { ifAvailable: true }, send) : send(),
    });
    this.#takeCode();
    this.#state = this.#vault.get() || this.#vault.pending ? "connecting" : "signed-out";
    this.#listen();
    queueMicrotask(() => { // so that a page that listens from the start hears the first state too
      if (this.#closed) return;
      this.#call("state", this.#state, this.#reason);
      if (this.#state === "connecting" && !this.#link) this.#start();
    });
  }

  /**
   * Connects, if there is a session: the durable copy may have what the browser lost, or know that
   * it was logged out, and an asynchronous storage has yet to say what it has.
   */
  async #start() {
    if (!this.#vault.pending) return this.#open();
    const { lost, untold } = await this.#vault.load();
    if (this.#closed) return;
    if (untold) this.#logouts.send();
    if (this.#leaving || this.#link || this.#state !== "connecting") return;
    if (lost || this.#vault.get()) this.#open();
    else this.#signOut();
  }

  /** "signed-out", "connecting", "online", "offline" or "expired". */
  get state() {
    return this.#state;
  }

  get #isIn() {
    return this.#state !== "signed-out" && this.#state !== "expired";
  }

  /** Why it is in that state, where there is something to say. */
  get reason() {
    return this.#reason;
  }

  /** Whether other tabs, and this page when it is opened again, share the session: no, where the storage fails. */
  get shared() {
    return !this.#vault.alone;
  }

  /**
   * The newest session token, for HTTP requests: "Authorization: Bearer ". Read it for each
   * request: it changes. It is null until it is known that the session was not logged out, some
   * milliseconds after the page was opened.
   */
  get token() {
    const token = this.#vault.known ? this.#vault.get() : null;
    return isToken(token) ? token : null;
  }

  /**
   * Logs in. Resolves when the server has let the new session in: the state is "online". Rejects
   * with a SocketAuthError when it is refused, or is not in after 20 seconds.
   */
  login(credentials) {
    return this.#submit(this.#options.loginPath, credentials);
  }

  /** Registers, and logs in with that. */
  register(credentials) {
    return this.#submit(this.#options.registerPath, credentials);
  }

  /**
   * Ends the session, for all its tabs. Resolves to whether the server has said that it is over;
   * here it is in any case, also for a browser that is killed once this has resolved. Where the
   * server could not be told, it is told later, by this page or by the next that is opened.
   */
  async logout() {
    if (this.#closed) throw new SocketAuthError("closed");
    const { lost } = this.#vault.pending ? await this.#vault.load() : {};
    if (this.#closed) throw new SocketAuthError("closed");
    // A code ends no session, and dies by itself.
    const token = this.#vault.replaced || this.#vault.get() || lost;
    const { socket, presented } = this.#state === "online" && this.#link || {};
    if (this.#leaving || !token && !socket) return false;
    // First: whoever opens the page next finds nothing, whatever becomes of the rest.
    const remembered = this.#vault.clear("logged_out");
    let patience, outcome;
    const told = await new Promise((resolve) => {
      this.#leaving = resolve;
      patience = setTimeout(resolve, LOGOUT_PATIENCE, false);
      if (socket && (!token || sameSession(token, presented))) {
        socket.emit("logout");
      } else {
        this.#stop();
        this.#revoke(token).then((result) => {
          outcome = result;
          resolve(result.told);
        });
      }
    });
    clearTimeout(patience);
    await remembered;
    this.#leaving = undefined;
    if (this.#vault.get()) this.#connect(); // somebody has logged in meanwhile
    else this.#signOut(told ? "logged_out" : "logged_out_here");
    this.#noteEnd(token || presented, outcome ?? { settled: told });
    return told;
  }

  /** Calls f at an event: one of the server's, "state" (state, reason) or "notice" (code, details). Gives its undoing. */
  on(event, f) {
    if (reserved.includes(event)) throw new SocketAuthError(`reserved event: ${event}`);
    if (!this.#handlers.has(event)) {
      this.#handlers.set(event, new Set());
      this.#attach(this.#link, event);
    }
    this.#handlers.get(event).add(f);
    return () => this.off(event, f);
  }

  /** Undoes on. */
  off(event, f) {
    this.#handlers.get(event)?.delete(f);
  }

  /**
   * Sends an event, and says whether there was a connection to send it on: nothing is kept for later. A function as the
   * last argument is called with the server's reply.
   */
  emit(event, ...args) {
    if (reserved.includes(event)) throw new SocketAuthError(`reserved event: ${event}`);
    if (this.#state !== "online" || !this.#link) return false; // it has none while the page is left
    this.#link.socket.emit(event, ...args);
    return true;
  }

  /** Sends an event and waits for the server's reply. Rejects where that is an error, or where none comes. */
  emitWithAck(event, ...args) {
    return new Promise((resolve, reject) => {
      const fail = (code) => settle(reject, new SocketAuthError(code));
      const { waiting } = this.#link ?? { waiting: new Set() };
      const timer = setTimeout(fail, REPLY_PATIENCE, "no_reply");
      const settle = (how, what) => {
        clearTimeout(timer);
        waiting.delete(fail);
        how(what);
      };
      waiting.add(fail);
      try {
        const sent = this.emit(event, ...args, (reply) => {
          if (reply?.error?.code) fail(reply.error.code);
          else settle(resolve, reply);
        });
        if (!sent) fail("offline");
      } catch (error) { // it cannot be sent by anybody
        settle(reject, error);
      }
    });
  }

  /** Leaves without logging out: the session is there for whoever comes next. This client is of no more use. */
  close() {
    if (this.#closed) return;
    this.#closed = true; // and so the page hears no more, not even of this:
    if (this.#isIn) this.#become("offline", "closed");
    this.#leaving?.(false);
    this.#admission?.fail("closed");
    this.#logouts.stop();
    this.#listening.abort();
    this.#stop();
    this.#vault.leave();
  }

  // Signing in and out

  async #submit(path, credentials) {
    const { url, fragment } = this.#options;
    if (this.#closed) throw new SocketAuthError("closed");
    if (this.#unable) throw new SocketAuthError(this.#unable);
    const answer = await post(new URL(path, url), credentials);
    if (this.#closed) throw new SocketAuthError("closed"); // and the code is forgotten
    if (isCode(answer?.token)) return this.#begin(answer.token);
    // The server has an AppURL. Where that is this very page, it would only be a jump to another fragment.
    const here = globalThis.location;
    const target = attempt(() => answer.url && new URL(answer.url, url));
    const code = target && codeIn(target, fragment);
    const page = ({ origin, pathname, search }) => origin + pathname + search;
    if (code && (!here || page(target) === page(here))) return this.#begin(code);
    if (!here || !/^https?:$/.test(target?.protocol)) throw new SocketAuthError("bad_answer"); // a script is a URL, too
    here.assign(target);
    return this.#awaitAdmission(); // fails if the browser stays on this page
  }

  /** Takes a code from the URL's fragment. It is removed first: no history, bookmark or reload shall have it. */
  #takeCode() {
    const { location, history } = globalThis;
    if (!location?.hash || !this.#options.fragment) return false;
    const url = new URL(location.href);
    const code = codeIn(url, this.#options.fragment);
    if (!code) return false;
    const isOther = (part) => !part.startsWith(this.#options.fragment + "=");
    url.hash = url.hash.slice(1).split("&").filter(isOther).join("&");
    history.replaceState(history.state, "", url.hash ? url : url.pathname + url.search);
    // Of the session that is in: the link was opened twice. The code was traded, and would be taken for stolen.
    if (sameSession(code, this.#vault.get())) return false;
    this.#vault.begin(code);
    return true;
  }

  /** A code is kept where its tokens will be: so it survives a reload, and any tab may trade it, in its turn. */
  #begin(code) {
    this.#vault.begin(code);
    this.#endReason = this.#newest = undefined;
    this.#failures = 0;
    this.#notBefore = 0;
    const admitted = this.#awaitAdmission(code);
    this.#connect();
    return admitted;
  }

  #awaitAdmission(code) {
    this.#admission?.fail("replaced");
    this.#admission = new Admission(code);
    return this.#admission.promise;
  }

  /**
   * Has a login wait for what the server decides after the token was acknowledged: OnAuthenticated
   * may refuse it.
   */
  #probe(link, token) {
    const admission = this.#admission;
    if (link !== this.#link || !admission?.pending) return;
    if (!admission.isOf(token)) return admission.fail("replaced");
    admission.delayed("no_reply");
    link.socket.emit(PROBE, (reply) => {
      if (link === this.#link && reply?.error?.code !== "unauthorized") admission.succeed();
    });
  }

  /**
   * Ends a session on a connection that does nothing else. Resolves to whether the server has said
   * that it is over, whether there is nothing left to tell, since it refuses the token for good, and
   * how long it says to wait, in ms.
   */
  #revoke(token) {
    return new Promise((resolve) => {
      if (this.#unable) return resolve({ told: false, settled: false, wait: 0 });
      const socket = this.#socket(() => ({}));
      const done = (told, refusal) => {
        clearTimeout(patience);
        const settled = told || Boolean(refusal?.terminal);
        resolve({ told, settled, wait: retryAfter(refusal) }); // before the socket tells its end
        socket.disconnect();
      };
      const patience = setTimeout(done, LOGOUT_PATIENCE, false);
      this.#listening.signal.addEventListener("abort", () => done(false), { once: true });
      socket.on("connect", () => socket.emit("logout", token));
      socket.on("logged_out", () => done(true));
      socket.on("unauthorized", (refusal) => done(false, refusal));
      for (const event of ["disconnect", "connect_error"]) socket.on(event, () => done(false));
      socket.connect();
    });
  }

  /** Ends the session that a log-in has replaced. */
  async #endReplaced(token) {
    const remembered = this.#vault.remember(token);
    const outcome = await this.#revoke(token);
    await remembered;
    this.#noteEnd(token, outcome);
  }

  /** Notes what came of telling the server that a session is over. */
  #noteEnd(token, { settled, wait }) {
    if (settled) this.#vault.settle(token);
    else if (this.#vault.remembers) this.#logouts.retry(wait);
  }

  #signOut(reason) {
    this.#stop();
    this.#admission?.fail(reason ?? "elsewhere");
    this.#vault.forget(this.#presented);
    this.#become(reason === "token_expired" ? "expired" : "signed-out", reason);
  }

  // The connection

  /** Why no connection can be made here, whatever the network does; undefined where one can. */
  get #unable() {
    const { url, io, transport, WebSocket = transport?.WebSocket ?? globalThis.WebSocket } = this.#options;
    if (!url) return "no_url";
    return io || typeof WebSocket === "function" ? undefined : "no_websocket";
  }

  #connect() {
    if (this.#closed || this.#leaving) return;
    this.#become("connecting");
    this.#open();
  }

  /** Opens a connection, when it is this tab's turn, and after the one before is closed. */
  async #open() {
    if (this.#closed || this.#leaving) return;
    this.#stop();
    if (this.#unable) return this.#become("offline", this.#unable);
    const link = {
      ended: new AbortController(), // the connection is over, or given up
      waiting: new Set(), // what fails with it
      socket: undefined,
      turn: undefined, // while a presentation is going on
      patience: undefined, // timer of the turn
      presented: undefined, // the token presented last
      refusal: undefined, // what the server said against it
      since: undefined, // when the newest token came,
      due: undefined, // how long after that it is to be replaced, and
      online: undefined, // when the connection was let in
    };
    this.#link = link;
    if (!await this.#begins(link)) return;
    const socket = this.#socket(() => this.#present(link));
    link.socket = socket;
    const on = (event, f) => socket.on(event, (...args) => {
      if (link !== this.#link) return; // what a socket says that was given up is ignored
      try {
        f(...args);
      } catch {
        this.#lost(link, "bad_answer");
      }
    });
    on("connect", () => {
      if (socket.auth) return;
      const data = this.#present(link); // clients 2.x have no handshake auth
      if (data) socket.emit("authenticate", data);
    });
    on("authenticated", (token, acknowledge) => this.#accepted(link, token, acknowledge));
    on("unauthorized", (refusal) => this.#refused(link, refusal));
    on("rotated", () => this.#rotated(link));
    on("logged_out", () => this.#loggedOut(link));
    on("disconnect", (reason) => this.#lost(link, String(reason)));
    for (const event of ["connect_error", "connect_timeout", "error"]) {
      on(event, (error) => this.#lost(link, String(error?.message ?? error)));
    }
    for (const event of this.#handlers.keys()) this.#attach(link, event);
    socket.connect();
  }

  #socket(auth) {
    const { io, url, path, transport, WebSocket } = this.#options;
    const make = io ?? ((origin, options) => new Socket(origin, options));
    return make(url.origin, {
      path,
      WebSocket,
      ...transport,
      forceNew: true, // one connection is one socket: nothing of the one before is left in it
      reconnection: false, // when to come back is decided here
      autoConnect: false,
      auth: (give) => {
        const data = auth();
        if (data) give(data);
      },
    });
  }

  #attach(link, event) {
    if (own.includes(event)) return;
    link?.socket?.on(event, (...args) => {
      if (link === this.#link) this.#call(event, ...args);
    });
  }

  /** Takes the turn for a presentation. It ends with the answer, or with the connection. */
  async #begins(link) {
    let turn;
    try {
      turn = await this.#takeTurn(link.ended.signal);
    } catch (error) {
      if (link === this.#link) this.#lost(link, String(error?.message ?? error));
      return false;
    }
    if (link.ended.signal.aborted) {
      turn.end();
      return false;
    }
    link.turn = turn;
    link.patience = setTimeout(() => this.#lost(link, "timeout"), PATIENCE);
    await this.#vault.restore();
    return link === this.#link;
  }

  #endTurn(link, delay = 0) {
    clearTimeout(link.patience);
    if (delay > 0) setTimeout(link.turn.end, delay);
    else link.turn?.end();
    link.turn = undefined;
  }

  /** What to present now, read afresh. undefined: nothing on this connection. */
  #present(link) {
    if (link !== this.#link || this.#leaving) return undefined;
    const token = this.#vault.get();
    if (!token) {
      this.#signOut(this.#whyGone());
    } else if (!link.turn?.held()) { // while this tab slept, another took its turn
      this.#lost(link, "overtaken");
    } else if (link.presented && !sameSession(link.presented, token)) { // someone else has logged in
      this.#connect();
    } else {
      link.presented = this.#presented = token;
      link.refusal = undefined;
      return { token, confirm: true };
    }
    return undefined;
  }

  #accepted(link, token, acknowledge) {
    if (this.#leaving) return;
    if (!isToken(token)) throw new SocketAuthError("bad_answer");
    if (!link.turn?.held() || this.#vault.get() !== link.presented) {
      // Another tab came first, or the user left: this offer is forgotten, and costs nothing.
      this.#lost(link, "overtaken");
      return;
    }
    const { replaced } = this.#vault;
    const { turn } = link;
    this.#vault.set(token);
    const saved = this.#vault.save(token);
    if (!saved) return this.#stored(link, token, replaced, acknowledge);
    saved.then((durable) => {
      if (link.turn !== turn || this.#leaving) return;
      if (turn.held() && this.#vault.get() === token) this.#stored(link, token, replaced, acknowledge, durable);
      else this.#lost(link, "overtaken"); // while the disk was at it
    });
  }

  #stored(link, token, replaced, acknowledge, durable = false) {
    acknowledge?.(); // until now the token before it was good, and this one is from now on
    if (replaced && !sameSession(replaced, token)) this.#endReplaced(replaced);
    this.#endReason = undefined;
    // Whoever is next reads the durable copy. Timers are for where there is none: a hidden tab's
    // take a second.
    this.#endTurn(link, durable ? 0 : SEEN);
    const { dur } = claims(token); // seconds of life: unlike "exp" it needs no clock that agrees with the server's
    const age = token === link.presented ? dur / 2 : 0; // one that came back as it was is at most half through
    const due = dur * (0.7 + 0.1 * Math.random()) - age; // not all tabs, and not all clients, at one time
    const first = link.online === undefined;
    link.since = clocks();
    this.#newest = { since: link.since, life: dur * 1000 };
    link.due = dur > 2 ? due * 1000 : undefined; // less is the end of the longest that a session may live
    link.online ??= link.since;
    this.#become("online");
    if (!first && link === this.#link) this.#call("notice", "renewed");
    this.#probe(link, token);
    this.#look();
  }

  #refused(link, refusal) {
    link.refusal = refusal;
    if (refusal.terminal) {
      const stored = this.#vault.get();
      const dead = stored === link.presented || sessionIsOver.includes(refusal.code) && sameSession(stored, link.presented);
      if (stored && dead) this.#vault.discard(stored, refusal.code); // but not what another tab has put in its place
    }
    this.#endTurn(link);
    if (this.#leaving) return this.#leaving(false);
    if (this.#admission?.isOf(link.presented)) this.#admission.refused(refusal);
    this.#call("notice", "refused", refusal);
    if (link !== this.#link) return;
    if (this.#state !== "online" || refusal.terminal) return this.#lost(link, refusal.code);
    // The socket lives on, or is about to be disconnected, which stops this.
    link.since = clocks();
    link.due = this.#delay(refusal);
    this.#failures++;
    this.#look();
  }

  /** Another socket of the session has a newer token. It is in the storage, or this is not that session's tab any more. */
  #rotated(link) {
    const stored = this.#vault.get();
    this.#call("notice", "rotated");
    if (stored && link === this.#link && link.presented && !sameSession(stored, link.presented)) this.#connect();
  }

  #loggedOut(link) {
    if (this.#leaving) return this.#leaving(true);
    const stored = this.#vault.get();
    if (!stored || sameSession(stored, link.presented)) {
      this.#vault.clear("logged_out");
      this.#signOut("logged_out"); // by another tab, or by a client of this page
    } else {
      this.#connect();
    }
  }

  /** Returns why there is nothing to present any more, where the server has not told this tab. */
  #whyGone() {
    if (this.#vault.moved) return "storage_full";
    if (this.#endReason) return this.#endReason;
    const hasExpired = this.#newest && elapsed(this.#newest.since) >= this.#newest.life;
    return hasExpired ? "token_expired" : "elsewhere";
  }

  /** The connection is over. It comes back if there is anything to come back with. */
  #lost(link, reason) {
    if (link !== this.#link) return;
    if (this.#leaving) return this.#leaving(false);
    this.#stop();
    const why = link.refusal?.code ?? this.#whyGone();
    if (this.#vault.get()) return this.#comeBack(link, reason);
    if (!this.#vault.pending) return this.#signOut(why);
    this.#vault.load().then(({ lost }) => { // what was refused may be the token of a session before
      if (this.#closed || this.#leaving || this.#link || !this.#isIn) return;
      if (lost || this.#vault.get()) this.#comeBack(link, reason);
      else this.#signOut(why);
    });
  }

  #comeBack({ refusal, online }, reason) {
    if (online && elapsed(online) > STEADY) this.#failures = 0;
    const delay = this.#delay(refusal);
    this.#failures++;
    this.#notBefore = performance.now() + retryAfter(refusal);
    this.#retry = setTimeout(() => this.#open(), delay);
    this.#become("offline", reason === "io server disconnect" ? refusal?.code ?? reason : reason);
  }

  /** How long to wait: as long as told, longer with each failure, and never as long as all others. */
  #delay(refusal) {
    const { minDelay, maxDelay } = this.#options;
    const delay = Math.min(maxDelay, minDelay * 2 ** this.#failures);
    return Math.max(retryAfter(refusal) + delay / 2 * Math.random(), this.#backoff(this.#failures));
  }

  #backoff(failures) {
    const { minDelay, maxDelay } = this.#options;
    return Math.min(maxDelay, minDelay * 2 ** failures) * (1 + Math.random()) / 2;
  }

  /** Ends the connection, and all that waits for anything. */
  #stop() {
    const link = this.#link;
    this.#link = undefined;
    clearTimeout(this.#retry);
    clearTimeout(this.#renewal);
    this.#retry = undefined;
    if (!link) return;
    link.ended.abort();
    link.socket?.disconnect();
    this.#endTurn(link); // after that: what was on its way will not be listened to
    for (const fail of [...link.waiting]) fail("disconnected");
  }

  // Renewal

  /** Looks at the clocks: is it time? */
  #look() {
    clearTimeout(this.#renewal);
    const link = this.#link;
    if (this.#state !== "online" || !link?.due || this.#leaving) return;
    const left = link.due - elapsed(link.since);
    if (left <= 0) this.#renew(link);
    else this.#renewal = setTimeout(() => this.#look(), Math.min(left, LOOK));
  }

  /** Asks for the next token on the connection that is there. */
  async #renew(link) {
    link.due = undefined;
    if (!await this.#begins(link)) return;
    const data = this.#present(link);
    if (data) link.socket.emit("authenticate", data);
  }

  // The page

  #listen() {
    const window = globalThis;
    if (!window.document) return;
    const { signal } = this.#listening;
    const on = (target, event, f) => target.addEventListener(event, f, { signal });
    on(window, "storage", (event) => {
      if (event.storageArea !== this.#vault.shared || this.#vault.alone) return;
      if (event.key === this.#vault.endKey) this.#endReason = event.newValue || this.#endReason;
      else if (this.#vault.keys.includes(event.key)) this.#storageChanged();
    });
    on(window, "hashchange", () => { if (this.#takeCode()) this.#connect(); });
    on(window, "online", () => this.#wake());
    on(document, "visibilitychange", () => { if (document.visibilityState === "visible") this.#wake(); });
    // A page that is left may come back as it was. Meanwhile it holds no connection and no turn.
    on(window, "pagehide", () => {
      this.#stop();
      this.#vault.park();
    });
    on(window, "pageshow", ({ persisted }) => {
      if (!persisted) return;
      this.#vault.unpark();
      if (this.#vault.get() || this.#vault.pending) this.#connect();
      else if (this.#isIn) this.#signOut(this.#whyGone());
    });
  }

  /** Another tab has logged in, logged out, or has a newer token. */
  #storageChanged() {
    if (this.#leaving || this.#vault.alone || this.#vault.moved) return;
    const stored = this.#vault.get();
    if (!stored) {
      if (this.#isIn && !this.#vault.pending) this.#signOut(this.#whyGone());
    } else if (!this.#isIn || this.#link?.presented && !sameSession(stored, this.#link.presented)) {
      this.#connect();
    }
  }

  #wake() {
    this.#storageChanged(); // a tab that was frozen may have missed it
    this.#look();
    if (this.#retry !== undefined && performance.now() >= this.#notBefore) this.#open();
    this.#logouts.wake();
  }

  #become(state, reason) {
    if (state === this.#state && reason === this.#reason) return;
    this.#state = state;
    this.#reason = reason;
    this.#call("state", state, reason);
  }

  #call(event, ...args) {
    if (this.#closed) return;
    for (const f of [...this.#handlers.get(event) ?? []]) {
      try {
        f(...args);
      } catch (error) {
        queueMicrotask(() => { throw error; }); // to the console, and to nobody else's harm
      }
    }
  }
}

/**
 * Keeps what is to be presented next: the code of a login, or else the token. It is in the storage that all tabs share,
 * or, where that is refused or full, in memory: then the tab is alone with its session. sessionStorage will not do for
 * that: a tab that is duplicated takes a copy of it along, and then two would present one token. So memory is parked
 * there only while the page is left.
 *
 * A code has a place beside the token's: anybody can make a link with one, so one that is refused must cost nobody a
 * session; and it is put there without a turn, when another tab may be about to store its next token.
 */
class Vault {
  shared; // the storage, or null
  alone; // whether memory is in use
  reserve; // makes room for taking turns, or says that there is none
  keys; // whose change means that of the session
  endKey; // where other tabs are told, for a moment, why it is over

  #key;
  #codeKey;
  #parking; // sessionStorage, or none
  #heirs; // where a client that is closed leaves what is in memory to the next one
  #copy; // the durable one, beside localStorage, where there is one
  #cache; // of an asynchronous storage, or none
  #known = false; // whether the copy was read
  #compared = false; // whether the storage has what the copy has
  #cleared = 0; // how often
  #memory = new Map(); // by key
  #notice;

  constructor(storage, key, notice) {
    let local = storage === undefined ? pageStorage() : storage;
    if (isAsync(local, key)) local = this.#cache = StorageCache.of(local);
    const session = attempt(() => globalThis.sessionStorage);
    const isMeant = storage === null || session && local === session;
    const works = attempt(() => local.getItem(key) !== undefined);
    this.#key = key;
    this.#codeKey = key + ".code";
    this.endKey = key + ".end";
    this.keys = [this.#key, this.#codeKey, null]; // null: all have been removed
    this.#notice = notice;
    this.#parking = storage === null ? undefined : session;
    this.#heirs = this.#parking ?? pageMemory();
    this.shared = works && !isMeant ? local : null;
    this.alone = !this.shared;
    const hasCopy = this.shared && this.shared === pageStorage() && attempt(() => globalThis.indexedDB);
    if (hasCopy) this.#copy = new DurableCopy(key);
    if (this.alone && !isMeant) notice("storage_refused");
    this.unpark(); // where this tab was alone before a reload, it still is
  }

  get() {
    return this.#stored() || null;
  }

  /** Whether the session of this storage has gone on in the memory of one tab. */
  get moved() {
    return !this.alone && this.#stored() === "";
  }

  /**
   * Whether the durable copy may have a session that is not in the storage, or know of a log-out
   * that is not; or an asynchronous storage has not been read yet.
   */
  get pending() {
    if (this.#cache) return !this.alone && !this.#cache.has(this.#key);
    return Boolean(this.#durable) && !this.#compared;
  }

  /**
   * Returns what clients of one page take turns by, where there are no Web Locks and the storage
   * cannot serve for that.
   */
  get locks() {
    return this.#cache?.locks;
  }

  /** Whether it remembers log-outs. */
  get remembers() {
    return Boolean(this.#durable);
  }

  /** Whether it is known that what is stored was not logged out. */
  get known() {
    return !this.#durable || this.#known;
  }

  get #durable() {
    return this.alone ? undefined : this.#copy;
  }

  #stored() {
    return this.#read(this.#codeKey) || this.#read(this.#key);
  }

  /** The token that the code which is presented first will put out of its place. */
  get replaced() {
    return this.#read(this.#codeKey) && this.#read(this.#key);
  }

  begin(code) {
    this.alone = !this.shared || !this.reserve() || !this.#write(this.#codeKey, code);
    if (!this.alone) return;
    this.#memory.set(this.#codeKey, code);
    if (this.shared) this.#notice("storage_full");
  }

  /** Puts the next token in the place of what was presented. */
  set(token) {
    if (!this.alone && !this.#write(this.#key, token)) {
      // What is left in there must not be presented: its successor is about to live here.
      attempt(() => this.shared.setItem(this.#key, "")); // always fits, and unlike a removal it is no log-out
      this.#remove(this.#codeKey);
      this.forget(token);
      this.#memory.clear();
      this.alone = true;
      this.#notice("storage_full");
    }
    if (this.alone) this.#memory.set(this.#key, token);
    this.#remove(this.#codeKey);
  }

  /**
   * Resolves when the token is where the browser's sudden end does not reach it and all tabs see it
   * at once, to whether it is. undefined: there is no such place.
   */
  save(token) {
    return this.#cache && !this.alone ? this.#flush() : this.#durable?.put(token);
  }

  async #flush() {
    const isWritten = await this.#cache.flush();
    if (!isWritten && !this.alone) this.#goAlone("storage_full");
    return isWritten;
  }

  /** Goes on in memory with what an asynchronous storage does not take, or does not give. */
  #goAlone(why) {
    for (const key of [this.#key, this.#codeKey]) {
      const value = this.#read(key);
      if (value) this.#memory.set(key, value);
    }
    // What is left in there must not be presented: its successor is about to live here.
    if (this.#memory.size > 0) this.shared.setItem(this.#key, "");
    this.shared.removeItem(this.#codeKey);
    this.alone = true;
    this.#notice(why);
  }

  /**
   * Reads the durable copy. What was logged out is removed. Resolves to the token that the storage
   * has lost, which is to be brought back in a turn, and to whether there are log-outs that the
   * server does not know of.
   */
  async load() {
    if (this.#cache && !this.alone) {
      const isRead = await this.#cache.read(this.keys);
      if (!isRead && !this.alone) {
        this.#goAlone("storage_refused");
        this.shared = null; // for good
      }
    }
    if (!this.#durable) return {};
    const { lost, ended } = await this.#compare();
    if (!lost) this.#compared = true;
    return { lost, untold: ended.some(({ token }) => token) };
  }

  /**
   * Brings the storage up to date, in a turn: with what another tab has stored and this one cannot
   * see yet, or what the storage has lost with the browser that wrote it.
   */
  async restore() {
    if (this.#cache && !this.alone) await this.#cache.read(this.keys); // or else with what is known
    if (!this.#durable) return;
    const before = this.#cleared;
    const { lost } = await this.#compare();
    if (this.alone || this.#cleared !== before) return; // logged out meanwhile
    this.#compared = true;
    if (!lost) return;
    const code = this.#read(this.#codeKey);
    if (!code || sameSession(code, lost)) this.set(lost);
    else this.#write(this.#key, lost); // behind a code, which may be refused
  }

  async #compare() {
    const { token: saved, ended } = await this.#copy.read();
    const hasEnded = (token) => ended.some(({ sid }) => sid === claims(token).sid);
    this.#known = true;
    if (this.alone) return { ended };
    for (const key of [this.#codeKey, this.#key]) {
      if (hasEnded(this.#read(key))) this.#announcing("logged_out", () => this.#remove(key));
    }
    const code = this.#read(this.#codeKey);
    const token = this.#read(this.#key);
    const isBehind = sameSession(saved, code) || !token || isLater(saved, token);
    return { ended, lost: isToken(saved) && !hasEnded(saved) && !this.moved && isBehind ? saved : undefined };
  }

  /** Throws away what was presented. The durable copy may have another session's. */
  discard(presented, reason) {
    if (isToken(presented)) this.forget(presented);
    const isCode = this.#read(this.#codeKey) === presented;
    if (isCode && this.#read(this.#key)) this.#remove(this.#codeKey); // the earlier session goes on
    else this.#announcing(reason, () => this.#remove(isCode ? this.#codeKey : this.#key));
    if (!this.#stored()) this.alone = !this.shared;
    this.#compared = false;
  }

  /** Removes a token's session from the durable copy. */
  forget(token) {
    if (token) this.#durable?.forget(token);
  }

  /**
   * Removes all there is. Resolves when that has been remembered: then a killed browser brings
   * nothing back.
   */
  clear(reason) {
    const remembered = this.#durable?.clear([this.#read(this.#key), this.#read(this.#codeKey)]);
    this.#cleared++;
    this.#known = this.#compared = true;
    this.#announcing(reason, () => {
      this.#remove(this.#key);
      this.#remove(this.#codeKey);
    });
    const isWritten = this.alone ? undefined : this.#cache?.flush();
    this.alone = !this.shared;
    return remembered ?? isWritten;
  }

  /** Remembers that a token's session was ended. */
  remember(token) {
    return this.#durable?.end([token]);
  }

  /** Remembers that the server knows of a session's end. */
  settle(token) {
    return this.#durable?.settle(token);
  }

  /** The tokens of sessions that were ended here, of which the server does not know. */
  async untold() {
    const { ended = [] } = await this.#durable?.read() ?? {};
    return ended.flatMap(({ token }) => token ?? []);
  }

  /**
   * Removes something, after telling the other tabs why: a storage's events come in the order of
   * its changes.
   */
  #announcing(reason, remove) {
    const hears = !this.alone && !this.#cache; // there are no events of that
    if (hears) attempt(() => this.shared.setItem(this.endKey, reason));
    remove();
    if (hears) attempt(() => this.shared.removeItem(this.endKey));
  }

  #read(key) {
    return this.alone ? this.#memory.get(key) : attempt(() => this.shared.getItem(key))?.trim();
  }

  #write(key, token) {
    return attempt(() => {
      // Padded, so that the next one, which may be longer by a digit, fits in its place in a storage that is full by then.
      const padded = token.padEnd(64 * Math.ceil(token.length / 64 + 0.5));
      this.shared.setItem(key, padded);
      return this.shared.getItem(key) === padded;
    }) ?? false;
  }

  #remove(key) {
    if (this.alone) this.#memory.delete(key);
    else attempt(() => this.shared.removeItem(key));
  }

  /** Keeps what is in memory for when the page comes back. */
  park(place = this.#parking) {
    if (!this.alone || !place) return;
    attempt(() => {
      if (this.#memory.size > 0) place.setItem(this.#key, JSON.stringify([...this.#memory]));
      else place.removeItem(this.#key);
      this.#memory.clear();
    });
  }

  /** Keeps it for the next client of the page, or for when the page is opened again. */
  leave() {
    this.park(this.#heirs);
  }

  unpark() {
    const parked = attempt(() => new Map(JSON.parse(this.#heirs.getItem(this.#key))));
    if (!parked?.size) return;
    attempt(() => this.#heirs.removeItem(this.#key));
    this.#memory = parked;
    this.alone = true;
  }
}

/**
 * Keeps the newest token in IndexedDB, and which sessions were ended. It is on disk when that says
 * so, and what one tab has put there the others see. What is in localStorage the browser writes
 * when it likes: a Chromium or Firefox that is killed some seconds after a log-in, a log-out or a
 * token's replacement has what was there before.
 *
 * Every method resolves when it is done, cannot be done, or takes too long: this is no more than
 * the second place.
 */
class DurableCopy {
  #key;
  #endedKey;

  constructor(key) {
    this.#key = key;
    this.#endedKey = key + ".ended";
  }

  /**
   * The token, and the sessions that were ended: their sid, and the token to tell the server of it
   * where that does not know yet.
   */
  async read() {
    const { token, ended } = await this.#do("readonly", (store) => {
      const token = store.get(this.#key);
      const ended = store.get(this.#endedKey);
      return () => ({ token: token.result, ended: ended.result });
    }) ?? {};
    return { token, ended: Array.isArray(ended) ? ended : [] };
  }

  /** Resolves to whether it is there. */
  async put(token) {
    const done = await this.#do("readwrite", (store) => {
      store.put(token, this.#key);
      return () => true;
    });
    return done ?? false;
  }

  /** Removes the token, if it is of the session of the one given. */
  forget(token) {
    return this.#change((saved, ended, store) => {
      if (sameSession(saved, token)) store.delete(this.#key);
    });
  }

  /** Removes the token, and remembers that its session and those of the tokens given were ended. */
  clear(tokens) {
    return this.#change((saved, ended, store) => {
      store.delete(this.#key);
      this.#remember(store, ended, [saved, ...tokens]);
    });
  }

  /** Remembers that the sessions of tokens were ended. */
  end(tokens) {
    return this.#change((saved, ended, store) => this.#remember(store, ended, tokens));
  }

  #remember(store, ended, tokens) {
    const all = [...ended];
    for (const token of tokens) {
      const { sid, gen } = claims(token);
      if (sid === undefined) continue;
      const end = all.find((end) => end.sid === sid);
      if (!end) all.push({ sid, token: isToken(token) ? token : undefined });
      else if (isToken(token) && end.token && claims(end.token).gen < gen) end.token = token;
    }
    store.put(all.slice(-REMEMBERED), this.#endedKey);
  }

  /** Remembers that the server knows of a session's end. */
  settle(token) {
    return this.#change((saved, ended, store) => {
      const { sid } = claims(token);
      if (sid === undefined) return;
      store.put([...ended.filter((end) => end.sid !== sid), { sid }].slice(-REMEMBERED), this.#endedKey);
    });
  }

  /** Changes what is there, by what is there. */
  #change(f) {
    return this.#do("readwrite", (store, guarded) => {
      const saved = store.get(this.#key);
      const ended = store.get(this.#endedKey);
      ended.onsuccess = guarded(() => f(saved.result, Array.isArray(ended.result) ? ended.result : [], store));
      return () => undefined;
    });
  }

  #do(mode, what) {
    return new Promise((resolve) => {
      const end = (result) => {
        clearTimeout(patience);
        resolve(result);
      };
      const patience = setTimeout(end, DISK_PATIENCE);
      const guarded = (f) => () => {
        try {
          f();
        } catch {
          end();
        }
      };
      guarded(() => {
        const open = globalThis.indexedDB.open("socketauth", 1);
        open.onupgradeneeded = () => open.result.createObjectStore("tokens");
        open.onerror = () => end();
        open.onsuccess = guarded(() => {
          try {
            const transaction = open.result.transaction("tokens", mode, { durability: "strict" });
            const result = what(transaction.objectStore("tokens"), guarded);
            transaction.oncomplete = () => end(result());
            transaction.onabort = () => end();
          } finally {
            open.result.close(); // when that is done
          }
        });
      })();
    });
  }
}

/**
 * Tells the server of sessions that were ended here while it could not be told. Tries until it has
 * been.
 */
class PendingLogouts {
  #store; // has untold() and settle(token)
  #revoke; // (token) => Promise<{ settled, wait }>
  #delay; // (failures) => ms until the next try
  #oneTab; // (f) => what f gives, which is called with null where another tab is at it
  #settled = new Set(); // in case the store fails
  #failures = 0;
  #notBefore = 0; // by performance.now()
  #timer;
  #isSending = false;
  #isStopped = false;

  constructor({ store, revoke, delay, oneTab }) {
    this.#store = store;
    this.#revoke = revoke;
    this.#delay = delay;
    this.#oneTab = oneTab;
  }

  async send() {
    if (this.#isSending || this.#isStopped) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isSending = true;
    let wait = 0;
    try {
      wait = await this.#oneTab((lock) => lock === null ? 0 : this.#sendAll());
    } catch {} // no lock can be had just now
    this.#isSending = false;
    if (wait !== undefined) this.retry(wait);
  }

  /** Resolves to how long the server says to wait with the rest, in ms. undefined: it knows all. */
  async #sendAll() {
    for (;;) {
      const token = (await this.#store.untold()).find((token) => !this.#settled.has(token));
      if (!token || this.#isStopped) return undefined;
      const { settled, wait } = await this.#revoke(token);
      if (!settled) return wait;
      this.#failures = 0;
      this.#settled.add(token);
      await this.#store.settle(token);
    }
  }

  /** Tries again, not before the server wants it. */
  retry(wait = 0) {
    clearTimeout(this.#timer);
    if (this.#isStopped) return;
    this.#notBefore = performance.now() + wait;
    this.#timer = setTimeout(() => this.send(), wait + this.#delay(this.#failures++));
  }

  /** Tries at once what waits for its time. */
  wake() {
    if (this.#timer !== undefined && performance.now() >= this.#notBefore) this.send();
  }

  stop() {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }
}

/**
 * Takes a turn by a Web Lock. Hidden tabs stand in a line of their own, of which only the first
 * stands in the line for the turn: a visible tab waits for one of them at most, however many there
 * are.
 */
async function acquireInOrder(locks, key, signal) {
  const place = await acquirePlace(locks, key + ".hidden", signal);
  try {
    const turn = await acquire(locks, key, signal);
    return {
      held: turn.held,
      end: () => {
        turn.end();
        place?.end();
      },
    };
  } catch (error) {
    place?.end();
    throw error;
  }
}

/** Waits in the line of hidden tabs. undefined: the tab is visible, or has become so. */
async function acquirePlace(locks, key, signal) {
  const { document } = globalThis;
  if (document?.visibilityState !== "hidden") return undefined;
  const waiting = new AbortController();
  const leave = () => waiting.abort(signal.reason);
  const look = () => { if (document.visibilityState !== "hidden") leave(); };
  signal.addEventListener("abort", leave);
  document.addEventListener("visibilitychange", look);
  try {
    signal.throwIfAborted();
    return await acquire(locks, key, waiting.signal);
  } catch (error) {
    if (signal.aborted || !waiting.signal.aborted) throw error;
    return undefined;
  } finally {
    signal.removeEventListener("abort", leave);
    document.removeEventListener("visibilitychange", look);
  }
}

/**
 * Makes an asynchronous storage, such as React Native's AsyncStorage, usable like localStorage: it
 * keeps in memory what was read, and writes changes in their order. All clients of a page that are
 * given the same storage share its cache.
 */
class StorageCache {
  static #all = new WeakMap();

  locks = new PageLocks();

  #storage;
  #items = new Map();
  #changes = new Map(); // by key, how often it was changed
  #writing = Promise.resolve();
  #hasFailed = false; // since the last flush

  static of(storage) {
    if (!this.#all.has(storage)) this.#all.set(storage, new StorageCache(storage));
    return this.#all.get(storage);
  }

  constructor(storage) {
    this.#storage = storage;
  }

  /** Reads keys anew, except those changed meanwhile. Resolves to whether it succeeded in time. */
  async read(keys) {
    const all = keys.filter((key) => key !== null);
    const before = new Map(this.#changes);
    const reading = this.#writing.then(() => Promise.all(all.map((key) => this.#storage.getItem(key))));
    const values = await within(STORAGE_TIMEOUT, reading).catch(() => undefined);
    if (!values) return false;
    all.forEach((key, n) => {
      if (this.#changes.get(key) === before.get(key)) this.#items.set(key, values[n] ?? null);
    });
    return true;
  }

  /** Whether it is known what a key has. */
  has(key) {
    return this.#items.has(key);
  }

  /** Resolves to whether all that was changed since the last time is written. */
  async flush() {
    await within(STORAGE_TIMEOUT, this.#writing).catch(() => { this.#hasFailed = true; });
    const isWritten = !this.#hasFailed;
    this.#hasFailed = false;
    return isWritten;
  }

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#change(key, value, () => this.#storage.setItem(key, value));
  }

  removeItem(key) {
    this.#change(key, null, () => this.#storage.removeItem(key));
  }

  #change(key, value, write) {
    this.#items.set(key, value);
    this.#changes.set(key, (this.#changes.get(key) ?? 0) + 1);
    this.#writing = this.#writing.then(write).catch(() => { this.#hasFailed = true; });
  }
}

/**
 * Locks for the clients of one page, used like navigator.locks. It cannot steal a lock: no client
 * of a page can be frozen while another one runs.
 */
class PageLocks {
  #last = new Map(); // by name, when whoever asked last is done

  request(name, { signal }, hold) {
    const turn = Promise.resolve(this.#last.get(name)).then(() => {
      signal?.throwIfAborted();
      return hold();
    });
    this.#last.set(name, turn.catch(() => {}));
    return turn;
  }
}

/** Takes a turn by a Web Lock; from a tab that does not give it back, as a frozen one, without asking. */
function acquire(locks, key, signal) {
  return new Promise((granted, failed) => {
    let held; // undefined: not yet
    const hold = () => held === undefined && new Promise((end) => {
      clearTimeout(stuck);
      held = true;
      granted({ held: () => held, end });
    });
    const lose = (error) => {
      clearTimeout(stuck);
      held = false;
      failed(error);
    };
    const ask = (options) => locks.request("socketauth:" + key, options, hold).catch(lose);
    const stuck = setTimeout(ask, STUCK, { steal: true });
    ask({ signal });
  });
}

/**
 * Takes turns by a storage alone, where there are no Web Locks: on pages that came over plain http. Fischer's algorithm:
 * who finds the storage free signs it, waits for longer than a write takes to be seen by all tabs, and has the turn
 * if its signature is still there. Who has the turn shows life by a count beside its signature. Nobody's clock is
 * trusted: a turn is over if a waiting tab has looked often enough and seen no life. A holder that only slept finds
 * another signature, and so stores and acknowledges nothing.
 */
class Mutex {
  static SETTLE = 120; // ms, at least
  static BEAT = 500;
  static LOOKS = 40; // without a change, at least 50 ms apart

  #storage;
  #key;

  constructor(storage, key) {
    this.#storage = storage;
    this.#key = key;
    attempt(() => this.reserve());
  }

  /** Makes sure that there is room for a signature: all are of one length, so the next ones fit too. */
  reserve() {
    return attempt(() => {
      if (this.#storage.getItem(this.#key) === null) this.#sign("", 0);
      return true;
    }) ?? false;
  }

  /** Rejects where the storage has lost the room for it, which comes back or not: nothing else is harmed by waiting. */
  async acquire(signal) {
    const me = Math.random().toString(36).slice(2, 10).padEnd(8, "0");
    do {
      await this.#vacancy(signal);
      this.#sign(me, 0);
      await sleep(Mutex.SETTLE * (1 + Math.random()), signal, () => this.#leave(me));
    } while (this.#signature() !== me);
    let beats = 0;
    const life = setInterval(() => {
      attempt(() => { if (this.#signature() === me) this.#sign(me, ++beats % 1000); });
    }, Mutex.BEAT);
    return {
      held: () => attempt(() => this.#signature()) === me,
      end: () => {
        clearInterval(life);
        this.#leave(me);
      },
    };
  }

  async #vacancy(signal) {
    let last;
    for (let looks = 0; looks < Mutex.LOOKS; looks++) {
      const value = this.#storage.getItem(this.#key);
      if (!value || !this.#signature()) return;
      if (value !== last) looks = 0;
      last = value;
      await sleep(50 * (1 + Math.random()), signal);
    }
  }

  #signature() {
    return (this.#storage.getItem(this.#key) ?? "").slice(0, 8).replace(/^-+$/, "");
  }

  #sign(who, beats) {
    this.#storage.setItem(this.#key, who.padEnd(8, "-") + String(beats).padStart(4, "-"));
  }

  #leave(who) {
    attempt(() => { if (this.#signature() === who) this.#sign("", 0); });
  }
}

/**
 * One connection of the Socket.IO protocol, revision 5 (servers 3.x and 4.x): the root namespace over WebSocket, binary
 * attachments included. It has of socket.io-client's Socket what is used here, and does not come back by itself.
 */
class Socket {
  connected = false;
  auth;

  #url;
  #WebSocket;
  #ws;
  #handlers = new Map(); // event to functions
  #acks = new Map(); // id to function
  #nextAck = 0;
  #patience; // timer of the next ping
  #wait = 0; // ms between pings at most
  #partial; // a message whose attachments are on their way

  constructor(origin, { path, auth, WebSocket = globalThis.WebSocket }) {
    this.auth = auth;
    this.#WebSocket = WebSocket;
    this.#url = new URL(path, origin);
    this.#url.protocol = this.#url.protocol.replace(/^http/, "ws");
    this.#url.search = "EIO=4&transport=websocket";
  }

  connect() {
    let ws;
    try {
      ws = this.#ws = new this.#WebSocket(this.#url.href);
    } catch (error) { // as for ws on a page of https
      this.#call("connect_error", error);
      return;
    }
    ws.binaryType = "arraybuffer";
    ws.onmessage = ({ data }) => {
      if (ws !== this.#ws) return;
      try {
        this.#receive(data);
      } catch {
        this.#end("parse error");
      }
    };
    ws.onclose = () => { if (ws === this.#ws) this.#end("transport close"); };
    ws.onerror = () => {}; // a close follows
  }

  disconnect() {
    if (this.connected) this.#send("41");
    this.#end("io client disconnect");
  }

  on(event, f) {
    this.#handlers.set(event, [...this.#handlers.get(event) ?? [], f]);
  }

  emit(event, ...args) {
    let id = "";
    if (typeof args.at(-1) === "function") {
      id = this.#nextAck++;
      this.#acks.set(id, args.pop());
    }
    this.#message("2", id, [event, ...args]);
  }

  #message(type, id, data) {
    const attachments = [];
    const json = JSON.stringify(data, function (key, value) {
      const raw = this[key]; // value is what its toJSON made of it
      if (!(raw instanceof ArrayBuffer) && !ArrayBuffer.isView(raw)) return value;
      attachments.push(raw);
      return { _placeholder: true, num: attachments.length - 1 };
    });
    const binary = attachments.length > 0;
    this.#send("4" + (binary ? `${Number(type) + 3}${attachments.length}-` : type) + id + json);
    for (const attachment of attachments) this.#send(attachment);
  }

  #send(frame) {
    if (this.#ws?.readyState === 1) this.#ws.send(frame);
  }

  #receive(frame) {
    clearTimeout(this.#patience);
    if (this.#wait) this.#patience = setTimeout(() => this.#end("ping timeout"), this.#wait);
    if (typeof frame !== "string") {
      this.#partial.attachments.push(frame); // throws where none is due
      this.#complete(this.#partial);
      return;
    }
    switch (frame[0]) {
      case "0": {
        const { pingInterval, pingTimeout } = JSON.parse(frame.slice(1));
        this.#wait = pingInterval + pingTimeout;
        this.auth((data) => this.#send("40" + JSON.stringify(data)));
        break;
      }
      case "1":
        this.#end("transport close");
        break;
      case "2":
        this.#send("3" + frame.slice(1));
        break;
      case "4": {
        const [, type, due = 0, id, json] = /^4(\d)(?:(\d+)-)?(\d*)(.*)$/s.exec(frame);
        this.#complete({ type, id: id && Number(id), json, due: Number(due), attachments: [] });
        break;
      }
      default:
        throw new Error("unknown packet");
    }
  }

  #complete(message) {
    this.#partial = message.attachments.length < message.due ? message : undefined;
    if (this.#partial) return;
    const { type, id, json, due, attachments } = message;
    // Only where it is needed, since the function recurses: 3,000 levels of JSON overflow the stack.
    const replace = due ? (_, value) => value?._placeholder ? attachments[value.num] : value : undefined;
    const data = json && JSON.parse(json, replace);
    switch (type) {
      case "0":
        this.connected = true;
        this.#call("connect");
        break;
      case "1":
        this.#end("io server disconnect");
        break;
      case "2":
      case "5": {
        const ack = id === "" ? [] : [(...reply) => this.#message("3", id, reply)];
        this.#call(...data, ...ack);
        break;
      }
      case "3":
      case "6":
        this.#acks.get(id)?.(...data);
        this.#acks.delete(id);
        break;
      case "4":
        this.#end(data.message);
        break;
      default:
        throw new Error("unknown packet");
    }
  }

  #call(event, ...args) {
    for (const f of this.#handlers.get(event) ?? []) f(...args);
  }

  #end(reason) {
    const ws = this.#ws;
    if (!ws) return;
    this.#ws = undefined;
    clearTimeout(this.#patience);
    ws.close();
    const { connected } = this;
    this.connected = false;
    this.#call(connected ? "disconnect" : "connect_error", connected ? reason : new Error(reason));
  }
}

/**
 * A login that has not been let in yet. It settles once: it succeeds when the server has let its
 * session in, and fails with a code that says why not.
 */
class Admission {
  promise;
  pending = true;

  #code;
  #resolve;
  #reject;
  #timer;
  #deadline = performance.now() + ADMISSION_TIMEOUT;
  #delay = "network"; // why it is not in yet

  constructor(code) {
    this.#code = code;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#timer = setTimeout(() => this.fail(this.#delay), ADMISSION_TIMEOUT);
  }

  /** Reports whether a token is of the session that the login's code begins. */
  isOf(token) {
    return sameSession(this.#code, token);
  }

  succeed() {
    this.#end();
    this.#resolve();
  }

  fail(code, retryAfter) {
    this.#end();
    this.#reject(new SocketAuthError(code, retryAfter));
  }

  /** Says what it will have failed by, should nothing more come. */
  delayed(code) {
    this.#delay = code;
  }

  refused(refusal) {
    const isInTime = performance.now() + retryAfter(refusal) < this.#deadline;
    if (!refusal.terminal && passing.includes(refusal.code) && isInTime) this.delayed(refusal.code);
    else this.fail(refusal.code, refusal.retryAfter);
  }

  #end() {
    this.pending = false;
    clearTimeout(this.#timer);
  }
}

/** Posts credentials, and returns the answer. Rejects with the code of why there is none. */
async function post(url, credentials) {
  let response, text;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(credentials),
      signal: AbortSignal.timeout?.(LOGIN_PATIENCE), // React Native has none
    });
    text = await response.text();
  } catch {
    throw new SocketAuthError(response && !response.ok ? `http_${response.status}` : "network");
  }
  const answer = attempt(() => JSON.parse(text));
  if (response.ok) {
    if (answer === undefined) throw new SocketAuthError("bad_answer"); // a page, say
    return answer;
  }
  const wait = Number(response.headers.get("Retry-After")) || undefined;
  throw new SocketAuthError(answer?.code ?? `http_${response.status}`, wait);
}

/**
 * Returns the URL of the server, or undefined where there is neither a URL nor a page that has one,
 * as on a server that renders pages: a client that is made there must do no harm.
 */
function serverURL(url) {
  const page = globalThis.location?.href;
  return url || page ? new URL(url, page) : undefined;
}

/**
 * Returns the page's localStorage. Without a page it is not used: it would be shared by all users
 * whom the process serves.
 */
function pageStorage() {
  return globalThis.document && attempt(() => globalThis.localStorage);
}

/** Reports whether a storage answers with promises. */
function isAsync(storage, key) {
  const answer = attempt(() => storage.getItem(key));
  if (typeof answer?.then !== "function") return false;
  answer.then(undefined, () => {}); // it is read again, by whom that concerns
  return true;
}

const leftBehind = new Map();

/**
 * Returns the memory of the page, where a client that is closed leaves its session to the next one:
 * components may be made twice, and the code in the URL can be taken once. It returns undefined
 * where there is no page: a process that serves many users must not share one between them.
 */
function pageMemory() {
  return globalThis.document && {
    getItem: (key) => leftBehind.get(key) ?? null,
    setItem: (key, value) => leftBehind.set(key, value),
    removeItem: (key) => leftBehind.delete(key),
  };
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

/** The code in a URL's fragment: an OAuth server's "code" is not meant. */
function codeIn(url, name) {
  const code = name && new URLSearchParams(url.hash.slice(1)).get(name);
  return isCode(code) ? code : null;
}

function isCode(token) {
  return claims(token).token_use === "code";
}

function isToken(token) {
  return claims(token).token_use === "session";
}

/** What a token says, unverified: that is the server's to do. */
function claims(token) {
  return attempt(() => {
    const base64 = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  }) ?? {};
}

/** How long a refusal says to wait, in ms. */
function retryAfter(refusal) {
  return 1000 * Math.min(Number(refusal?.retryAfter) || 0, LONGEST);
}

function sameSession(a, b) {
  const { sid } = claims(a);
  return sid !== undefined && sid === claims(b).sid;
}

/**
 * Whether a is the newer of one session, or of the session that began later: both are by the
 * server's clock.
 */
function isLater(a, b) {
  const [x, y] = [claims(a), claims(b)];
  return sameSession(a, b) ? x.gen > y.gen : x.auth_time >= y.auth_time;
}

/** The wall clock goes on while a machine sleeps, and the other one cannot be set: of the two, the larger is believed. */
function clocks() {
  return { wall: Date.now(), run: performance.now() };
}

function elapsed({ wall, run }) {
  return Math.max(Date.now() - wall, performance.now() - run);
}

function attempt(f) {
  try {
    return f();
  } catch {
    return undefined;
  }
}

/** Rejects where a promise takes longer. */
function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("timeout")), ms); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Rejects, after having tidied up, when it is aborted. */
function sleep(ms, signal, tidy) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      tidy?.();
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
  });
}
