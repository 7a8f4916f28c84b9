// Sessions that are bound to this device. The proofs of that are made by proofs.js, which is loaded
// when one is needed.

import { failLoading } from "./errors.js";
import { isBound, isCode } from "./token.js";

export class Binding {
  #bind;
  #notice;
  #proofs;

  /** bind says whether new sessions are bound. notice is called with the code of a notice. */
  constructor(bind, notice) {
    this.#bind = bind;
    this.#notice = notice;
  }

  /**
   * Reports whether a token is presented with a proof: a bound one is, and so is a code that its
   * first trade may bind.
   */
  isProved(token) {
    return isBound(token) || this.#bind && isCode(token);
  }

  /** Loads what makes proofs, if one may soon be needed. */
  prepare(token) {
    if (this.#bind || isBound(token)) this.load().catch(() => {}); // tried again when needed
  }

  /** Loads what makes proofs. */
  async load() {
    const { Proofs } = await import("./proofs.js").catch(failLoading);
    return this.#proofs ??= new Proofs(this.#notice);
  }

  /** Resolves to what proves a token that is presented on a socket: { proof }, or nothing. */
  async prove(token, socket) {
    return (await this.load()).onSocket(token, socket);
  }

  /** Does what fetch does, for a login: the session that it begins is bound, where it should be. */
  async fetchLogin(url, init) {
    return this.#bind ? (await this.load()).fetchLogin(url, init) : fetch(url, init);
  }
}
