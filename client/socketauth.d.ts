// Made from socketauth.js by interop/types.mjs.

/**
 * Makes a client. It begins at once: with a code in the URL's fragment, or else with the token in
 * the storage. ServerEvents and ClientEvents have the events that the server and the client send,
 * and the functions that are called at them, as in socket.io-client. An event for emitWithAck needs
 * a reply function as its last parameter. "state" and "notice" are the client's own events: do not
 * name the server's so, for TypeScript does not object.
 */
export function connect<ServerEvents extends EventMap<ServerEvents> = AnyEvents, ClientEvents extends EventMap<ClientEvents> = AnyEvents>(options?: Options): Client<ServerEvents, ClientEvents>;
export { Client };
export { SocketAuthError } from "./errors.js";
export type AsyncTokenStorage = import("./types.js").AsyncTokenStorage;
export type Claims = import("./types.js").Claims;
export type ErrorCode = import("./types.js").ErrorCode;
export type Notice = import("./types.js").Notice;
export type Options = import("./types.js").Options;
export type Reason = import("./types.js").Reason;
export type Refusal = import("./types.js").Refusal;
export type Snapshot = import("./types.js").Snapshot;
export type State = import("./types.js").State;
export type TokenStorage = import("./types.js").TokenStorage;
import type { EventMap } from './types.js';
import type { AnyEvents } from './types.js';
import { Client } from "./client.js";
