// @ts-check
// socketauth: the browser's half of signing in. It trades the code of a login for a session token,
// keeps the newest token in storage, presents it at each connect, has it replaced before it
// expires, and logs out, in as many tabs as there are.
//
//   import { connect } from "/socketauth/socketauth.js";
//
//   const client = connect({ url: "https://app.example" });
//   client.on("state", (state, reason) => render(state, reason));
//   await client.login({ username, password });
//   console.log(await client.emitWithAck("hello"));
//
// This file is the one to import. Where to find what:
//
//   client.js        the client: what a page calls
//   session.js       the states of the session, and what follows from what happens to it
//   connection.js    one connection: its turn, and when its token is to be replaced
//   socketio.js      the Socket.IO protocol over WebSocket
//   login.js         posting credentials, and waiting to be let in
//   requests.js      HTTP requests with the token; loaded when a page first needs it
//   binding.js       sessions that are bound to this device
//   proofs.js        the keys and proofs of that; loaded when a page first needs them
//   logouts.js       when the server is told of logouts
//   logoutsender.js  telling it; loaded when that takes a connection of its own
//   storage.js       where the token is kept
//   durable.js       the copy of the token that survives a killed browser
//   asyncstorage.js  storages that answer with promises
//   turns.js         turns between tabs, by Web Locks
//   mutex.js         turns between tabs, by the storage alone; loaded where there are no Web Locks
//   events.js        the functions that a page gives for events
//   snapshot.js      what a client shows at one moment
//   page.js          the page: its URL, storages and events
//   token.js         what a token says
//   time.js          clocks and delays
//   errors.js        SocketAuthError
//   types.js         types, for TypeScript; no page loads it

import { Client } from "./client.js";

/** @import { AnyEvents, EventMap } from './types.js' */
/** @typedef {import('./types.js').AsyncTokenStorage} AsyncTokenStorage */
/** @typedef {import('./types.js').Claims} Claims */
/** @typedef {import('./types.js').ErrorCode} ErrorCode */
/** @typedef {import('./types.js').Notice} Notice */
/** @typedef {import('./types.js').Options} Options */
/** @typedef {import('./types.js').Reason} Reason */
/** @typedef {import('./types.js').Refusal} Refusal */
/** @typedef {import('./types.js').Snapshot} Snapshot */
/** @typedef {import('./types.js').State} State */
/** @typedef {import('./types.js').TokenStorage} TokenStorage */

export { Client };
export { SocketAuthError } from "./errors.js";

/**
 * Makes a client. It begins at once: with a code in the URL's fragment, or else with the token in
 * the storage. ServerEvents and ClientEvents have the events that the server and the client send,
 * and the functions that are called at them, as in socket.io-client. An event for emitWithAck needs
 * a reply function as its last parameter. "state" and "notice" are the client's own events: do not
 * name the server's so, for TypeScript does not object.
 *
 * @template {EventMap<ServerEvents>} [ServerEvents=AnyEvents]
 * @template {EventMap<ClientEvents>} [ClientEvents=AnyEvents]
 * @param {Options} [options]
 * @returns {Client<ServerEvents, ClientEvents>}
 */
export function connect(options) {
  // @ts-expect-error: the constructor is private, so that nobody else calls it
  return new Client(options);
}
