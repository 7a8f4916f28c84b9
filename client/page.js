// The page in which the client runs: its URL, its storages and its events. In Node there is none.

import { attempt } from "./errors.js";
import { isCode } from "./token.js";

/**
 * Returns the URL of the server, or undefined where there is neither a URL nor a page that has one,
 * as on a server that renders pages: a client that is made there must do no harm.
 */
export function serverURL(url) {
  const page = globalThis.location?.href;
  return url || page ? new URL(url, page) : undefined;
}

/** Reports whether a URL is that of the page, apart from the fragment. */
export function isThisPage(url) {
  return withoutFragment(url) === withoutFragment(globalThis.location);
}

function withoutFragment({ href }) {
  return href.split("#")[0];
}

/**
 * Returns the code in a URL's fragment, or null. An OAuth server's "code" there is not one of this
 * library and is not returned.
 */
export function codeIn(url, name) {
  const code = name && new URLSearchParams(url.hash.slice(1)).get(name);
  return isCode(code) ? code : null;
}

/**
 * Removes the code from the fragment of the page's URL, so that no history, bookmark or reload has
 * it. Returns the code, or null where there is none.
 */
export function takeCode(name) {
  const { location, history } = globalThis;
  const code = location && codeIn(location, name);
  if (!code) return null;
  const parts = location.hash.slice(1).split("&");
  const others = parts.filter((part) => !part.startsWith(name + "=")).join("&");
  history.replaceState(history.state, "", withoutFragment(location) + (others && "#" + others));
  return code;
}

/**
 * Returns the page's localStorage. It returns undefined without a page: all users whom the process
 * serves would share one.
 */
export function pageStorage() {
  return globalThis.document && attempt(() => globalThis.localStorage);
}

const memory = new Map();

/**
 * Returns a storage in the page's memory, where a client that is closed leaves its session to the
 * next one: components may be made twice, and the code in the URL can be taken once. It returns
 * undefined without a page: a process that serves many users must not share one between them.
 */
export function pageMemory() {
  return globalThis.document && {
    getItem: (key) => memory.get(key) ?? null,
    setItem: (key, value) => memory.set(key, value),
    removeItem: (key) => memory.delete(key),
  };
}

/** Calls the functions given at the page's events of their names, until the signal aborts. */
export function listenToPage(signal, handlers) {
  const { document } = globalThis;
  if (!document) return;
  for (const [event, f] of Object.entries(handlers)) {
    const target = event === "visibilitychange" ? document : globalThis;
    target.addEventListener(event, f, { signal });
  }
}
