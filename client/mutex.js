// Taking turns by a storage alone, where there are no Web Locks: on pages that came by plain http.

import { attempt } from "./errors.js";
import { NO_SIGNATURE } from "./turns.js";

const SETTLE_DELAY = 120; // ms that a signature must last, at least
const HEARTBEAT = 500; // ms between signs of life
const CHECK_INTERVAL = 50; // ms between checks of a holder, at least
const MAX_CHECKS = 40; // without a sign of life; then the holder is taken for frozen

/**
 * A lock that is a value in a storage, by Fischer's algorithm. Who finds the value free writes its
 * signature, waits for longer than other tabs take to see a write, and has the lock if the
 * signature is still there. The holder shows that it lives by a count beside its signature. No
 * clock is trusted: a holder is taken for frozen when a waiting tab has checked often enough and
 * seen no sign of life. A holder that only slept then finds another signature, and so neither
 * stores nor acknowledges anything.
 */
export class StorageMutex {
  #storage;
  #key;

  constructor(storage, key) {
    this.#storage = storage;
    this.#key = key;
  }

  /**
   * Waits for the lock. Rejects where the storage has no room for a signature any more: the caller
   * tries again later.
   */
  async acquire(signal) {
    const me = Math.random().toString(36).slice(2, 10).padEnd(8, "0");
    do {
      await this.#untilFree(signal);
      this.#sign(me, 0);
      await sleep(SETTLE_DELAY * (1 + Math.random()), signal, () => this.#release(me));
    } while (this.#signature() !== me);
    let beats = 0;
    const heartbeat = setInterval(() => {
      attempt(() => { if (this.#signature() === me) this.#sign(me, ++beats % 1000); });
    }, HEARTBEAT);
    return {
      held: () => attempt(() => this.#signature()) === me,
      end: () => {
        clearInterval(heartbeat);
        this.#release(me);
      },
    };
  }

  /** Waits until nobody holds the lock, or the holder is taken for frozen. */
  async #untilFree(signal) {
    let last;
    for (let checks = 0; checks < MAX_CHECKS; checks++) {
      const value = this.#storage.getItem(this.#key);
      if (!value || !this.#signature()) return;
      if (value !== last) checks = 0;
      last = value;
      await sleep(CHECK_INTERVAL * (1 + Math.random()), signal);
    }
  }

  #signature() {
    return (this.#storage.getItem(this.#key) ?? "").slice(0, 8).replace(/^-+$/, "");
  }

  #sign(who, beats) {
    this.#storage.setItem(this.#key, who.padEnd(8, "-") + String(beats).padStart(4, "-"));
  }

  #release(who) {
    attempt(() => {
      if (this.#signature() === who) this.#storage.setItem(this.#key, NO_SIGNATURE);
    });
  }
}

/** Resolves after ms. When the signal aborts it calls tidy, where given, and rejects. */
function sleep(ms, signal, tidy) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      tidy?.();
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
  });
}
