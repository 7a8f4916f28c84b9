// Where the token is kept.

import { isAsyncStorage, StorageCache } from "./asyncstorage.js";
import { DurableCopy } from "./durable.js";
import { attempt } from "./errors.js";
import { pageMemory, pageStorage } from "./page.js";
import { claims, isNewer, isSessionToken, sameSession } from "./token.js";

/** Refusals after which no token of the session is good, whichever was presented. */
const sessionIsOver = ["token_reused", "session_revoked"];

/**
 * Keeps what is presented next: the code of a login, or else the token. It is in the storage that
 * all tabs share, or, if that is refused or full, in memory: then the session is this tab's
 * alone. sessionStorage would not do instead of memory: a tab that is duplicated gets a copy of it,
 * and two tabs would present one token. So memory is moved there only while the page is left.
 *
 * A code has a place of its own beside the token's. Anybody can make a link with a code, so one
 * that is refused must not cost a session; and it is stored without a turn, when another tab may be
 * about to store its next token.
 */
export class TokenStore {
  shared; // the storage that tabs share, or null
  inMemory; // whether the session is kept in memory
  keys; // the keys whose change means that the session has changed
  endKey; // where other tabs are told, for a moment, why the session is over
  reserveTurn; // function that makes room for taking turns, and returns whether there is room

  #key;
  #codeKey;
  #suspended; // sessionStorage, which keeps what is in memory while the page is left; or undefined
  #inheritance; // the storage in which a closed client leaves what is in memory to the next one
  #copy; // the durable copy, where localStorage is the storage and there is IndexedDB
  #cache; // of an asynchronous storage; or undefined
  #isChecked = false; // whether the durable copy was read
  #isCurrent = false; // whether the storage is known to have what the durable copy has
  #cleared = 0; // how often
  #memory = new Map(); // by key
  #notice;

