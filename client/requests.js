// HTTP requests with the session's token, and proving again who the user is. A page loads this
// module when it first needs it.

import { Connection } from "./connection.js";
import { SocketAuthError } from "./errors.js";
import { PendingLogin, postCredentials } from "./login.js";
import { elapsed, unlessAborted } from "./time.js";
import { claims, isSessionToken, sameSession } from "./token.js";

const MIN_VALIDITY = 30; // seconds that a token must still live, unless the page says otherwise
const TURN_TIMEOUT = 20_000; // ms of waiting for the turn

/**
 * How often a request is repeated with another token after a refusal. A token is no_longer_valid
 * also if other tabs had it replaced more than once while the request was under way. Middleware
 * refuses a request before anything is done.
 */
const repeats = [["stale_token", 1], ["token_expired", 1], ["no_longer_valid", 3]];

/** Codes by which the token that was presented without a socket is dead. */
const dead = ["invalid_token", "token_expired", "invalid_tenant", "no_longer_valid", "token_reused",
  "session_revoked", "key_lost"];

/** A presentation on a socket that is waited for. It fails as a login does. */
class PendingPresentation extends PendingLogin {
  connection; // the one on which it was presented since

  /** stepUp is a code that is presented too; isDone(token) reports whether a token is enough. */
  constructor(token, { stepUp, isDone }) {
    super(token);
    this.stepUp = stepUp;
    this.isDone = isDone;
  }
}

/** Makes requests, and replaces the session's token for them. It is the session's observer. */
export class Requests {
  #session;
  #options;
  #pending = new Set(); // of PendingPresentation

  constructor(session, options) {
    this.#session = session;
    this.#options = options;
    session.observer = this;
  }

  // What the session tells

  /** The token is presented on a connection. Returns what is presented beside it. */
  presenting(connection) {
    let data;
    for (const pending of this.#pending) {
      pending.connection = connection;
      if (!pending.isOf(connection.presented)) pending.fail("replaced");
      else if (pending.stepUp) data = { step_up: pending.stepUp };
    }
    return data;
  }

  /** The next token of a connection is stored. */
  stored(connection) {
    for (const pending of this.#pending) {
      const isDone = pending.connection === connection || pending.isDone?.(connection.token);
      if (isDone) pending.succeed();
      else connection.isOutdated = true; // it was presented before that was asked for
    }
  }

  refused(connection, refusal) {
    for (const pending of this.#pending) {
      if (pending.connection === connection) pending.refused(refusal);
    }
  }

  signedOut(reason) {
    for (const pending of this.#pending) pending.fail(reason);
  }

  // Tokens

  /**
   * Resolves to a token that lives for at least minValidity seconds, but no more than a quarter of
   * its life are asked for; or to null where nobody is signed in.
   */
  async getToken({ minValidity = MIN_VALIDITY } = {}) {
    const { store } = this.#session;
    const { lost } = store.needsLoad ? await store.load() : {};
    const token = store.get() || lost;
    if (!token) return null;
    const isDone = (token) => isSessionToken(token) && this.#livesFor(token, minValidity);
    return isDone(token) ? token : this.#replace(token, { isDone });
  }

  #livesFor(token, seconds) {
    const { dur, exp } = claims(token);
    if (dur <= 2) return true; // the longest that a session may live ends: there is no next token
    const { newest } = this.#session;
    const left = newest?.token === token
      ? newest.life - newest.age - elapsed(newest.since)
      : exp * 1000 - Date.now(); // another tab has stored it, and there is no better clock
    return left >= 1000 * Math.min(seconds, dur / 4);
  }

  /**
   * Has the token replaced: on the socket, or at TokenPath if there is none. Resolves to the next
   * one. aim has what isDone and stepUp are for a PendingPresentation.
   */
  async #replace(token, aim) {
    const { state, store } = this.#session;
    if (state !== "online" && this.#options.tokenPath) await this.#presentByRequest(token, aim);
    else await this.#presentOnSocket(token, aim);
    const next = store.get();
    if (!sameSession(next, token)) throw new SocketAuthError("replaced"); // by a login
    return next;
  }

  #presentOnSocket(token, aim) {
    const pending = new PendingPresentation(token, aim);
    for (const other of this.#pending) if (other.stepUp && aim.stepUp) other.fail("replaced");
    this.#pending.add(pending);
    // A connection that is being made presents the token by itself.
    if (this.#session.state === "online") this.#session.refresh();
    return pending.promise.finally(() => this.#pending.delete(pending));
  }

  /** Presents the token at TokenPath, in a turn, unless another tab has had it replaced by then. */
  async #presentByRequest(token, { stepUp, isDone }) {
    const session = this.#session;
    const { store, closing: { signal } } = session;
    const connection = new Connection();
    const giving = new AbortController();
    const giveUp = () => {
      giving.abort();
      connection.close();
    };
    const timer = setTimeout(giveUp, TURN_TIMEOUT);
    signal.addEventListener("abort", giveUp);
    const check = (expected) => {
      if (session.isClosed) throw new SocketAuthError("closed");
      if (!connection.turn?.held()) throw new SocketAuthError("timeout");
      if (store.get() !== expected) throw new SocketAuthError("replaced");
      return true;
    };
    try {
      if (!await connection.takeTurn(session.turns, () => store.restore(), giveUp)) check();
      clearTimeout(timer);
      const presented = store.get();
      if (!presented || !sameSession(presented, token)) throw new SocketAuthError("replaced");
      if (isDone?.(presented)) return;
      connection.presented = session.presented = presented;
      const body = stepUp ? { step_up: stepUp } : {};
      const { signal } = giving;
      const answer = await this.#post(connection, body, signal, () => check(presented));
      const next = answer?.token;
      if (!isSessionToken(next)) throw new SocketAuthError("bad_answer");
      // Stored before it is used, by who still has the turn, in place of what was presented.
      check(presented);
      const { replaced } = store;
      const isDurable = await store.keep(next, () => check(presented));
      check(next);
      // Not if it came back. An answer that is lost costs nothing: its first use confirms it too.
      if (next !== presented) await this.#confirm(next, signal, () => check(next));
      check(next);
      session.stored(connection, next, replaced, undefined, isDurable);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", giveUp);
      connection.close();
    }
  }

  async #confirm(token, signal, check) {
    const connection = new Connection();
    connection.presented = token;
    try {
      await this.#post(connection, { confirm: true }, signal, check);
    } catch (error) {
      if (connection.refusal?.terminal) throw error;
    }
  }

