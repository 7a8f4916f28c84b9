// The dialog that asks for the password again, before something that deserves it.

import { text } from "./texts.js";

export class Proof {
  #client;
  #dialog;
  #form;
  #error;
  #username = () => "";

  /** username returns the name of the user who is signed in. */
  constructor(client, dialog, username) {
    this.#client = client;
    this.#dialog = dialog;
    this.#form = dialog.querySelector("form");
    this.#error = dialog.querySelector("[role=alert]");
    this.#username = username;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#prove();
    });
    dialog.querySelector("[type=button]").addEventListener("click", () => dialog.close());
    this.#form.elements.password.addEventListener("input", () => this.#complain());
  }

  /**
   * Runs an action. Where the server asks for the password first, so does this, and then the action is
   * run again. It rejects with the code "not_confirmed" if the user does not give the password.
   */
  async before(action) {
    for (;;) {
      try {
        return await action();
      } catch (refusal) {
        if (refusal.code !== "reauthentication_required") throw refusal;
        if (!await this.#ask()) throw { code: "not_confirmed" };
      }
    }
  }

  close() {
    this.#dialog.close();
  }

  /** Resolves to true when the user has given the password, and to false when the dialog is closed. */
  #ask() {
    this.#form.reset();
    this.#form.elements.username.value = this.#username(); // for password managers
    this.#complain();
    this.#dialog.returnValue = "";
    this.#dialog.showModal();
    return new Promise((resolve) => {
      this.#dialog.addEventListener("close", () => {
        this.#form.reset();
        resolve(this.#dialog.returnValue === "proven");
      }, { once: true });
    });
  }

  async #prove() {
    const { username, password } = this.#form.elements;
    const button = this.#form.querySelector("[type=submit]");
    if (button.disabled) return;
    this.#complain();
    button.disabled = true;
    try {
      await this.#client.reauthenticate({ username: username.value, password: password.value });
      this.#dialog.close("proven");
    } catch (refusal) {
      this.#complain(refusal.code);
      password.select();
      this.#error.scrollIntoView({ block: "nearest" });
    } finally {
      button.disabled = false;
    }
  }

  /** Shows what is wrong. Without a code, clears it. */
  #complain(code) {
    const { password } = this.#form.elements;
    this.#error.textContent = code === "USER_INVALID" ? "That is not your password." : code ? text(code) : "";
    if (code === "USER_INVALID") password.setAttribute("aria-invalid", "true");
    else password.removeAttribute("aria-invalid");
  }
}