  constructor(storage, key, notice) {
    let local = storage === undefined ? pageStorage() : storage;
    if (isAsyncStorage(local, key)) local = this.#cache = StorageCache.of(local);
    const session = attempt(() => globalThis.sessionStorage);
    const isOwnTab = storage === null || session && local === session; // as the page wants it
    const works = attempt(() => local.getItem(key) !== undefined);
    this.#key = key;
    this.#codeKey = key + ".code";
    this.endKey = key + ".end";
    this.keys = [this.#key, this.#codeKey, null]; // null: all have been removed
    this.#notice = notice;
    this.#suspended = storage === null ? undefined : session;
    this.#inheritance = this.#suspended ?? pageMemory();
    this.shared = works && !isOwnTab ? local : null;
    this.inMemory = !this.shared;
    const hasCopy =
      this.shared && this.shared === pageStorage() && attempt(() => globalThis.indexedDB);
    if (hasCopy) this.#copy = new DurableCopy(key);
    if (this.inMemory && !isOwnTab) notice("storage_refused");
    this.resume(); // a tab whose session was in memory before a reload still has it there
  }

  // What is stored

  /** Returns what is to be presented next: a code or a token, or null. */
  get() {
    return this.#stored() || null;
  }

  /** Returns the token that is replaced when the code that is stored has been traded. */
  get replaced() {
    return this.#read(this.#codeKey) && this.#read(this.#key);
  }

  /** Reports whether the session of this storage has gone on in the memory of another tab. */
  get hasMoved() {
    return !this.inMemory && this.#stored() === "";
  }

  /**
   * Reports whether load may find something new: a session that the storage has lost, a logout that
   * it does not show, or what an asynchronous storage has.
   */
  get needsLoad() {
    if (this.#cache) return !this.inMemory && !this.#cache.has(this.#key);
    return Boolean(this.durable) && !this.#isCurrent;
  }

  /** Reports whether it is certain that the session stored was not logged out. */
  get isChecked() {
    return !this.durable || this.#isChecked;
  }

  /** Returns the locks by which to take turns where there are no Web Locks; undefined: none. */
  get locks() {
    return this.#cache?.locks;
  }

  /**
   * Returns the durable copy, in which logouts are remembered until the server knows of them;
   * undefined where there is none.
   */
  get durable() {
    return this.inMemory ? undefined : this.#copy;
  }

  #stored() {
    return this.#read(this.#codeKey) || this.#read(this.#key);
  }

  // Storing

  /** Stores the code of a login. */
  begin(code) {
    const isShared = this.shared && this.reserveTurn() && this.#write(this.#codeKey, code);
    this.inMemory = !isShared;
    if (isShared) return;
    this.#memory.set(this.#codeKey, code);
    if (this.shared) this.#notice("storage_full");
  }

  /** Stores the next token in place of what was presented. */
  set(token) {
    if (!this.inMemory && !this.#write(this.#key, token)) {
      // What the storage still has must not be presented: its successor is kept in memory now. An
      // empty value always fits, and other tabs do not take it for a logout as they do a removal.
      attempt(() => this.shared.setItem(this.#key, ""));
      this.#remove(this.#codeKey);
      this.forget(token);
      this.#memory.clear();
      this.inMemory = true;
      this.#notice("storage_full");
    }
    if (this.inMemory) this.#memory.set(this.#key, token);
    this.#remove(this.#codeKey);
  }

  /**
   * Stores the next token in place of what was presented, if isCurrent() still says so when it is
   * where the browser's sudden end does not reach it. Nobody sees it before: whoever uses it
   * confirms it, and a browser that had lost it would come back with the token before.
   *
   * Resolves to whether it is in such a place, where all tabs see it at once. Returns undefined
   * where there is none: then it is stored.
   */
  keep(token, isCurrent) {
    const cache = this.inMemory ? undefined : this.#cache;
    const saving = cache ? cache.write(this.#key, pad(token)) : this.durable?.put(token);
    if (saving) return this.#setOnce(saving, token, isCurrent);
    this.set(token);
    return undefined;
  }

  async #setOnce(saving, token, isCurrent) {
    const isSaved = await saving;
    if (!isCurrent()) return false;
    if (this.#cache && !this.inMemory && !isSaved) this.#moveToMemory("storage_full");
    this.set(token);
    return this.#cache && !this.inMemory ? this.#flush() : isSaved;
  }

  async #flush() {
    const isWritten = await this.#cache.flush();
    if (!isWritten && !this.inMemory) this.#moveToMemory("storage_full");
    return isWritten;
  }

  /** Goes on in memory where an asynchronous storage cannot be written or read. */
  #moveToMemory(why) {
    for (const key of [this.#key, this.#codeKey]) {
      const value = this.#read(key);
      if (value) this.#memory.set(key, value);
    }
    // What the storage still has must not be presented: its successor is kept in memory now.
    if (this.#memory.size > 0) this.shared.setItem(this.#key, "");
    this.shared.removeItem(this.#codeKey);
    this.inMemory = true;
    this.#notice(why);
  }

  // The durable copy and asynchronous storages

  /**
   * Reads an asynchronous storage, or the durable copy, and removes what was logged out. Resolves
   * to the token that the storage has lost, which restore brings back in a turn, and to whether
   * there are logouts that the server does not know of.
   */
  async load() {
    if (this.#cache && !this.inMemory) {
      const isRead = await this.#cache.read(this.keys);
      if (!isRead && !this.inMemory) {
        this.#moveToMemory("storage_refused");
        this.shared = null; // it is not tried again
      }
    }
    if (!this.durable) return {};
    const { lost, ended } = await this.#compare(!this.#isChecked);
    if (!lost) this.#isCurrent = true;
    return { lost, hasPendingLogouts: ended.some(({ token }) => token) };
  }

  /**
   * Brings the storage up to date, in a turn: with what another tab has stored and this one cannot
   * see yet, or with what the storage has lost because the browser ended.
   */
  async restore() {
    // Where an asynchronous storage cannot be read, what is known of it will do.
    if (this.#cache && !this.inMemory) await this.#cache.read(this.keys);
    if (!this.durable) return;
    const before = this.#cleared;
    const { lost } = await this.#compare();
    if (this.inMemory || this.#cleared !== before) return; // logged out meanwhile
    this.#isCurrent = true;
    if (!lost) return;
    const code = this.#read(this.#codeKey);
    if (!code || sameSession(code, lost)) this.set(lost);
    else this.#write(this.#key, lost); // the code is tried first, and may be refused
  }

  /** Compares the storage with the durable copy, and removes from it what was logged out. */
  async #compare(isFirst) {
    const { token: saved, ended } = await this.#copy.read(isFirst);
    const hasEnded = (token) => ended.some(({ sid }) => sid === claims(token).sid);
    this.#isChecked = true;
    if (this.inMemory) return { ended };
    for (const key of [this.#codeKey, this.#key]) {
      if (hasEnded(this.#read(key))) this.#announce("logged_out", () => this.#remove(key));
    }
    const code = this.#read(this.#codeKey);
    const token = this.#read(this.#key);
    // Once it had what the durable copy has, it loses nothing: another tab has removed the token.
    const isBehind = sameSession(saved, code) ||
      (token ? isNewer(saved, token) : !this.#isCurrent);
    const isLost = isSessionToken(saved) && !hasEnded(saved) && !this.hasMoved && isBehind;
    return { ended, lost: isLost ? saved : undefined };
  }

  // Ends of sessions

  /** Removes what was presented and refused, if it or its session is dead. */
  refused(presented, { terminal, code }) {
    const stored = this.get();
    if (!terminal || !stored) return;
    const isOver = sessionIsOver.includes(code) && sameSession(stored, presented);
    // Another token, which another tab has stored since, stays.
    if (stored === presented || isOver) this.#discard(stored, code);
  }

  /** Removes what is stored. The durable copy may have another session's token. */
  #discard(presented, reason) {
    if (isSessionToken(presented)) this.forget(presented);
    const isCode = this.#read(this.#codeKey) === presented;
    if (isCode && this.#read(this.#key)) {
      this.#remove(this.#codeKey); // the earlier session goes on
    } else {
      this.#announce(reason, () => this.#remove(isCode ? this.#codeKey : this.#key));
    }
    if (!this.#stored()) this.inMemory = !this.shared;
    this.#isCurrent = false;
  }

  /** Removes a token's session from the durable copy. */
  forget(token) {
    if (token) this.durable?.forget(token);
  }

  /**
   * Removes all there is. Resolves when the end of the session is remembered on disk: from then on
   * a browser that is killed does not bring it back.
   */
  clear(reason) {
    const remembered = this.durable?.clear([this.#read(this.#key), this.#read(this.#codeKey)]);
    this.#cleared++;
    this.#isChecked = this.#isCurrent = true;
    this.#announce(reason, () => {
      this.#remove(this.#key);
      this.#remove(this.#codeKey);
    });
    const isWritten = this.inMemory ? undefined : this.#cache?.flush();
    this.inMemory = !this.shared;
    return remembered ?? isWritten;
  }

  /**
   * Calls remove after telling the other tabs why: they hear of a storage's changes in their order.
   */
  #announce(reason, remove) {
    const hasEvents = !this.inMemory && !this.#cache;
    if (hasEvents) attempt(() => this.shared.setItem(this.endKey, reason));
    remove();
    if (hasEvents) attempt(() => this.shared.removeItem(this.endKey));
  }

  // Items

  #read(key) {
    return this.inMemory ? this.#memory.get(key) : attempt(() => this.shared.getItem(key))?.trim();
  }

  #write(key, token) {
    return attempt(() => {
      const padded = pad(token);
      this.shared.setItem(key, padded);
      return this.shared.getItem(key) === padded;
    }) ?? false;
  }

  #remove(key) {
    if (this.inMemory) this.#memory.delete(key);
    else attempt(() => this.shared.removeItem(key));
  }

  // Leaving the page

  /** Moves what is in memory to where the page finds it when it comes back. */
  suspend() {
    this.#moveTo(this.#suspended);
  }

  /** Moves what is in memory to where the page's next client finds it, also after a reload. */
  handOver() {
    this.#moveTo(this.#inheritance);
  }

  #moveTo(place) {
    if (!this.inMemory || !place) return;
    attempt(() => {
      if (this.#memory.size > 0) place.setItem(this.#key, JSON.stringify([...this.#memory]));
      else place.removeItem(this.#key);
      this.#memory.clear();
    });
  }

  /** Takes back what suspend or handOver has moved. */
  resume() {
    const moved = attempt(() => new Map(JSON.parse(this.#inheritance.getItem(this.#key))));
    if (!moved?.size) return;
    attempt(() => this.#inheritance.removeItem(this.#key));
    this.#memory = moved;
    this.inMemory = true;
  }
}

/**
 * Pads a token, so that the next one, which may be longer by a digit, fits in its place when the
 * storage is full.
 */
function pad(token) {
  return token.padEnd(64 * Math.ceil(token.length / 64 + 0.5));
}
