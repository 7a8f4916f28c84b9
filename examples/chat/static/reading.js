// Where in the log the user reads: what is new does not move it, and a button leads to the end.

const NEAR = 40; // px from the end that still count as the end

export class Reading {
  #log; // upside down, so that its end stays in view: scrollTop is 0 there, and negative above
  #list;
  #button;
  #unread = 0;

  constructor(log, list, button) {
    this.#log = log;
    this.#list = list;
    this.#button = button;
    log.addEventListener("scroll", () => this.#show());
    button.addEventListener("click", () => {
      const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      log.focus({ preventScroll: true }); // the button is about to be hidden
      log.scrollTo({ top: 0, behavior: isCalm ? "instant" : "smooth" });
    });
  }

  get isAtEnd() {
    return this.#log.scrollTop > -NEAR;
  }

  /** Runs change, which changes the list and brings a number of messages to read. */
  change(change, arrived) {
    if (this.isAtEnd) {
      change();
    } else {
      const { top } = this.#log.getBoundingClientRect();
      const read = Array.from(this.#list.children).find((row) => row.getBoundingClientRect().bottom > top);
      const before = read?.getBoundingClientRect().top;
      change();
      if (read?.isConnected) this.#log.scrollTop += read.getBoundingClientRect().top - before;
      this.#unread += arrived;
    }
    this.#show();
  }

  /** Goes to the end at once. */
  end() {
    this.#log.scrollTop = 0;
    this.#show();
  }

  #show() {
    if (this.isAtEnd) this.#unread = 0;
    if (this.isAtEnd && document.activeElement === this.#button) this.#log.focus({ preventScroll: true });
    this.#button.hidden = this.isAtEnd;
    const count = this.#unread;
    this.#button.textContent = count === 0 ? "Jump to newest" : count === 1 ? "1 new message" : `${count} new messages`;
  }
}
