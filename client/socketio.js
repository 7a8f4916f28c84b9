// Connections to the server: by socket.io-client, if the page gives it, or else by a small client
// of the Socket.IO protocol over WebSocket.

/** Returns why no connection can be made here; undefined if one can. */
export function connectionFault(options) {
  const { url, io, transport } = options;
  const { WebSocket = transport?.WebSocket ?? globalThis.WebSocket } = options;
  if (!url) return "no_url";
  return io || typeof WebSocket === "function" ? undefined : "no_websocket";
}

/**
 * Makes a socket that is not connected yet. It calls auth(give) for what the handshake presents,
 * which is given to give; until then the handshake goes no further.
 */
export function makeSocket({ io, url, path, transport, WebSocket }, auth) {
  const make = io ?? ((origin, options) => new Socket(origin, options));
  return make(url.origin, {
    path,
    WebSocket,
    ...transport,
    forceNew: true, // nothing of an earlier connection is left in it
    reconnection: false, // the client decides when to come back
    autoConnect: false,
    auth,
  });
}

/** Calls f with the name and the arguments of each event that the server sends. */
export function hearAll(socket, f) {
  if (socket.onAny) return socket.onAny(f);
  const { onevent } = socket; // of socket.io-client 2.x
  socket.onevent = (packet) => {
    onevent.call(socket, packet);
    f(...packet.data ?? []); // with the function that replies, which onevent adds
  };
}

/**
 * One connection of the Socket.IO protocol, revision 5 (servers 3.x and 4.x): the root namespace
 * over WebSocket, with binary attachments. It has those members of socket.io-client's Socket that
 * are used here, and does not reconnect by itself.
 */
class Socket {
  connected = false;
  auth;
  io = {}; // engine.id is the connection's id, as in socket.io-client

  #url;
  #WebSocket;
  #ws;
  #handlers = new Map(); // event to functions
  #hear; // is called with each event
  #acks = new Map(); // id to function
  #nextAck = 0;
  #pingTimer; // ends the connection if no ping comes
  #pingTimeout = 0; // ms between pings at most
  #partial; // a message whose attachments have not all arrived

  constructor(origin, { path, auth, WebSocket = globalThis.WebSocket }) {
    this.auth = auth;
    this.#WebSocket = WebSocket;
    this.#url = new URL(path, origin);
    this.#url.protocol = this.#url.protocol.replace(/^http/, "ws");
    this.#url.search = "EIO=4&transport=websocket";
  }

  connect() {
    let ws;
    try {
      ws = this.#ws = new this.#WebSocket(this.#url.href);
    } catch (error) { // such as ws: on a page that came by https
      this.#call("connect_error", error);
      return;
    }
    ws.binaryType = "arraybuffer";
    ws.onmessage = ({ data }) => {
      if (ws !== this.#ws) return;
      try {
        this.#receive(data);
      } catch {
        this.#end("parse error");
      }
    };
    ws.onclose = () => { if (ws === this.#ws) this.#end("transport close"); };
    ws.onerror = () => {}; // a close event follows
  }

  disconnect() {
    if (this.connected) this.#send("41");
    this.#end("io client disconnect");
  }

  on(event, f) {
    this.#handlers.set(event, [...this.#handlers.get(event) ?? [], f]);
  }

  onAny(f) {
    this.#hear = f;
  }

  emit(event, ...args) {
    let id = "";
    if (typeof args.at(-1) === "function") {
      id = this.#nextAck++;
      this.#acks.set(id, args.pop());
    }
    this.#sendMessage("2", id, [event, ...args]);
  }

  #sendMessage(type, id, data) {
    const attachments = [];
    const json = JSON.stringify(data, function (key, value) {
      const raw = this[key]; // value is what its toJSON made of it
      if (!(raw instanceof ArrayBuffer) && !ArrayBuffer.isView(raw)) return value;
      attachments.push(raw);
      return { _placeholder: true, num: attachments.length - 1 };
    });
    const isBinary = attachments.length > 0;
    const head = isBinary ? `${Number(type) + 3}${attachments.length}-` : type;
    this.#send("4" + head + id + json);
    for (const attachment of attachments) this.#send(attachment);
  }

  #send(frame) {
    if (this.#ws?.readyState === 1) this.#ws.send(frame);
  }

  /** Reads a frame, which is one packet of the engine. Throws where it is none. */
  #receive(frame) {
    clearTimeout(this.#pingTimer);
    if (this.#pingTimeout) {
      this.#pingTimer = setTimeout(() => this.#end("ping timeout"), this.#pingTimeout);
    }
    if (typeof frame !== "string") {
      this.#partial.attachments.push(frame); // throws where none is due
      this.#complete(this.#partial);
      return;
    }
    switch (frame[0]) {
      case "0": { // open
        const { sid, pingInterval, pingTimeout } = JSON.parse(frame.slice(1));
        this.io.engine = { id: sid };
        this.#pingTimeout = pingInterval + pingTimeout;
        this.auth((data) => this.#send("40" + JSON.stringify(data)));
        break;
      }
      case "1": // close
        this.#end("transport close");
        break;
      case "2": // ping
        this.#send("3" + frame.slice(1));
        break;
      case "4": { // message
        const [, type, due = 0, id, json] = /^4(\d)(?:(\d+)-)?(\d*)(.*)$/s.exec(frame);
        this.#complete({ type, id: id && Number(id), json, due: Number(due), attachments: [] });
        break;
      }
      default:
        throw new Error("unknown packet");
    }
  }

  /** Handles a message of the socket once all its attachments are there. */
  #complete(message) {
    this.#partial = message.attachments.length < message.due ? message : undefined;
    if (this.#partial) return;
    const { type, id, json, due, attachments } = message;
    // JSON.parse with a function recurses, and 3,000 levels of JSON overflow the stack: messages
    // without attachments are parsed without one.
    const replace = due
      ? (_, value) => value?._placeholder ? attachments[value.num] : value
      : undefined;
    const data = json && JSON.parse(json, replace);
    switch (type) {
      case "0": // connected
        this.connected = true;
        this.#call("connect");
        break;
      case "1": // disconnected
        this.#end("io server disconnect");
        break;
      case "2": // event
      case "5": {
        const ack = id === "" ? [] : [(...reply) => this.#sendMessage("3", id, reply)];
        this.#hear?.(...data, ...ack);
        this.#call(...data, ...ack);
        break;
      }
      case "3": // acknowledgement
      case "6":
        this.#acks.get(id)?.(...data);
        this.#acks.delete(id);
        break;
      case "4": // refused
        this.#end(data.message);
        break;
      default:
        throw new Error("unknown packet");
    }
  }

  #call(event, ...args) {
    for (const f of this.#handlers.get(event) ?? []) f(...args);
  }

  #end(reason) {
    const ws = this.#ws;
    if (!ws) return;
    this.#ws = undefined;
    clearTimeout(this.#pingTimer);
    ws.close();
    const { connected } = this;
    this.connected = false;
    if (connected) this.#call("disconnect", reason);
    else this.#call("connect_error", new Error(reason));
  }
}
