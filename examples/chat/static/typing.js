// Who is writing a message: this page tells the others, and they tell it.

import { element } from "./dom.js";

const AGAIN = 3_000; // ms after which the page says again that its user is writing
const STOPPED = 4_000; // ms after which a user who writes nothing more has stopped
const FORGOTTEN = 7_000; // ms after which a writer of whom nothing was heard has stopped
const SPOKEN = 30_000; // ms between announcements by a screen reader

const names = new Intl.ListFormat("en");

export class Typing {
  #client;
  #line; // where writers are shown
  #announcement; // a live region: what a screen reader says
  #me;
  #writers = new Map(); // a timer for each name
  #isWriting = false; // as the others have been told
  #toldAt = -Infinity;
  #tellTimer;
  #stopTimer;
  #spokenAt = -Infinity;

  constructor(client, line, announcement) {
    this.#client = client;
    this.#line = line;
    this.#announcement = announcement;
    client.on("typing", (name, isWriting) => {
      if (isWriting) this.#began(name);
      else this.stopped(name);
    });
  }

  /** Sets the name of the user, who is not told of themselves. */
  set me(name) {
    this.#me = name;
  }

  /** The user has changed what they write. The others hear of it every few seconds. */
  write(hasText) {
    if (!hasText) return this.stop();
    clearTimeout(this.#stopTimer);
    clearTimeout(this.#tellTimer);
    this.#stopTimer = setTimeout(() => this.stop(), STOPPED);
    const wait = this.#toldAt + AGAIN - performance.now();
    if (wait <= 0) this.#tell();
    else if (!this.#isWriting) this.#tellTimer = setTimeout(() => this.#tell(), wait);
  }

  #tell() {
    if (!this.#client.emit("typing", true)) return;
    this.#toldAt = performance.now();
    this.#isWriting = true;
  }

  /** The user has sent the message, removed it or paused. */
  stop() {
    clearTimeout(this.#stopTimer);
    clearTimeout(this.#tellTimer);
    if (this.#isWriting) this.#client.emit("typing", false);
    this.#isWriting = false;
  }

  #began(name) {
    if (name === this.#me) return; // in another tab
    clearTimeout(this.#writers.get(name));
    this.#writers.set(name, setTimeout(() => this.stopped(name), FORGOTTEN));
    this.#show();
  }

  stopped(name) {
    clearTimeout(this.#writers.get(name));
    if (this.#writers.delete(name)) this.#show();
  }

  /** Forgets all writers who are not among these. */
  keep(names) {
    for (const name of this.#writers.keys()) if (!names.includes(name)) this.stopped(name);
  }

  #show() {
    const writers = [...this.#writers.keys()];
    if (writers.length > 3) writers.splice(2, Infinity, `${writers.length - 2} others`);
    const verb = writers.length === 1 ? "is typing" : "are typing";
    if (this.#line.dataset.writers !== writers.join()) {
      this.#line.dataset.writers = writers.join();
      const who = names.formatToParts(writers).map(({ type, value }) => {
        return type === "element" ? element("bdi", { textContent: value }) : value;
      });
      this.#line.replaceChildren(...writers.length === 0 ? [] : [
        element("span", { className: "who" }, ...who),
        element("span", { className: "verb", textContent: ` ${verb}` }),
      ]);
    }
    // A screen reader says it once for a conversation, not each time that somebody pauses.
    if (writers.length === 0) {
      this.#announcement.textContent = "";
    } else if (performance.now() - this.#spokenAt >= SPOKEN) {
      this.#spokenAt = performance.now();
      this.#announcement.textContent = `${names.format(writers)} ${verb}`;
    }
  }
}
