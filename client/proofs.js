// Proofs that a token comes from the device to which its session is bound: DPoP (RFC 9449). A page
// that binds its sessions loads this module, and so does one whose session is bound.

import { transact } from "./durable.js";
import { attempt, SocketAuthError } from "./errors.js";
import { pageStorage } from "./page.js";
import { claims } from "./token.js";

const KEYS = "socketauth.keys"; // where the keys are in IndexedDB
const UNPROVED = "socketauth.unproved"; // where in localStorage: the sid of a code without a key
const MAX_KEYS = 32; // kept; more than the sessions that a browser has, or is yet to log out
const TIMEOUT = 5_000; // ms for the database: without the key a session cannot go on
const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A key of this device. Its private half cannot be read, only used. */
class Key {
  thumbprint; // RFC 7638: by this, tokens name their key

  #sign;
  #jwk;

  static async of({ privateKey, publicKey }) {
    const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", publicKey);
    const key = new Key();
    key.#sign = privateKey;
    key.#jwk = { kty, crv, x, y };
    key.thumbprint = await digest(JSON.stringify({ crv, kty, x, y }));
    return key;
  }

  /** Returns a proof that says what payload does. */
  async prove(payload) {
    const header = { typ: "dpop+jwt", alg: "ES256", jwk: this.#jwk };
    const parts = [header, payload].map((part) => base64url(utf8(JSON.stringify(part))));
    const signature = await crypto.subtle.sign(ECDSA, this.#sign, utf8(parts.join(".")));
    return [...parts, base64url(new Uint8Array(signature))].join(".");
  }
}

/**
 * Keeps the device's keys, which the tabs share, and makes proofs with them. Each session has a key
 * of its own, made before it begins: one that a script had left here before that is never used.
 */
export class Proofs {
  #notice;
  #keys = new Map(); // thumbprint to Key
  #chosen = new Map(); // sid of a code that is not bound, to the promise of the key for its trade
  #next; // the promise of the key for the next login
  #nonce; // the server's latest, for requests

  constructor(notice) {
    this.#notice = notice;
  }

  /** Resolves to what proves a token that is presented on a socket: { proof }, or nothing. */
  async onSocket(token, socket) {
    const nonce = socket.io.engine.id; // so it is good on this connection only
    const key = await this.#keyOf(token);
    return key && { proof: await key.prove({ nonce, ath: await digest(token) }) };
  }

  /** Sends a request with a token and its proof: see Requests. */
  async request(token, { method, url, isOnce }, send) {
    const key = await this.#keyOf(token);
    const { cnf } = claims(token);
    const Authorization = `${cnf ? "DPoP" : "Bearer"} ${token}`;
    if (!key) return send({ Authorization });
    const ath = await digest(token);
    const sendWith = (DPoP) => send({ Authorization, DPoP });
    return this.#sendProved(key, { method, url, ath }, sendWith, isOnce);
  }

  /** Does what fetch does, for a login. The code that it is answered with is bound to a new key. */
  async fetchLogin(url, init) {
    const key = await (this.#next ??= this.#make());
    if (!key) this.#next = undefined;
    const { method, headers } = init;
    const send = (DPoP) => fetch(url, { ...init, headers: { ...headers, ...DPoP && { DPoP } } });
    const response = await (key ? this.#sendProved(key, { method, url }, send) : send());
    if (response.ok) this.#next = undefined; // a login that has failed leaves it to the next one
    else if (!key) this.#notice("binding_refused"); // otherwise the trade of the code says so
    return response;
  }

  /**
   * Sends a request with a proof, and once more if the server wants a nonce in it: it does where
   * this machine's clock is wrong.
   */
  async #sendProved(key, { method, url, ath }, send, isOnce = false) {
    const { origin, pathname } = new URL(url);
    for (let isLast = isOnce; ; isLast = true) {
      const payload = {
        jti: crypto.randomUUID(),
        htm: method,
        htu: origin + pathname,
        iat: Math.floor(Date.now() / 1000),
        ath,
        nonce: this.#nonce,
      };
      const response = await send(await key.prove(payload));
      const nonce = response.headers.get("DPoP-Nonce");
      this.#nonce = nonce ?? this.#nonce;
      if (isLast || response.ok || !nonce) return response;
      const { code } = await response.clone().json().catch(() => undefined) ?? {};
      if (!/^use_dpop_nonce$/i.test(code)) return response;
    }
  }

  // Keys

  /**
   * Resolves to the key by which a token is proved; to undefined if there can be none here and the
   * token is a code that does without. Rejects with "key_lost" if the key of a bound token is gone.
   */
  async #keyOf(token) {
    const { cnf, sid } = claims(token);
    if (cnf) return this.#keys.get(cnf.jkt) ?? this.#find(cnf.jkt);
    // A code that is presented again needs the same key, or again none.
    if (!this.#chosen.has(sid)) this.#chosen.set(sid, this.#choose(sid));
    return this.#chosen.get(sid);
  }

  /**
   * Resolves to the key for the trade of a code, or to undefined if it has to go without. Then it
   * also goes without in a page that is loaded later: with a key it would look stolen.
   */
  async #choose(sid) {
    const storage = pageStorage();
    if (storage && attempt(() => storage.getItem(UNPROVED)) === sid) {
      this.#notice("binding_refused");
      return undefined;
    }
    const key = await this.#make(sid);
    if (!key) {
      attempt(() => storage.setItem(UNPROVED, sid));
      this.#notice("binding_refused");
    }
    return key;
  }

  async #find(thumbprint) {
    let isLast;
    const isIt = (entry) => entry.thumbprint === thumbprint;
    const found = await changeKeys("readonly", (entries) => {
      isLast = entries.findIndex(isIt) === entries.length - 1;
      return { entry: entries.find(isIt) };
    });
    if (!found || !globalThis.crypto?.subtle) throw new SocketAuthError("key_unavailable");
    if (!found.entry) throw new SocketAuthError("key_lost");
    if (!isLast) { // those used last are kept
      changeKeys("readwrite", (entries, put) => {
        const entry = entries.find(isIt);
        if (entry) put([...entries.filter((other) => other !== entry), entry]);
      });
    }
    return this.#add(await Key.of(found.entry));
  }

  #add(key) {
    this.#keys.set(key.thumbprint, key);
    return key;
  }

