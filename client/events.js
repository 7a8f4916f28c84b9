// The functions that a page gives for events.

import { SocketAuthError } from "./errors.js";

/** Events of the protocol and of the connection, which are no names for the page's events. */
const reserved = ["authenticate", "authenticated", "unauthorized", "rotated", "refresh", "logout",
  "logged_out", "connect", "connect_error", "connect_timeout", "disconnect", "disconnecting",
  "error", "connecting", "ping", "pong", "reconnect", "reconnecting", "reconnect_attempt",
  "reconnect_error", "reconnect_failed"];

/** Events of the client, which do not come from the server. */
export const own = ["state", "notice"];

/** Throws if an event's name is reserved. */
export function checkName(event) {
  if (reserved.includes(event)) throw new SocketAuthError(`reserved event: ${event}`);
}

/** Calls functions of a Set. What they throw goes to the console and stops nothing. */
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

  #functions = new Map(); // event to Set
  #isClosed = false;
  #hasWarned = false;

  /** Returns the names of those events that come from the server. */
  get serverEvents() {
    return [...this.#functions.keys()].filter((event) => !own.includes(event));
  }

  /** Adds a function. Returns whether it is the first for an event that comes from the server. */
  add(event, f) {
    const isNew = !this.#functions.has(event);
    if (isNew) this.#functions.set(event, new Set());
    this.#functions.get(event).add(f);
    return isNew && !own.includes(event);
  }

  remove(event, f) {
    this.#functions.get(event)?.delete(f);
  }

  /** Calls the functions of an event. */
  call(event, ...args) {
    if (own.includes(event)) this.changed();
    if (!this.#isClosed) callAll(this.#functions.get(event) ?? new Set(), ...args);
  }

  /** Says once that the server has sent an event that the page cannot receive. */
  warn(event) {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    console.warn(`socketauth: the server sent an event named "${event}", which was dropped: ` +
      "the client has an event of that name. Choose another one");
  }

  /** From now on no function is called. */
  close() {
    this.#isClosed = true;
  }
}
