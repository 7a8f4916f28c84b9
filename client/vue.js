// For Vue 3.3 and newer: the session and the server's events in components and effect scopes.

import { computed, getCurrentInstance, shallowRef, toValue, watchPostEffect } from "vue";
import { unknown } from "./snapshot.js";

/**
 * Returns a ref for each value of the client's snapshot. The client may be in a ref, or the result
 * of a function.
 */
export function useSocketAuth(client) {
  const isHydrating = getCurrentInstance()?.vnode.el;
  const snapshot = shallowRef(isHydrating || !globalThis.document ? unknown : toValue(client).snapshot);
  watchPostEffect((onCleanup) => { // not on a server
    const current = toValue(client);
    const update = () => { snapshot.value = current.snapshot; };
    onCleanup(current.subscribe(update));
    update();
  });
  return Object.fromEntries(Object.keys(unknown).map((name) => [name, computed(() => snapshot.value[name])]));
}

/** Calls f at an event, as on does, from when the component is mounted until it is unmounted. */
export function useEvent(client, event, f) {
  watchPostEffect((onCleanup) => onCleanup(toValue(client).on(toValue(event), f)));
}
