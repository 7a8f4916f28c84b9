"use client";
// For React 18 and newer: the session and the server's events in components.

import { useEffect, useInsertionEffect, useRef, useSyncExternalStore } from "react";
import { unknown } from "./snapshot.js";

/** Returns the client's snapshot, and renders the component again when it changes. */
export function useSocketAuth(client) {
  return useSyncExternalStore(client.subscribe, () => client.snapshot, () => unknown);
}

/**
 * Calls f at an event, as on does, while the component is there. f may be another function each
 * time that the component is rendered.
 */
export function useEvent(client, event, f) {
  const latest = useRef(f);
  useInsertionEffect(() => { latest.current = f; });
  useEffect(() => client.on(event, (...args) => latest.current(...args)), [client, event]);
}
