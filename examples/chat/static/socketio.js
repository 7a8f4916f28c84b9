// A small client of the Socket.IO protocol, revision 5 (servers 3.x and 4.x): the root namespace over WebSocket.
// There is no polling, no binary and no buffering: what is emitted while there is no connection is not sent later.
//
//   const socket = connect("https://app.example", { auth: () => ({ token: localStorage.getItem("token") }) });
//   socket.on("connect", () => socket.emit("hello", "world"));
//   const reply = await socket.emitWithAck("question", 42);
//
// Events of its own: "connect", "disconnect" (reason) and "connect_error" (error). After each loss of the connection it
// comes back by itself, save after close() and after "io server disconnect", where the server meant it.

/**
 * @typedef {object} Options
 * @property {(signal: AbortSignal) => object | Promise<object>} [auth]
 *   Gives what the server is told of who connects. Called at each connect; signal says that this connection has ended.
 * @property {string} [path] where the server has Socket.IO; "/socket.io/"
 * @property {typeof WebSocket} [WebSocket] the class to use; the global one
 * @property {number} [connectTimeout] how long a connect may take, in ms; 20 s
 * @property {number} [ackTimeout] how long an acknowledgement may take, in ms; 10 s
 * @property {number} [minDelay] before the first try to reconnect, in ms; 1 s. Doubled at each failure...
 * @property {number} [maxDelay] ...up to this; 10 s
 */

/** Makes a socket and connects it. @param {string | URL} url @param {Options} [options] */
export function connect(url, options) {
  return new Socket(url, options).connect();
}

const ownEvents = ["connect", "disconnect", "connect_error"];
const meant = ["io client disconnect", "io server disconnect"]; // the reasons after which nobody comes back by itself

export class Socket {
  /** The connection's id, or undefined while there is none. @type {string | undefined} */
  id;

  #url;
  #options;
  #handlers = new Map(); // event to [{ f, once }]
  #link; // the connection in use, or undefined: { ws, timer, patience, ended }
  #retry; // timer of the next try
  #failures = 0; // since the last connect
  #acks = new Map(); // id to { resolve, reject, timer }
  #nextAck = 0;

  /** @param {string | URL} url @param {Options} [options] */
  constructor(url, options) {
    const defaults = {
      auth: () => ({}),
      path: "/socket.io/",
      WebSocket: globalThis.WebSocket,
      connectTimeout: 20_000,
      ackTimeout: 10_000,
      minDelay: 1_000,
      maxDelay: 10_000,
    };
    this.#options = { ...defaults, ...options };
    this.#url = new URL(this.#options.path, url);
    this.#url.protocol = this.#url.protocol.replace(/^http/, "ws");
    this.#url.search = "EIO=4&transport=websocket";
  }

  /** Whether the server has let this socket in. */
  get connected() {
    return this.id !== undefined;
  }

