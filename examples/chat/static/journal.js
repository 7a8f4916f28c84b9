// What happened to the session, in words: a list of the client's states and notices.

import { text } from "./texts.js";

const KEPT = 30; // entries

export class Journal {
  #client;
  #list;
  #number; // of the token that was reported last
  #before; // the state

  constructor(client, list) {
    this.#client = client;
    this.#list = list;
    client.on("state", (state, reason) => {
      this.#state(state, reason);
      this.#before = state;
    });
    client.on("notice", (notice, refusal) => this.#notice(notice, refusal));
  }

  /** Adds a line on top. kind is good, wait or bad. */
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
      case "refused": // what it leads to is a state, with that as its reason, unless the page just stays online
        if (this.#client.state === "online" && !refusal.terminal) this.add("wait", `Not renewed yet: ${refusal.code}.`);
        return undefined;
      case "storage_refused":
        return this.add("bad", "The browser stores nothing: this tab's session ends when it is closed.");
      case "storage_full":
        return this.add("bad", "The storage is full: the session is this tab's alone from now on.");
    }
  }

  /** Says which token there is now, and in place of which. */
  #replaced() {
    const before = this.#number;
    const now = this.#number = generation(this.#client.token);
    return before && before !== now ? `Token ${now} is in place of token ${before}.` : `Token ${now}.`;
  }
}

function lost(reason) {
  switch (reason) {
    case "io server disconnect": return "The server ended the connection.";
    case "transport close": return "The connection is lost.";
    case "overtaken": return "Another tab was faster.";
    default: return `The connection is lost: ${reason}.`;
  }
}

/** How many tokens the session has had, by its token's own word, which is for the server to verify. */
export function generation(token) {
  if (!token) return undefined;
  const [, body] = token.split(".");
  return JSON.parse(atob(body.replaceAll("-", "+").replaceAll("_", "/"))).gen;
}
