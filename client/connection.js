// One connection to the server: its turn, what it presented, and when its token is to be replaced.

import { elapsed, readClocks } from "./time.js";
import { claims } from "./token.js";

const PROPAGATION_DELAY = 50; // ms in which other tabs see what was stored
const ANSWER_TIMEOUT = 20_000; // ms from having the turn to the server's answer
const OPEN_TIMEOUT = 1_000; // ms that it has the turn without presenting anything
const CLOCK_CHECK = 30_000; // ms between looks at the clocks: timers stop while a machine sleeps
const STABLE_AFTER = 10_000; // ms online after which a connection counts as one that works

/** A connection that is in use or being made. It is used once. */
export class Connection {
  socket; // once it is the client's turn
  turn; // while a presentation is in progress
  presented; // the token presented last
  token; // the token that the server gave last
  isBusy = false; // from asking for the turn until it ends
  isOutdated = false; // whether the server has asked for the token since it was presented last
  refusal; // what the server said against it
  waiting = new Set(); // functions that reject what waits for a reply

  #turnTimer;
  #yieldTimer;
  #renewalTimer;
  #ended = new AbortController();
  #renewFrom; // when the newest token came, or the server said to wait
  #renewAfter; // ms after that when the token is to be replaced; undefined: not
  #onlineSince;

  /** Reports whether the server has let it in. */
  get isOnline() {
    return this.#onlineSince !== undefined;
  }

  /** Reports whether it was online for long enough to count as one that works. */
  get isStable() {
    return this.isOnline && elapsed(this.#onlineSince) > STABLE_AFTER;
  }

  /**
   * Waits for the turn for a presentation, and for restore, which brings the storage up to date in
   * it. Resolves to whether the connection has it: not if it was closed meanwhile. Calls lost with
   * the reason if there can be no turn, or if the turn has not ended after ANSWER_TIMEOUT. A
   * connection that takes long to open gives the turn back until it has: Firefox makes websockets
   * wait for up to a minute where earlier ones have failed.
   */
  async takeTurn(turns, restore, lost) {
    const { signal } = this.#ended;
    this.isBusy = true;
    let turn;
    try {
      turn = await turns.acquire(signal);
    } catch (error) {
      lost(String(error?.message ?? error));
      return false;
    }
    if (signal.aborted) {
      turn.end();
      return false;
    }
    this.turn = turn;
    clearTimeout(this.#turnTimer);
    this.#turnTimer = setTimeout(lost, ANSWER_TIMEOUT, "timeout");
    await restore();
    if (this.turn === turn) {
      this.#yieldTimer = setTimeout(() => { if (!this.presented) this.#giveBack(); }, OPEN_TIMEOUT);
    }
    return true;
  }

  /**
   * Takes its socket. handlers has functions by event, and lost is called with the reason when the
   * connection is over or none is made. What comes when isCurrent() is false is dropped.
   */
  use(socket, handlers, lost, isCurrent) {
    this.socket = socket;
    const on = (event, f) => socket.on(event, (...args) => {
      if (!isCurrent()) return; // it was given up
      try {
        f(...args);
      } catch {
        lost("bad_answer");
      }
    });
    for (const [event, f] of Object.entries(handlers)) on(event, f);
    on("disconnect", (reason) => lost(String(reason)));
    for (const event of ["connect_error", "connect_timeout", "error"]) {
      on(event, (error) => lost(String(error?.message ?? error)));
    }
  }

  /** Notes that a token is presented. */
  present(token) {
    this.presented = token;
    this.refusal = undefined;
    this.isOutdated = false;
  }

  /** Ends the turn, after a delay in ms. */
  endTurn(delay = 0) {
    clearTimeout(this.#turnTimer);
    this.#giveBack(delay);
  }

  #giveBack(delay = 0) {
    clearTimeout(this.#yieldTimer);
    if (delay > 0) setTimeout(this.turn.end, delay);
    else this.turn?.end();
    this.turn = undefined;
    this.isBusy = false;
  }

  /**
   * Notes that a token has come and was stored, and when it is to be replaced; and ends the turn.
   * Returns the token, when it came, its age by then, and its life, in ms.
   */
  tokenStored(token, isDurable) {
    this.token = token;
    // Whoever is next reads the durable copy. If there is none, the turn ends after a delay: in
    // Chromium a lock may be passed on before other tabs see what was stored under it. No timer is
    // used without need, since those of a hidden tab take a second.
    this.endTurn(isDurable ? 0 : PROPAGATION_DELAY);
    // In seconds of life. Unlike "exp" that needs no clock that agrees with the server's.
    const { dur } = claims(token);
    const age = token === this.presented ? dur / 2 : 0; // one that came back is at most so old
    // At random, so that not all tabs and clients renew at one time.
    const due = dur * (0.7 + 0.1 * Math.random()) - age;
    // A shorter life is the end of the longest that a session may live: there is no next token.
    this.renewAfter(dur > 2 ? due * 1000 : undefined);
    this.#onlineSince ??= this.#renewFrom;
    return { token, since: this.#renewFrom, age: age * 1000, life: dur * 1000 };
  }

  /** Sets when the token is to be replaced, in ms from now. undefined: not. */
  renewAfter(ms) {
    this.#renewFrom = readClocks();
    this.#renewAfter = ms;
  }

  /**
   * Calls renew when the token is to be presented anew by the clocks. While it is being presented,
   * nothing happens: this is called again after that.
   */
  watchRenewal(renew) {
    clearTimeout(this.#renewalTimer);
    if (this.isBusy || !this.isOutdated && !this.#renewAfter) return;
    const left = this.isOutdated ? 0 : this.#renewAfter - elapsed(this.#renewFrom);
    if (left <= 0) return renew();
    this.#renewalTimer = setTimeout(() => this.watchRenewal(renew), Math.min(left, CLOCK_CHECK));
  }

  /** Closes the connection, and ends all that waits for something from it. */
  close() {
    this.#ended.abort();
    clearTimeout(this.#renewalTimer);
    this.socket?.disconnect();
    this.endTurn(); // after the disconnect, so that nothing more is heard
    for (const fail of [...this.waiting]) fail("disconnected");
  }
}
