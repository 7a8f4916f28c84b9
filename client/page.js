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
  const page = ({ origin, pathname, search }) => origin + pathname + search;
  return page(url) === page(globalThis.location);
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
  if (!location?.hash || !name) return null;
  const url = new URL(location.href);
  const code = codeIn(url, name);
  if (!code) return null;
  const isOther = (part) => !part.startsWith(name + "=");
  url.hash = url.hash.slice(1).split("&").filter(isOther).join("&");
  history.replaceState(history.state, "", url.hash ? url : url.pathname + url.search);
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

/**
 * Calls the functions given at the page's events until the signal aborts. hide and show are called
 * when the page is left and when it is come back to as it was.
 */
export function listenToPage(signal, { storage, hashchange, online, visible, hide, show }) {
  const { document } = globalThis;
  if (!document) return;
  const on = (target, event, f) => target.addEventListener(event, f, { signal });
  on(globalThis, "storage", storage);
  on(globalThis, "hashchange", hashchange);
  on(globalThis, "online", online);
  on(document, "visibilitychange", () => {
    if (document.visibilityState === "visible") visible();
  });
  on(globalThis, "pagehide", hide);
  on(globalThis, "pageshow", ({ persisted }) => { if (persisted) show(); });
}