  /**
   * Makes a key and stores it, before anything is bound to it. Resolves to it, or to undefined if
   * that is not possible. For the session of a code there is one key, whichever tab asks first.
   */
  async #make(sid) {
    try {
      const { privateKey, publicKey } = await crypto.subtle.generateKey(ECDSA, false, ["sign"]);
      const made = { privateKey, publicKey, sid };
      const key = await Key.of(made);
      made.thumbprint = key.thumbprint;
      const kept = await changeKeys("readwrite", (entries, put) => {
        const earlier = sid && entries.find((entry) => entry.sid === sid);
        if (!earlier) put([...entries, made].slice(-MAX_KEYS));
        return earlier || made;
      });
      if (kept) return this.#add(kept === made ? key : await Key.of(kept));
    } catch {} // no WebCrypto, for example
    return undefined;
  }
}

/**
 * Calls f with what is stored of keys and a function that stores something else in its place.
 * Resolves to what f returns once that is on disk; to undefined if it fails or takes too long.
 */
function changeKeys(mode, f) {
  return transact(mode, [KEYS], ([entries = []], store) => {
    return f(entries, (entries) => store.put(entries, KEYS));
  }, { timeout: TIMEOUT, abortsLate: true });
}

function utf8(text) {
  return new TextEncoder().encode(text);
}

function base64url(bytes) {
  const base64 = btoa(String.fromCharCode(...bytes));
  return base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Resolves to the SHA-256 of a text, in base64url. */
async function digest(text) {
  return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", utf8(text))));
}
