// @ts-check
// For Vue 3.3 and newer: the session and the server's events in components and effect scopes.

/**
 * @import { ComputedRef, MaybeRefOrGetter } from 'vue'
 * @import { Client } from './client.js'
 * @import { EventMap, EventName, Listener, Snapshot } from './types.js'
 */

import { computed, getCurrentInstance, shallowRef, toValue, watchPostEffect } from "vue";
import { unknown } from "./snapshot.js";

/**
 * Returns a ref for each value of the client's snapshot.
 *
 * @param {MaybeRefOrGetter<Pick<Client, "snapshot" | "subscribe">>} client
 * @returns {{ readonly [Name in keyof Snapshot]: ComputedRef<Snapshot[Name]> }}
 */
export function useSocketAuth(client) {
  const isUnknown = getCurrentInstance()?.vnode.el // the page is hydrated
    || !globalThis.document; // on a server
  const snapshot = shallowRef(isUnknown ? unknown : toValue(client).snapshot);
  watchPostEffect((onCleanup) => { // not on a server
    const current = toValue(client);
    const update = () => { snapshot.value = current.snapshot; };
    onCleanup(current.subscribe(update));
    update();
  });
  const names = /** @type {(keyof Snapshot)[]} */ (Object.keys(unknown));
  const refs = names.map((name) => [name, computed(() => snapshot.value[name])]);
  return Object.fromEntries(refs);
}

/**
 * Calls f at an event, as on does, from when the component is mounted until it is unmounted.
 *
 * @template {EventMap<ServerEvents>} ServerEvents
 * @template {EventName<ServerEvents> | "state" | "notice"} E
 * @param {MaybeRefOrGetter<Client<ServerEvents, any>>} client
 * @param {MaybeRefOrGetter<E>} event
 * @param {Listener<ServerEvents, E>} f
 */
export function useEvent(client, event, f) {
  watchPostEffect((onCleanup) => onCleanup(toValue(client).on(toValue(event), f)));
}
