// Telling the server that a session is over, now or as soon as it can be told.

import { connectionFault, makeSocket } from "./socketio.js";
import { retryAfter } from "./time.js";
import { isBound } from "./token.js";

export const LOGOUT_TIMEOUT = 3_000; // ms that a logout waits for the server

/**
 * Ends a token's session on a connection that does nothing else. Resolves to
 * - told: whether the server has said that the session is over,
 * - settled: whether there is nothing left to tell, as where the server refuses the token for good,
 * - wait: how long the server says to wait, in ms.
 */
function endSession(options, binding, token, signal) {
  return new Promise((resolve) => {
    if (connectionFault(options)) return resolve({ told: false, settled: false, wait: 0 });
    const socket = makeSocket(options, (give) => give({}));
    const done = (told, refusal) => {
      clearTimeout(timer);
      const settled = told || Boolean(refusal?.terminal);
      // Before the disconnect, which calls done again.
      resolve({ told, settled, wait: retryAfter(refusal) });
      socket.disconnect();
    };
    const timer = setTimeout(done, LOGOUT_TIMEOUT, false);
    signal.addEventListener("abort", () => done(false), { once: true });
    socket.on("connect", async () => {
      if (!isBound(token)) return socket.emit("logout", token);
      try {
        socket.emit("logout", { token, ...await binding.prove(token, socket) });
      } catch ({ code }) {
        done(false, { terminal: code === "key_lost" }); // then nobody can end it
      }
    });
    socket.on("logged_out", () => done(true));
    socket.on("unauthorized", (refusal) => done(false, refusal));
    for (const event of ["disconnect", "connect_error"]) socket.on(event, () => done(false));
    socket.connect();
  });
}

/**
 * Ends sessions on the server. Of those that were ended here while it could not be told it is told
 * later: this goes on until the server knows of all.
 */
export class Logouts {
  #store;
  #end; // (token) => Promise<{ told, settled, wait }>
  #delay; // (failures) => ms until the next try
  #inOneTab; // (f) => the result of f, which is called with null where another tab is at it
  #settled = new Set(); // in case the store fails
  #failures = 0;
  #notBefore = 0; // by performance.now(): when the server wants to be told, at the earliest
  #timer;
  #isSending = false;
  #isStopped = false;

  constructor({ store, options, binding, signal, delay, inOneTab }) {
    this.#store = store;
    this.#end = (token) => endSession(options, binding, token, signal);
    this.#delay = delay;
    this.#inOneTab = inOneTab;
  }

  /** Ends a token's session, as endSession does. note takes what it resolves to. */
  end(token) {
    return this.#end(token);
  }

  /** Ends the session that a login has replaced. */
  async endReplaced(token) {
    const remembered = this.#store.rememberLogout(token);
    const outcome = await this.#end(token);
    await remembered;
    this.note(token, outcome);
  }

  /** Notes what came of telling the server that a session is over. */
  note(token, { settled, wait }) {
    if (settled) this.#store.settleLogout(token);
    else if (this.#store.remembersLogouts) this.retry(wait);
  }

  async send() {
    if (this.#isSending || this.#isStopped) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isSending = true;
    let wait = 0;
    try {
      wait = await this.#inOneTab((lock) => lock === null ? 0 : this.#sendAll());
    } catch {} // the lock cannot be had just now
    this.#isSending = false;
    if (wait !== undefined) this.retry(wait);
  }

  /**
   * Resolves to how long the server says to wait with the rest, in ms; undefined: it knows of all.
   */
  async #sendAll() {
    for (;;) {
      const pending = await this.#store.pendingLogouts();
      const token = pending.find((token) => !this.#settled.has(token));
      if (!token || this.#isStopped) return undefined;
      const { settled, wait } = await this.#end(token);
      if (!settled) return wait;
      this.#failures = 0;
      this.#settled.add(token);
      await this.#store.settleLogout(token);
    }
  }

  /** Tries again later, not before the server wants it. */
  retry(wait = 0) {
    clearTimeout(this.#timer);
    if (this.#isStopped) return;
    this.#notBefore = performance.now() + wait;
    this.#timer = setTimeout(() => this.send(), wait + this.#delay(this.#failures++));
  }

  /** Tries at once, if a try is due later and the server allows it. */
  wake() {
    if (this.#timer !== undefined && performance.now() >= this.#notBefore) this.send();
  }

  stop() {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }
}
