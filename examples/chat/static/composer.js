// The field in which a message is written: it grows, and Enter sends.

import { mark } from "./dom.js";
import { text } from "./texts.js";

const LIMIT = 1000; // characters, which the server counts too
const WARNING = 100; // how many characters are left when their number is shown

export class Composer {
  #form;
  #input;
  #error;
  #count;
  #outbox;
  #typing;
  #onSend;

  constructor(form, { error, hint, count, outbox, typing, onSend }) {
    this.#form = form;
    this.#input = form.elements.message;
    this.#error = error;
    this.#count = count;
    this.#outbox = outbox;
    this.#typing = typing;
    this.#onSend = onSend;

    // The keys of a screen keyboard are too few for two kinds of Enter: there it makes a line.
    // Some phones say that they can hover. The hint is removed, since a screen reader would read a hidden one.
    const isTouched = matchMedia("(pointer: coarse)");
    const tellKey = () => {
      this.#input.enterKeyHint = isTouched.matches ? "enter" : "send";
      hint.textContent = isTouched.matches ? "" : "Shift+Enter makes a new line.";
    };
    isTouched.addEventListener("change", tellKey);
    tellKey();
    this.#input.addEventListener("keydown", (event) => {
      const { key, shiftKey, ctrlKey, metaKey, isComposing, keyCode } = event;
      if (key !== "Enter" || shiftKey || isComposing || keyCode === 229) return; // 229: Safari's isComposing
      if (isTouched.matches && !ctrlKey && !metaKey) return;
      event.preventDefault();
      if (!event.repeat) form.requestSubmit();
    });
    this.#input.addEventListener("input", () => {
      outbox.draft = this.#input.value;
      typing.write(this.#input.value.trim() !== "");
      this.#show();
    });
    this.#input.addEventListener("blur", () => typing.stop());
    // On a low screen the page scrolls. Browsers bring only the line with the cursor into view.
    this.#input.addEventListener("focus", () => this.#input.scrollIntoView({ block: "nearest" }));
    new ResizeObserver(() => this.#fit()).observe(form); // lines break elsewhere
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
  }

  /** Shows what the user had written. */
  restore() {
    this.#input.value = this.#outbox.draft;
    this.#show();
  }

  focus() {
    this.#input.focus();
  }

  #send() {
    const said = this.#input.value.trim();
    if (said !== "" && length(said) <= LIMIT) {
      this.#outbox.draft = this.#input.value = "";
      this.#typing.stop();
      this.#outbox.add(said);
      this.#onSend();
    } else if (said !== "") {
      this.#error.textContent = text("MESSAGE_TOO_LONG");
      mark(this.#input, true);
    }
    this.#show();
    this.#input.focus();
  }

  #show() {
    const left = LIMIT - length(this.#input.value.trim());
    this.#count.textContent = left > WARNING ? "" : left >= 0 ? `${left} left` : `${-left} too many`;
    if (left >= 0) {
      this.#error.textContent = "";
      mark(this.#input, false);
    }
    this.#fit();
  }

  /** Makes the field as high as its text. The style sheet says how high it may be. */
  #fit() {
    const { style, offsetHeight: before } = this.#input;
    style.height = "auto";
    const border = this.#input.offsetHeight - this.#input.clientHeight;
    if (this.#input.scrollHeight > 0) style.height = `${this.#input.scrollHeight + border}px`;
    const hasGrown = this.#input.offsetHeight > before;
    if (hasGrown && document.activeElement === this.#input) this.#input.scrollIntoView({ block: "nearest" });
  }
}

/** Returns how many characters a text has, as the server counts. */
function length(text) {
  return [...text].length;
}
