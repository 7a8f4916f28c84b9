// Logouts: the server is told of them, now or as soon as it can be told.

import { Backoff } from "./time.js";

/**
 * Has sessions ended on the server. Of those that were ended here while it could not be told it is
 * told later: this goes on until the server knows of all. What tells it is loaded when it is first
 * needed; as long as that fails, the disk remembers what is to be told.
 */
export class Logouts {
  #session;
  #options;
  #sender; // once it has been loaded
  #backoff; // says when the server is told next
  #isSending = false;

  constructor(session, options) {
    this.#session = session;
    this.#options = options;
    this.#backoff = new Backoff(options);
  }

  /**
   * Ends a token's session on a connection that does nothing else. Resolves to
   * - told: whether the server has said that the session is over,
   * - settled: whether there is nothing left to tell, as where the server refuses the token for good,
   * - refusal: what the server said against it.
   */
  async end(token) {
    try {
      return await (await this.#load()).end(token);
    } catch {
      return { told: false, settled: false };
    }
  }

  /** Ends the session that a login has replaced. */
  async endReplaced(token) {
    const remembered = this.#session.store.durable?.end(token);
    const outcome = await this.end(token);
    await remembered;
    this.note(token, outcome);
  }

  /** Notes what came of telling the server that a session is over. */
  note(token, { settled, refusal }) {
    const { durable } = this.#session.store;
    if (settled) durable?.settle(token);
    else if (durable) this.#sendLater(refusal);
  }

  /** Tells the server of all logouts that the disk remembers. */
  async send() {
    if (this.#isSending) return;
    this.#backoff.cancel();
    this.#isSending = true;
    let refusal = {};
    try {
      refusal = await (await this.#load()).sendAll();
    } catch {} // it, or the lock by which one tab does it, cannot be had just now
    this.#isSending = false;
    if (refusal) this.#sendLater(refusal);
    else this.#backoff.reset();
  }

  /** Tells it later, not before the server wants it. */
  #sendLater(refusal) {
    if (!this.#session.isClosed) this.#backoff.retry(refusal, () => this.send());
  }

  /** Tells it at once, if that is due later and the server allows it. */
  wake() {
    if (this.#backoff.isAllowed) this.send();
  }

  stop() {
    this.#backoff.cancel();
  }

  async #load() {
    const { LogoutSender } = await import("./logoutsender.js");
    this.#session.closing.signal.throwIfAborted();
    return this.#sender ??= new LogoutSender(this.#session, this.#options);
  }
}