  /**
   * Posts to TokenPath with what a connection presents. The session hears of a refusal. check
   * throws where it may not be presented any more: another tab took the turn while this one slept.
   */
  async #post(connection, body, signal, check) {
    const { tokenPath, url } = this.#options;
    const send = (url, init) => {
      return this.#send(connection.presented, { method: init.method, url }, (headers) => {
        check();
        return fetch(url, { ...init, headers: { ...init.headers, ...headers }, signal });
      });
    };
    try {
      return await postCredentials(new URL(tokenPath, url), body, send);
    } catch (error) {
      const { code, message, retryAfter, details } = error;
      // A proof is for the request's path, which a proxy may have changed. The token is good.
      const terminal = code !== "invalid_proof" && (details?.terminal ?? dead.includes(code));
      if (terminal) {
        // Another tab may have stored the next token, where this one cannot see it yet.
        await this.#session.store.restore();
        this.#session.refused(connection, { code, message, terminal, retryAfter });
      }
      throw error;
    }
  }

  // Requests

  /**
   * Sends a request with a token, if there is one, and its proof: send(headers) does it, and is
   * called again if the server asks for another proof. Once, where isOnce is set.
   */
  async #send(token, request, send) {
    const { binding } = this.#session;
    if (!token) return send({});
    if (!binding.isProved(token)) return send({ Authorization: `Bearer ${token}` });
    return (await binding.load()).request(token, request, send);
  }

  /** Does what fetch does, at the server only and with the session's token. */
  async fetch(input, init) {
    const { url } = this.#options;
    if (!url) throw new SocketAuthError("no_url");
    const request = typeof input === "object" && "clone" in input ? input : undefined;
    const target = new URL(request?.url ?? input, url);
    if (target.origin !== url.origin) throw new SocketAuthError("other_origin");
    const signal = init?.signal ?? request?.signal;
    // A body that is read while it is sent cannot be sent again.
    const isOnce = Boolean(init?.body?.getReader ?? init?.body?.[Symbol.asyncIterator]);
    const { method } = new Request(target, { method: init?.method ?? request?.method });
    const send = (token) => {
      return this.#send(token, { method, url: target, isOnce }, (more) => {
        const headers = new Headers(init?.headers ?? request?.headers);
        for (const [name, value] of Object.entries(more)) headers.set(name, value);
        return fetch(isOnce ? request ?? target : request?.clone() ?? target, { ...init, headers });
      });
    };
    const waitFor = (promise) => unlessAborted(signal, (...settle) => promise.then(...settle));
    let token = await waitFor(this.#tokenForRequest());
    if (!token || isOnce) return send(token);
    for (const left = new Map(repeats); ;) {
      const response = await send(token);
      if (response.status !== 401) return response;
      const code = (await response.clone().json().catch(() => {}))?.code;
      const n = left.get(code);
      if (!n) return response;
      left.set(code, n - 1);
      token = await waitFor(this.#tokenAfter(code, token));
      if (!token) return response;
    }
  }

  /** Resolves to a token for a request. One that lives a little longer will do if there is none. */
  async #tokenForRequest() {
    try {
      return await this.getToken();
    } catch (error) {
      const token = this.#session.store.get();
      if (isSessionToken(token) && this.#livesFor(token, 1)) return token;
      throw error;
    }
  }

  /**
   * Resolves to the token with which to repeat a request that was refused with a code, or to null:
   * there is no other token, or another user has logged in.
   */
  async #tokenAfter(code, token) {
    const stored = this.#session.store.get();
    if (!sameSession(stored, token)) return null;
    const mark = (token) => claims(token).mark ?? 0;
    const isDone = (next) => code === "stale_token" ? mark(next) > mark(token) : next !== token;
    if (isDone(stored)) return stored;
    return this.#replace(stored, { isDone }).catch(() => null);
  }

  // Proving again who the user is

  /** Presents the step-up code that the app has made, or that the server gives for credentials. */
  async reauthenticate(proof) {
    const { loginPath, url } = this.#options;
    const token = await this.getToken();
    if (!token) throw new SocketAuthError("signed_out");
    let stepUp = proof;
    if (typeof proof !== "string") {
      const send = (url, init) => this.fetch(url, init);
      const body = { ...proof, step_up: true };
      stepUp = (await postCredentials(new URL(loginPath, url), body, send))?.token;
      if (claims(stepUp).token_use !== "step_up") throw new SocketAuthError("bad_answer");
    }
    if (!sameSession(stepUp, token)) throw new SocketAuthError("step_up_refused");
    await this.#replace(token, { stepUp });
  }
}
