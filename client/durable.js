// A second copy of the token, on disk, and the sessions that were ended here.

import { attempt } from "./errors.js";
import { claims, isSessionToken, sameSession } from "./token.js";

const TIMEOUT = 1_000; // ms for the database to read or to write
const FIRST_TIMEOUT = 5_000; // ms for a page's first reading: the browser may have to open it
const MAX_LOGOUTS = 8; // sessions remembered as ended

/**
 * Keeps the newest token in IndexedDB, and which sessions were ended. What IndexedDB says it has
 * stored is on disk, and other tabs see it. localStorage is written to disk later: a Chromium or
 * Firefox that is killed some seconds after a login, a logout or a token's replacement has what was
 * there before.
 *
 * Every method resolves when it is done, cannot be done, or takes too long. The first place of the
 * token is the TokenStore's.
 */
export class DurableCopy {
  #key;
  #endedKey;

  constructor(key) {
    this.#key = key;
    this.#endedKey = key + ".ended";
  }

  /**
   * Resolves to the token and the sessions that were ended: the sid of each, with the token to tell
   * the server by where the server does not know of the end yet.
   */
  async read(isFirst = false) {
    const timeout = isFirst ? FIRST_TIMEOUT : TIMEOUT;
    const found = await this.#use((token, ended) => ({ token, ended }), "readonly", { timeout });
    return found ?? { ended: [] };
  }

  /** Stores the token. Resolves to whether it is on disk. */
  async put(token) {
    const isStored = await this.#use((saved, ended, store) => {
      store.put(token, this.#key);
      return true;
    });
    return isStored ?? false;
  }

  /** Removes the token if it is of the same session as the one given. */
  forget(token) {
    return this.#use((saved, ended, store) => {
      if (sameSession(saved, token)) store.delete(this.#key);
    });
  }

  /** Removes the token, and remembers that its session and those of the tokens given have ended. */
  clear(tokens) {
    return this.#use((saved, ended, store) => {
      store.delete(this.#key);
      this.#remember(store, ended, [saved, ...tokens]);
    });
  }

  /** Remembers that a token's session has ended. */
  end(token) {
    return this.#use((saved, ended, store) => this.#remember(store, ended, [token]));
  }

  #remember(store, ended, tokens) {
    for (const token of tokens) {
      const { sid, gen } = claims(token);
      if (sid === undefined) continue;
      const end = ended.find((end) => end.sid === sid);
      if (!end) ended.push({ sid, token: isSessionToken(token) ? token : undefined });
      else if (isSessionToken(token) && end.token && claims(end.token).gen < gen) end.token = token;
    }
    store.put(ended.slice(-MAX_LOGOUTS), this.#endedKey);
  }

  /** Remembers that the server knows of a session's end. */
  settle(token) {
    return this.#use((saved, ended, store) => {
      const { sid } = claims(token);
      if (sid === undefined) return;
      const others = ended.filter((end) => end.sid !== sid);
      store.put([...others, { sid }].slice(-MAX_LOGOUTS), this.#endedKey);
    });
  }

  /** Calls f with what is stored, in a transaction in which it may change that. */
  #use(f, mode = "readwrite", options = {}) {
    return transact(mode, [this.#key, this.#endedKey], ([saved, ended], store) => {
      return f(saved, Array.isArray(ended) ? ended : [], store);
    }, options);
  }
}

/**
 * Reads the values of keys, and calls act with them and with the object store, in one transaction.
 * Resolves to what act returns once the transaction is complete, or to undefined if it fails or
 * takes too long. It goes on then, since a token that is stored late and a logout that is
 * remembered late are of use. With abortsLate it is aborted, unless it is already being committed.
 */
export function transact(mode, keys, act, { timeout = TIMEOUT, abortsLate = false } = {}) {
  return new Promise((resolve) => {
    let transaction, result;
    let isGivenUp = false;
    const end = (result) => {
      clearTimeout(timer);
      resolve(result);
    };
    const timer = setTimeout(() => {
      isGivenUp = abortsLate;
      if (isGivenUp) attempt(() => transaction?.abort());
      end();
    }, timeout);
    const guarded = (f) => () => {
      try {
        f();
      } catch {
        end();
      }
    };
    guarded(() => {
      const open = globalThis.indexedDB.open("socketauth", 1);
      open.onupgradeneeded = () => open.result.createObjectStore("tokens");
      open.onerror = () => end();
      open.onsuccess = guarded(() => {
        try {
          if (isGivenUp) return;
          transaction = open.result.transaction("tokens", mode, { durability: "strict" });
          const store = transaction.objectStore("tokens");
          const requests = keys.map((key) => store.get(key)); // the last one is answered last
          requests.at(-1).onsuccess = guarded(() => {
            result = act(requests.map((request) => request.result), store);
          });
          transaction.oncomplete = () => end(result);
          transaction.onabort = () => end();
        } finally {
          open.result.close(); // once the transaction is complete
        }
      });
    })();
  });
}