  /** Connects now, unless it is connected or about to be. */
  connect() {
    clearTimeout(this.#retry);
    if (!this.#link) this.#open();
    return this;
  }

  /** Disconnects, and stays so until connect() is called. */
  close() {
    clearTimeout(this.#retry);
    if (!this.#link) return;
    if (this.connected) this.#link.ws.send("41");
    this.#end(this.#link, "io client disconnect");
  }

  /** Calls f at each event. The last argument of an event whose sender waits for a reply is a function that replies. */
  on(event, f) {
    return this.#add(event, f, false);
  }

  /** Calls f at the next event alone. */
  once(event, f) {
    return this.#add(event, f, true);
  }

  /** Undoes on and once. */
  off(event, f) {
    this.#handlers.set(event, (this.#handlers.get(event) ?? []).filter((h) => h.f !== f));
    return this;
  }

  /** Sends an event, and says whether there was a connection to send it on. */
  emit(event, ...args) {
    if (!this.connected) return false;
    this.#link.ws.send("42" + JSON.stringify([event, ...args]));
    return true;
  }

  /** Sends an event and waits for the server's reply. Rejects where none comes. */
  emitWithAck(event, ...args) {
    return new Promise((resolve, reject) => {
      if (!this.connected) throw new Error("not connected");
      const id = this.#nextAck++;
      this.#link.ws.send("42" + id + JSON.stringify([event, ...args]));
      const timer = setTimeout(() => {
        this.#acks.delete(id);
        reject(new Error("no reply in time"));
      }, this.#options.ackTimeout);
      this.#acks.set(id, { resolve, reject, timer });
    });
  }

  #add(event, f, once) {
    this.#handlers.set(event, [...(this.#handlers.get(event) ?? []), { f, once }]);
    return this;
  }

  #call(event, ...args) {
    for (const { f, once } of this.#handlers.get(event) ?? []) {
      if (once) this.off(event, f);
      try {
        f(...args);
      } catch (error) {
        queueMicrotask(() => { throw error; }); // to the console, and to nobody else's harm
      }
    }
  }

  #open() {
    const link = { ws: new this.#options.WebSocket(this.#url.href), ended: new AbortController() };
    this.#link = link;
    this.#wait(link, this.#options.connectTimeout, "timeout");
    link.ws.onmessage = ({ data }) => this.#receive(link, data);
    link.ws.onclose = () => this.#end(link, "transport close");
    link.ws.onerror = () => {}; // a close follows
  }

  /** Ends the connection unless something happens in time. */
  #wait(link, ms, reason) {
    clearTimeout(link.timer);
    link.timer = setTimeout(() => this.#end(link, reason), ms);
  }

  #receive(link, data) {
    if (link !== this.#link) return; // of a connection that was given up
    let packet;
    try {
      packet = decode(data);
    } catch {
      this.#end(link, "parse error");
      return;
    }
    switch (packet.type) {
      case "open":
        link.patience = packet.data.pingInterval + packet.data.pingTimeout;
        this.#introduce(link);
        break;
      case "ping":
        if (this.connected) this.#wait(link, link.patience, "ping timeout");
        link.ws.send("3");
        break;
      case "close":
        this.#end(link, "transport close");
        break;
      case "connect":
        this.#wait(link, link.patience, "ping timeout");
        this.id = packet.data.sid;
        this.#failures = 0;
        this.#call("connect");
        break;
      case "disconnect":
        this.#end(link, "io server disconnect");
        break;
      case "connect_error":
        this.#end(link, "refused: " + packet.data.message);
        break;
      case "event":
        this.#event(link, packet);
        break;
      case "ack":
        this.#settle(packet.id, (ack) => ack.resolve(packet.data[0]));
        break;
    }
  }

  async #introduce(link) {
    try {
      const auth = await this.#options.auth(link.ended.signal);
      if (link === this.#link) link.ws.send("40" + JSON.stringify(auth ?? {}));
    } catch (error) {
      this.#end(link, String(error?.message ?? error));
    }
  }

  #event(link, { data: [name, ...args], id }) {
    if (ownEvents.includes(name)) return;
    if (id !== undefined) {
      args.push((...reply) => {
        if (link === this.#link) link.ws.send("43" + id + JSON.stringify(reply));
      });
    }
    this.#call(String(name), ...args);
  }

  #settle(id, how) {
    const ack = this.#acks.get(id);
    if (!ack) return;
    this.#acks.delete(id);
    clearTimeout(ack.timer);
    how(ack);
  }

  /** Everything about the connection is over before anybody hears of it, so that they may connect and close. */
  #end(link, reason) {
    if (link !== this.#link) return;
    const connected = this.connected;
    this.#link = this.id = undefined;
    clearTimeout(link.timer);
    link.ended.abort();
    link.ws.close();
    for (const id of [...this.#acks.keys()]) this.#settle(id, (ack) => ack.reject(new Error("disconnected")));
    if (!meant.includes(reason)) this.#reconnect();
    if (connected) this.#call("disconnect", reason);
    else if (reason !== "io client disconnect") this.#call("connect_error", new Error(reason));
  }

  #reconnect() {
    const { minDelay, maxDelay } = this.#options;
    const delay = Math.min(maxDelay, minDelay * 2 ** this.#failures++);
    // Half of it at random: clients that lost one server do not come back to it all at once.
    this.#retry = setTimeout(() => this.#open(), delay * (1 + Math.random()) / 2);
  }
}

/** Takes one frame apart, or throws. */
function decode(data) {
  if (typeof data !== "string") throw new Error("binary");
  switch (data[0]) {
    case "0":
      return { type: "open", data: JSON.parse(data.slice(1)) };
    case "1":
      return { type: "close" };
    case "2":
      return { type: "ping" };
    case "4":
      return decodeMessage(data.slice(1));
    case "6":
      return { type: "noop" };
  }
  throw new Error("unknown packet");
}

function decodeMessage(message) {
  const type = { 0: "connect", 1: "disconnect", 2: "event", 3: "ack", 4: "connect_error" }[message[0]];
  const [, id, json] = /^(\d*)(.*)$/s.exec(message.slice(1));
  const packet = { type, id: id === "" ? undefined : Number(id), data: json === "" ? undefined : JSON.parse(json) };
  const fits = {
    connect: () => typeof packet.data?.sid === "string",
    disconnect: () => json === "",
    event: () => Array.isArray(packet.data) && packet.data.length > 0,
    ack: () => Array.isArray(packet.data) && packet.id !== undefined,
    connect_error: () => typeof packet.data?.message === "string",
  }[type];
  if (!fits?.()) throw new Error("malformed packet");
  return packet;
}
