// Made from react.js by interop/types.mjs.

/**
 * Returns the client's snapshot. The component is rendered again when it changes.
 */
export function useSocketAuth(client: Pick<Client, "snapshot" | "subscribe">): Snapshot;
/**
 * Calls f at an event, as on does, while the component is mounted. f may be another function at
 * each rendering: the latest is called.
 */
export function useEvent<ServerEvents extends EventMap<ServerEvents>, E extends EventName<ServerEvents> | "state" | "notice">(client: Client<ServerEvents, any>, event: E, f: Listener<ServerEvents, E>): void;
import type { Client } from './client.js';
import type { Snapshot } from './types.js';
import type { EventMap } from './types.js';
import type { EventName } from './types.js';
import type { Listener } from './types.js';
