// @ts-check
// For Svelte 4 and 5: the session and the server's events in components.

/**
 * @import { Readable } from 'svelte/store'
 * @import { Client } from './client.js'
 * @import { EventMap, EventName, Listener, Snapshot } from './types.js'
 */

import { onMount } from "svelte";
import { unknown } from "./snapshot.js";

let isHydrated = false; // whether the page's first components are there

/**
 * Returns a store with the client's snapshot. It can be made in any module, also once for all.
 *
 * @param {Pick<Client, "snapshot" | "subscribe">} client
 * @returns {Readable<Snapshot>}
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

/**
 * Calls f at an event, as on does, while the component is mounted.
 *
 * @template {EventMap<ServerEvents>} ServerEvents
 * @template {EventName<ServerEvents> | "state" | "notice"} E
 * @param {Client<ServerEvents, any>} client
 * @param {E} event
 * @param {Listener<ServerEvents, E>} f
 */
export function useEvent(client, event, f) {
  onMount(() => client.on(event, f));
}
