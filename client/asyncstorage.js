// Storages that answer with promises, such as React Native's AsyncStorage.

import { attempt } from "./errors.js";
import { PageLocks } from "./turns.js";

const TIMEOUT = 5_000; // ms for the storage to read or to write

/** Reports whether a storage answers with promises. */
export function isAsyncStorage(storage, key) {
  const answer = attempt(() => storage.getItem(key));
  if (typeof answer?.then !== "function") return false;
  answer.then(undefined, () => {}); // StorageCache reads again, and handles errors then
  return true;
}

/**
 * Makes an asynchronous storage usable like localStorage: it keeps in memory what was read, and
 * writes changes in their order. All clients of a page that are given the same storage share its
 * cache.
 */
export class StorageCache {
  static #all = new WeakMap(); // storage to cache

  /** The locks by which clients of one page take turns where there are no Web Locks. */
  locks = new PageLocks();

  #storage;
  #items = new Map();
  #changes = new Map(); // by key, how often it was changed
  #writing = Promise.resolve();
  #hasFailed = false; // since the last flush

  static of(storage) {
    if (!this.#all.has(storage)) this.#all.set(storage, new StorageCache(storage));
    return this.#all.get(storage);
  }

  constructor(storage) {
    this.#storage = storage;
  }

  /** Reads keys anew, except those changed meanwhile. Resolves to whether it succeeded in time. */
  async read(keys) {
    const all = keys.filter((key) => key !== null);
    const before = new Map(this.#changes);
    const read = () => Promise.all(all.map((key) => this.#storage.getItem(key)));
    const values = await within(TIMEOUT, this.#writing.then(read)).catch(() => undefined);
    if (!values) return false;
    all.forEach((key, n) => {
      if (this.#changes.get(key) === before.get(key)) this.#items.set(key, values[n] ?? null);
    });
    return true;
  }

  /** Reports whether a key was read or written. */
  has(key) {
    return this.#items.has(key);
  }

  /** Writes a value before anybody sees it. Resolves to whether it was written in time. */
  write(key, value) {
    const written = this.#writing.then(() => this.#storage.setItem(key, value));
    this.#writing = written.catch(() => {});
    return within(TIMEOUT, written).then(() => true, () => false);
  }

  /** Resolves to whether all changes since the last flush were written. */
  async flush() {
    await within(TIMEOUT, this.#writing).catch(() => { this.#hasFailed = true; });
    const isWritten = !this.#hasFailed;
    this.#hasFailed = false;
    return isWritten;
  }

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#change(key, value, () => this.#storage.setItem(key, value));
  }

  removeItem(key) {
    this.#change(key, null, () => this.#storage.removeItem(key));
  }

  #change(key, value, write) {
    this.#items.set(key, value);
    this.#changes.set(key, (this.#changes.get(key) ?? 0) + 1);
    this.#writing = this.#writing.then(write).catch(() => { this.#hasFailed = true; });
  }
}

/** Settles as a promise does, or rejects where that takes longer than ms. */
function within(ms, promise) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("timeout")), ms);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}
