// @ts-check
// What a client shows at one moment, for frameworks that draw it.

import { attempt } from "./errors.js";
import { callAll } from "./events.js";
import { claims, isBound, isSessionToken } from "./token.js";

/**
 * @import { Session } from './session.js'
 * @import { Snapshot } from './types.js'
 */

/** The claims of the library's own. acr and amr are the app's to set, and stay. */
const libraryClaims = ["iss", "aud", "sid", "jti", "iat", "exp", "auth_time", "gen", "dur",
  "token_use", "began", "mark", "cnf"];

/**
 * What frameworks render on a server, and hydrate in the page: nobody's session, and nothing that
 * says that nobody is signed in.
 *
 * @type {Snapshot}
 */
export const unknown = Object.freeze({
  state: "connecting", reason: undefined, user: null, claims: null, shared: true, bound: false,
});

/** Keeps a session's snapshot, which is replaced when one of its values changes. */
export class Snapshots {
  /** @type {Snapshot | undefined} */
  #current;

  #session;
  /** @type {Set<() => void>} */
  #functions = new Set();
  #isClosed = false;
  #json = ""; // of the claims

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
    this.update();
  }

  get current() {
    return /** @type {Snapshot} */ (this.#current);
  }

  /** Takes a new snapshot. If it differs from the one before, the functions of subscribe are called. */
  update() {
    const { state, reason, store } = this.#session;
    /** @type {Snapshot & { [name: string]: unknown }} */
    const next = { ...this.#ofToken(), state, reason, shared: !store.inMemory };
    const before = Object.entries(this.#current ?? {});
    if (before.length > 0 && before.every(([name, value]) => next[name] === value)) return;
    this.#current = Object.freeze(next);
    callAll(this.#functions);
  }

  /** Returns the values that a token has. */
  #ofToken() {
    const { isSignedIn, isBehind, store, connection } = this.#session;
    const nobody = { user: null, claims: null, bound: false };
    if (!isSignedIn) return nobody;
    const stored = store.get();
    // The token goes before the state does: while a logout is under way, the user stays.
    if (!stored) return this.#current ?? nobody;
    // What is emitted goes out as the connection's user until the client follows another login.
    const token = isBehind ? connection.token : stored;
    const bound = isBound(token);
    if (!store.isChecked || !isSessionToken(token)) return { ...nobody, bound };
    return { ...this.#appClaims(token), bound };
  }

  /**
   * Returns the user and the app's claims: the same object as before if they are equal, and null
   * instead of claims that are nested too deeply for JSON's functions.
   *
   * @param {string} token
   */
  #appClaims(token) {
    const all = claims(token);
    const own = Object.entries(all).filter(([name]) => !libraryClaims.includes(name));
    own.sort(([a], [b]) => a < b ? -1 : 1);
    const user = typeof all.sub === "string" ? all.sub : null;
    return attempt(() => {
      const json = JSON.stringify(own);
      if (json === this.#json && this.#current?.claims) return this.#current;
      const frozen = JSON.parse(json, (_, value) => Object.freeze(value));
      this.#json = json;
      return { user, claims: Object.freeze(Object.fromEntries(frozen)) };
    }) ?? { user, claims: null };
  }

  /**
   * Calls f after each change. Returns a function that undoes this.
   *
   * @param {() => void} f
   */
  subscribe(f) {
    const call = () => f();
    if (!this.#isClosed) this.#functions.add(call);
    return () => this.#functions.delete(call);
  }

  /** From now on no function is called. */
  close() {
    this.#isClosed = true;
    this.#functions.clear();
  }
}
