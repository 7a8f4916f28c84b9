// @ts-check
// The functions that a page gives for events.

import { SocketAuthError } from "./errors.js";

/** Events of the protocol and of the connection, which are no names for the page's events. */
const reserved = ["authenticate", "authenticated", "unauthorized", "rotated", "refresh", "logout",
  "logged_out", "connect", "connect_error", "connect_timeout", "disconnect", "disconnecting",
  "error", "connecting", "ping", "pong", "reconnect", "reconnecting", "reconnect_attempt",
  "reconnect_error", "reconnect_failed"];

/**
 * Events of the client, which do not come from the server.
 *
 * @type {(string | symbol)[]}
 */
const own = ["state", "notice"];

/** In place of an event's name: all events that come from the server. */
export const ANY = Symbol("any");

/** @typedef {(...args: any[]) => void} Listener */

/**
 * Throws if an event's name is reserved.
 *
 * @param {any} event
 */
export function checkName(event) {
  if (reserved.includes(event)) throw new SocketAuthError(`reserved event: ${event}`);
}

/**
 * Calls functions. What they throw goes to the console and stops nothing.
 *
 * @param {Set<Listener>} functions
 * @param {any[]} args
 */
export function callAll(functions, ...args) {
  for (const f of [...functions]) {
    if (!functions.has(f)) continue; // one before it has removed it
    try {
      f(...args);
    } catch (error) {
      queueMicrotask(() => { throw error; });
    }
  }
}

/** Holds the functions that are called at events. */
export class Handlers {
  /** Is called when the session may have changed: before the functions of the client's own events. */
  changed = () => {};

  /** @type {Map<string | symbol, Set<Listener>>} */
  #functions = new Map(); // each made by add
  #originals = new WeakMap(); // function that add has made to the one that it was given
  #isClosed = false;
  #hasWarned = false;

  /**
   * Calls f at an event, or only the first time that it comes. Returns a function that undoes this,
   * and nothing else that was added with f.
   *
   * @param {string | symbol} event
   * @param {Listener} f
   * @param {boolean} [isOnce]
   * @returns {() => void}
   */
  add(event, f, isOnce) {
    const functions = this.#of(event);
    const undo = () => functions.delete(call);
    /** @type {Listener} */
    const call = (...args) => {
      if (isOnce) undo();
      f(...args);
    };
    this.#originals.set(call, f);
    this.#functions.set(event, functions.add(call));
    return undo;
  }

  /**
   * Undoes all that was added with f for an event.
   *
   * @param {string | symbol} event
   * @param {Listener} f
   */
  remove(event, f) {
    const functions = this.#of(event);
    for (const call of functions) if (this.#originals.get(call) === f) functions.delete(call);
  }

  /** @param {string | symbol} event */
  #of(event) {
    return this.#functions.get(event) ?? new Set();
  }

  /**
   * Calls the functions of an event.
   *
   * @param {string | symbol} event
   * @param {any[]} args
   */
  call(event, ...args) {
    if (own.includes(event)) this.changed();
    if (!this.#isClosed) callAll(this.#of(event), ...args);
  }

  /**
   * Calls the functions of an event that the server has sent.
   *
   * @param {string} event
   * @param {any[]} args
   */
  serve(event, ...args) {
    if (own.includes(event)) return this.#warn(event);
    if (reserved.includes(event)) return;
    this.call(ANY, event, ...args);
    this.call(event, ...args);
  }

  /**
   * Says once that the server has sent an event that the page cannot receive.
   *
   * @param {string} event
   */
  #warn(event) {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    console.warn(`socketauth: the server's event "${event}" was dropped: the client has one of ` +
      "that name");
  }

  /** From now on no function is called. */
  close() {
    this.#isClosed = true;
    for (const functions of this.#functions.values()) functions.clear();
  }
}
