// Made from vue.js by interop/types.mjs.

/**
 * Returns a ref for each value of the client's snapshot.
 */
export function useSocketAuth(client: MaybeRefOrGetter<Pick<Client, "snapshot" | "subscribe">>): { readonly [Name in keyof Snapshot]: ComputedRef<Snapshot[Name]>; };
/**
 * Calls f at an event, as on does, from when the component is mounted until it is unmounted.
 */
export function useEvent<ServerEvents extends EventMap<ServerEvents>, E extends EventName<ServerEvents> | "state" | "notice">(client: MaybeRefOrGetter<Client<ServerEvents, any>>, event: MaybeRefOrGetter<E>, f: Listener<ServerEvents, E>): void;
import type { Client } from './client.js';
import type { MaybeRefOrGetter } from 'vue';
import type { Snapshot } from './types.js';
import type { ComputedRef } from 'vue';
import type { EventMap } from './types.js';
import type { EventName } from './types.js';
import type { Listener } from './types.js';
