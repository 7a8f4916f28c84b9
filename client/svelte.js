// For Svelte 4 and 5: the session and the server's events in components.

import { onMount } from "svelte";
import { unknown } from "./snapshot.js";

let isHydrated = false; // whether the page's first components are there

/**
 * Returns a store with the client's snapshot. It can be made in any module; in a component, $session
 * is the value of the store session.
 */
export function useSocketAuth(client) {
  return {
    subscribe(run) {
      run(isHydrated ? client.snapshot : unknown);
      if (!globalThis.document) return () => {}; // on a server
      const update = () => run(client.snapshot);
      const unsubscribe = client.subscribe(update);
      let isSubscribed = true;
      if (!isHydrated) queueMicrotask(() => {
        isHydrated = true;
        if (isSubscribed) update();
      });
      return () => {
        isSubscribed = false;
        unsubscribe();
      };
    },
  };
}

/** Calls f at an event, as on does, while the component is there. */
export function useEvent(client, event, f) {
  onMount(() => client.on(event, f));
}
