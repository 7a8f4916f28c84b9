// The bar across the top while there is no connection.

import { lost } from "./texts.js";

const BLINK = 2_000; // ms without a connection that are not worth a bar
const SLOW = 6_000; // ms for the first connection
const BACK = 4_000; // ms for which the bar says that the connection is back

export class OfflineBar {
  #bar;
  #text; // a live region
  #button;
  #timer;
  #state;
  #reason;

  /** tryNow makes the client connect at once. */
  constructor(bar, tryNow) {
    this.#bar = bar;
    this.#text = bar.querySelector("[role=status]");
    this.#button = bar.querySelector("button");
    this.#button.addEventListener("click", tryNow);
  }

  /** Shows the client's state. */
  show(state, reason) {
    this.#reason = reason;
    if (state === this.#state) return this.#tell();
    this.#state = state;
    clearTimeout(this.#timer);
    const isShown = this.#bar.dataset.kind === "offline";
    switch (state) {
      case "offline":
      case "connecting":
        if (isShown) this.#tell();
        else this.#timer = setTimeout(() => this.#open(), state === "offline" ? BLINK : SLOW);
        break;
      case "online":
        if (!isShown) return this.#close();
        this.#bar.dataset.kind = "back";
        this.#say("You are online again.");
        this.#timer = setTimeout(() => this.#close(), BACK);
        break;
      default:
        this.#close();
    }
  }

  /** Shows whether a connection is being made now. */
  set isTrying(isTrying) {
    this.#button.textContent = isTrying ? "Trying…" : "Try now";
  }

  #open() {
    this.#bar.dataset.kind = "offline";
    this.#bar.setAttribute("aria-label", "Connection");
    this.#tell();
  }

  #close() {
    delete this.#bar.dataset.kind;
    this.#bar.removeAttribute("aria-label");
    this.#say("");
  }

  #tell() {
    if (this.#bar.dataset.kind !== "offline") return;
    this.#say("You are offline.", this.#state === "connecting" ? lost("timeout") : lost(this.#reason));
  }

  #say(what, why = "") {
    const rest = why && ` ${why}`;
    if (this.#text.textContent === what + rest) return; // a screen reader would say it again
    const strong = document.createElement("strong");
    strong.textContent = what;
    this.#text.replaceChildren(...what ? [strong, rest] : []);
  }
}
