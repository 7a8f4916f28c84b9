// The messages that this page has yet to send, one after the other. Each has a key, by which the
// server knows it again: one whose answer was lost is sent once more, and stored once.

const STORED = "chat.unsent"; // in sessionStorage, so that a page that is reloaded loses nothing
const TRIES = 5; // how often the server may leave a message unanswered, for 10 seconds each

// The codes of the client after which a message is sent when the connection is back.
const LOST = ["offline", "disconnected", "closed"];

export class Outbox {
  onChange = () => {};
  onSent = () => {}; // called with the message as the server has stored it

  #client;
  #owner; // the name of the user whose messages they are
  #items = [];
  #draft = "";
  #isOpen = false; // the page has joined the room
  #isSending = false;

  constructor(client) {
    this.#client = client;
  }

  /** Returns the messages, the oldest first. Their state is "waiting", "sending" or "failed". */
  get items() {
    return this.#items;
  }

  /** What the user has written and not sent. */
  get draft() {
    return this.#draft;
  }

  set draft(text) {
    this.#draft = text;
    this.#save();
  }

  /** Takes what the user had not sent when the page was left, and nothing of another user's. */
  restore(owner) {
    const { items = [], draft = "" } = load(owner);
    for (const item of items) if (item.state === "sending") item.state = "waiting";
    this.#owner = owner;
    this.#items = items;
    this.#draft = draft;
    this.#save();
    this.onChange();
  }

  /** Forgets everything. */
  clear() {
    this.#owner = undefined;
    this.#items = [];
    this.#draft = "";
    this.#isOpen = false;
    this.#save();
    this.onChange();
  }

  /** The page has joined the room: what waits is sent. */
  open() {
    this.#isOpen = true;
    this.#send();
  }

  /** The connection is lost. */
  lose() {
    this.#isOpen = false;
    this.onChange();
  }

  add(text) {
    const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is only there with https
    const key = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    this.#items.push({ key, author: this.#owner, text, time: new Date().toISOString(), state: "waiting" });
    this.#changed();
    this.#send();
  }

  retry(item) {
    item.state = "waiting";
    this.#changed();
    this.#send();
  }

  /** Removes a message that the user does not want to send any more, or that the server has. */
  remove(key) {
    const kept = this.#items.filter((item) => item.key !== key);
    if (kept.length === this.#items.length) return;
    this.#items = kept;
    this.#changed();
  }

  /** Sends what waits, in order. One message is on its way at a time. */
  async #send() {
    if (this.#isSending) return;
    this.#isSending = true;
    for (let item; this.#isOpen && (item = this.#items.find(({ state }) => state === "waiting"));) {
      item.state = "sending";
      this.#changed();
      await this.#deliver(item);
    }
    this.#isSending = false;
  }

  async #deliver(item) {
    for (let tries = 1; ; tries++) {
      try {
        this.onSent(await this.#client.emitWithAck("say", item.text, item.key));
        return;
      } catch ({ code }) {
        if (!this.#items.includes(item)) return; // it came as an event, or the user has logged out
        if (code === "no_reply" && tries < TRIES) continue;
        if (LOST.includes(code)) this.#isOpen = false;
        Object.assign(item, LOST.includes(code) ? { state: "waiting" } : { state: "failed", code });
        this.#changed();
        return;
      }
    }
  }

  #changed() {
    this.#save();
    this.onChange();
  }

  #save() {
    try {
      if (this.#owner) sessionStorage.setItem(STORED, JSON.stringify({ owner: this.#owner, items: this.#items, draft: this.#draft }));
      else sessionStorage.removeItem(STORED);
    } catch {
      // The browser stores nothing, so it is there until the page is left.
    }
  }
}

function load(owner) {
  try {
    const stored = JSON.parse(sessionStorage.getItem(STORED));
    return stored?.owner === owner ? stored : {};
  } catch {
    return {};
  }
}
