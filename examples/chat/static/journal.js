// The list of what happened to the session, from the client's states and notices.

import { lost, text } from "./texts.js";

const KEPT = 30; // how many entries

export class Journal {
  #client;
  #list;
  #last; // the claims of the last token in the list
  #isTold = false; // another tab was given the password, and this one presents its token anew for that
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
    this.#isTold = false;
    switch (state) {
      case "connecting":
        if (this.#before || !this.#client.token) break;
        this.#last = claims(this.#client.token);
        this.add("wait", `Back again, with token ${this.#last.gen} from the storage.`);
        break;
      case "online":
        this.add("good", `${this.#last ? "Reconnected" : "Signed in"}. ${this.#replaced().tokens}`);
        break;
      case "offline":
        this.add("wait", lost(reason));
        break;
      default:
        this.#last = undefined;
        if (reason) this.add(reason === "logged_out" ? "good" : "bad", text(reason));
    }
  }

  #notice(notice, refusal) {
    switch (notice) {
      case "renewed":
      case "rotated":
        return this.add("good", this.#renewed(notice));
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

  /** Returns why there is a new token while the client is online. */
  #renewed(notice) {
    const { tokens, isProven } = this.#replaced();
    const wasTold = this.#isTold;
    this.#isTold = notice === "rotated" && (isProven || wasTold);
    if (notice === "rotated") return `Another tab was given ${isProven ? "your password" : "a new token, and shares it"}. ${tokens}`;
    if (isProven) return `You gave your password. ${tokens}`;
    return wasTold ? `This tab has told the server of your password. ${tokens}` : `Renewed in time. ${tokens}`;
  }

  /**
   * Takes note of the current token. Returns a sentence that names it and the one that it replaced, and whether
   * the user has given the password for it.
   */
  #replaced() {
    const before = this.#last;
    const now = this.#last = claims(this.#client.token);
    return {
      tokens: before && before.gen !== now?.gen ? `Token ${now?.gen} replaces token ${before.gen}.` : `Token ${now?.gen}.`,
      isProven: now?.auth_time > before?.auth_time,
    };
  }
}

/** Returns the claims of a token, which are not verified: only the server can do that. */
function claims(token) {
  if (!token) return undefined;
  const [, body] = token.split(".");
  return JSON.parse(atob(body.replaceAll("-", "+").replaceAll("_", "/")));
}

/** Returns the number of a token in its session. */
export const generation = (token) => claims(token)?.gen;
