// The list of what happened to the session, from the client's states and notices.

import { lost, text } from "./texts.js";

const KEPT = 30; // how many entries

export class Journal {
  #client;
  #list;
  #number; // the number of the last token in the list
  #before; // the last state

  constructor(client, list) {
    this.#client = client;
    this.#list = list;
    client.on("state", (state, reason) => {
      this.#state(state, reason);
      this.#before = state;
    });
    client.on("notice", (notice, refusal) => this.#notice(notice, refusal));
  }

  /** Adds an entry at the top. kind is "good", "wait" or "bad". */
  add(kind, what) {
    const now = new Date();
    const time = Object.assign(document.createElement("time"), {
      dateTime: now.toISOString(),
      textContent: now.toLocaleTimeString([], { timeStyle: "medium" }),
    });
    const item = document.createElement("li");
    item.dataset.kind = kind;
    item.append(time, Object.assign(document.createElement("span"), { textContent: what }));
    this.#list.prepend(item);
    while (this.#list.childElementCount > KEPT) this.#list.lastElementChild.remove();
  }

  #state(state, reason) {
    switch (state) {
      case "connecting":
        if (this.#before || !this.#client.token) break;
        this.#number = generation(this.#client.token);
        this.add("wait", `Back again, with token ${this.#number} from the storage.`);
        break;
      case "online":
        this.add("good", `${this.#number ? "Reconnected" : "Signed in"}. ${this.#replaced()}`);
        break;
      case "offline":
        this.add("wait", lost(reason));
        break;
      default:
        this.#number = undefined;
        if (reason) this.add(reason === "logged_out" ? "good" : "bad", text(reason));
    }
  }

  #notice(notice, refusal) {
    switch (notice) {
      case "renewed":
        return this.add("good", `Renewed in time. ${this.#replaced()}`);
      case "rotated":
        return this.add("good", `Another tab was given a new token, and shares it. ${this.#replaced()}`);
      case "refused": // the state that follows has this reason, unless the client stays online
        if (this.#client.state === "online" && !refusal.terminal) this.add("wait", `Not renewed yet: ${refusal.code}.`);
        return undefined;
      case "storage_refused":
        return this.add("bad", "The browser stores nothing: this tab's session ends when it is closed.");
      case "binding_refused":
        return this.add("wait", "This browser keeps no keys for this page, so the session is not bound to it.");
      case "storage_full":
        return this.add("bad", "The storage is full: from now on this tab keeps the session for itself.");
    }
  }

  /** Returns a sentence that names the current token, and the one that it replaced. */
  #replaced() {
    const before = this.#number;
    const now = this.#number = generation(this.#client.token);
    return before && before !== now ? `Token ${now} replaces token ${before}.` : `Token ${now}.`;
  }
}

/** Returns the number of a token in its session. It is not verified, which only the server can do. */
export function generation(token) {
  if (!token) return undefined;
  const [, body] = token.split(".");
  return JSON.parse(atob(body.replaceAll("-", "+").replaceAll("_", "/"))).gen;
}
