// Made from svelte.js by interop/types.mjs.

/**
 * Returns a store with the client's snapshot. It can be made in any module, also once for all.
 */
export function useSocketAuth(client: Pick<Client, "snapshot" | "subscribe">): Readable<Snapshot>;
/**
 * Calls f at an event, as on does, while the component is mounted.
 */
export function useEvent<ServerEvents extends EventMap<ServerEvents>, E extends EventName<ServerEvents> | "state" | "notice">(client: Client<ServerEvents, any>, event: E, f: Listener<ServerEvents, E>): void;
import type { Client } from './client.js';
import type { Snapshot } from './types.js';
import type { Readable } from 'svelte/store';
import type { EventMap } from './types.js';
import type { EventName } from './types.js';
import type { Listener } from './types.js';
