// @ts-check
"use client";
// For React 18 and newer: the session and the server's events in components.

/**
 * @import { Client } from './client.js'
 * @import { EventMap, EventName, Listener, Snapshot } from './types.js'
 */

import { useEffect, useInsertionEffect, useRef, useSyncExternalStore } from "react";
import { unknown } from "./snapshot.js";

/**
 * Returns the client's snapshot. The component is rendered again when it changes.
 *
 * @param {Pick<Client, "snapshot" | "subscribe">} client
 * @returns {Snapshot}
 */
export function useSocketAuth(client) {
  return useSyncExternalStore(client.subscribe, () => client.snapshot, () => unknown);
}

/**
 * Calls f at an event, as on does, while the component is mounted. f may be another function at
 * each rendering: the latest is called.
 *
 * @template {EventMap<ServerEvents>} ServerEvents
 * @template {EventName<ServerEvents> | "state" | "notice"} E
 * @param {Client<ServerEvents, any>} client
 * @param {E} event
 * @param {Listener<ServerEvents, E>} f
 */
export function useEvent(client, event, f) {
  const latest = useRef(/** @type {(...args: any[]) => void} */ (f));
  useInsertionEffect(() => { latest.current = f; });
  useEffect(() => {
    /** @param {any[]} args */
    const call = (...args) => latest.current(...args);
    return client.on(event, /** @type {Listener<ServerEvents, E>} */ (call));
  }, [client, event]);
}
