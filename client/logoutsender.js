// Telling the server that a session is over. A page loads this module when there is a logout to
// tell of for which it has no connection.

import { connectionFault, makeSocket } from "./socketio.js";
import { isBound } from "./token.js";

const TIMEOUT = 3_000; // ms for the server to answer

/** Ends sessions on connections that do nothing else: see Logouts. */
export class LogoutSender {
  #session;
  #options;
  #settled = new Set(); // in case the store fails

  constructor(session, options) {
    this.#session = session;
    this.#options = options;
  }

  /** Ends a token's session. */
  end(token) {
    const { binding, closing: { signal } } = this.#session;
    return new Promise((resolve) => {
      if (connectionFault(this.#options)) return resolve({ told: false, settled: false });
      const socket = makeSocket(this.#options, (give) => give({}));
      const done = (told, refusal) => {
        clearTimeout(timer);
        // Before the disconnect, which calls done again.
        resolve({ told, settled: told || Boolean(refusal?.terminal), refusal });
        socket.disconnect();
      };
      const timer = setTimeout(done, TIMEOUT, false);
      signal.addEventListener("abort", () => done(false), { once: true });
      socket.on("connect", async () => {
        if (!isBound(token)) return socket.emit("logout", token);
        try {
          socket.emit("logout", { token, ...await binding.prove(token, socket) });
        } catch ({ code }) {
          done(false, { terminal: code === "key_lost" }); // then nobody can end it
        }
      });
      socket.on("logged_out", () => done(true));
      socket.on("unauthorized", (refusal) => done(false, refusal));
      for (const event of ["disconnect", "connect_error"]) socket.on(event, () => done(false));
      socket.connect();
    });
  }

  /**
   * Ends all sessions that the disk remembers, unless another tab is at it. Resolves to what the
   * server says against one of them; to undefined if it knows of all.
   */
  sendAll() {
    const { locks } = this.#session.turns;
    const name = `socketauth:${this.#options.key}.ended`;
    const send = (lock) => lock === null ? {} : this.#sendAll();
    return locks ? locks.request(name, { ifAvailable: true }, send) : send();
  }

  async #sendAll() {
    const { store } = this.#session;
    for (;;) {
      const { ended = [] } = await store.durable?.read() ?? {};
      const pending = ended.find(({ token }) => token && !this.#settled.has(token));
      if (!pending || this.#session.isClosed) return undefined;
      const { token } = pending;
      const { settled, refusal = {} } = await this.end(token);
      if (!settled) return refusal;
      this.#settled.add(token);
      await store.durable?.settle(token);
    }
  }
}
