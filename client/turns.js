// Taking turns: tabs that share a storage present one token at a time.

import { attempt, failLoading } from "./errors.js";

/** In a storage: nobody has the turn. All signatures have its length, so that the next one fits. */
export const NO_SIGNATURE = "-----------0";

const LOCK_STEAL_AFTER = 60_000; // ms of waiting for a lock; then its holder is taken for frozen

/**
 * Gives clients that share a storage their turns: by Web Locks, or where there are none by the
 * storage itself. A client that is alone with its session waits for itself only: it may ask for a
 * turn on its socket and for one at TokenPath.
 */
export class Turns {
  locks; // Web Locks, or what is used like them; undefined: there are none

  #store;
  #key;
  #own = new PageLocks(); // for a client that is alone with its session

  /** locks are Web Locks or null; undefined means the page's. */
  constructor({ store, key, locks }) {
    if (locks === undefined) locks = attempt(() => globalThis.navigator.locks);
    this.#store = store;
    this.#key = key;
    this.locks = locks ?? store.locks;
    this.reserve();
  }

  /** Makes room in the storage for taking turns by it. Returns whether there is room. */
  reserve() {
    const { shared } = this.#store;
    if (this.locks || !shared) return true;
    return attempt(() => {
      if (shared.getItem(this.#turnKey) === null) shared.setItem(this.#turnKey, NO_SIGNATURE);
      return true;
    }) ?? false;
  }

  /**
   * Waits for the turn. held() of the turn reports whether it still is this client's, and end()
   * gives it back.
   */
  async acquire(signal) {
    if (this.#store.inMemory) return acquireLock(this.#own, this.#key, signal);
    if (this.locks) return acquireInOrder(this.locks, this.#key, signal);
    const { StorageMutex } = await import("./mutex.js").catch(failLoading);
    return new StorageMutex(this.#store.shared, this.#turnKey).acquire(signal);
  }

  get #turnKey() {
    return this.#key + ".turn";
  }
}

/**
 * Takes a turn by a Web Lock. Hidden tabs have a queue of their own, of which only the first waits
 * for the turn: a visible tab waits for at most one of them, however many there are.
 */
async function acquireInOrder(locks, key, signal) {
  const place = await acquireHiddenPlace(locks, key + ".hidden", signal);
  try {
    const turn = await acquireLock(locks, key, signal);
    return {
      held: turn.held,
      end: () => {
        turn.end();
        place?.end();
      },
    };
  } catch (error) {
    place?.end();
    throw error;
  }
}

/**
 * Waits to be the first in the queue of hidden tabs. Resolves to undefined where the tab is visible
 * or becomes so.
 */
async function acquireHiddenPlace(locks, key, signal) {
  const { document } = globalThis;
  if (document?.visibilityState !== "hidden") return undefined;
  const waiting = new AbortController();
  const leave = () => waiting.abort(signal.reason);
  const leaveIfVisible = () => { if (document.visibilityState !== "hidden") leave(); };
  signal.addEventListener("abort", leave);
  document.addEventListener("visibilitychange", leaveIfVisible);
  try {
    signal.throwIfAborted();
    return await acquireLock(locks, key, waiting.signal);
  } catch (error) {
    if (signal.aborted || !waiting.signal.aborted) throw error;
    return undefined;
  } finally {
    signal.removeEventListener("abort", leave);
    document.removeEventListener("visibilitychange", leaveIfVisible);
  }
}

/**
 * Takes a Web Lock. From a tab that does not give it back, as one that is frozen, it is taken
 * without asking.
 */
function acquireLock(locks, key, signal) {
  return new Promise((resolve, reject) => {
    let held; // undefined: not yet
    const hold = () => held === undefined && new Promise((end) => {
      clearTimeout(timer);
      held = true;
      resolve({ held: () => held, end });
    });
    const lose = (error) => {
      clearTimeout(timer);
      held = false;
      reject(error);
    };
    const request = (options) => {
      locks.request("socketauth:" + key, options, hold).catch(lose);
    };
    const timer = setTimeout(request, LOCK_STEAL_AFTER, { steal: true });
    request({ signal });
  });
}

/**
 * Locks for the clients of one page, used like navigator.locks. It cannot steal a lock: no client
 * of a page is frozen while another one runs.
 */
export class PageLocks {
  #last = new Map(); // by name, the promise of the last request's end

  request(name, { signal }, hold) {
    const turn = Promise.resolve(this.#last.get(name)).then(() => {
      signal?.throwIfAborted();
      return hold();
    });
    this.#last.set(name, turn.catch(() => {}));
    return turn;
  }
}
