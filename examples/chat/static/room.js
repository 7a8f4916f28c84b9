// The room as the page shows it. All text of users is put in as text, never as markup.

import { moment } from "./texts.js";

const KEPT = 200; // messages on the page
const PAUSE = 5 * 60_000; // after which an author is named again

export class Room {
  #client;
  #messages;
  #users;
  #log;
  #me;
  #version = 0; // of the list of who is online

  constructor(client, messages, users, log) {
    this.#client = client;
    this.#messages = messages;
    this.#users = users;
    this.#log = log;
    client.on("message", (message) => this.#add(message));
    client.on("online", (online) => this.#showOnline(online));
  }

  /** Enters the room after each connect, and gives the name one has there. */
  async join() {
    const { you, messages, online } = await this.#client.emitWithAck("join");
    this.#me = you;
    for (const item of this.#messages.children) item.classList.toggle("own", item.dataset.author === you);
    for (const message of messages) this.#add(message);
    this.#showOnline(online);
    return you;
  }

  clear() {
    this.#messages.replaceChildren();
    this.lose();
  }

  /** Forgets who is online, which nobody tells while the connection is lost. */
  lose() {
    this.#users.replaceChildren();
    this.#version = 0;
  }

  /** Shows a person in a place, whichever way their name is written. */
  show(place, name) {
    place.replaceChildren(element("bdi", { textContent: name }));
    place.title = name;
    paint(place, name);
  }

  /** Puts a message in its place, once: it may come both by itself and with what was said before one joined. */
  #add({ id, author, text, time }) {
    let before = this.#messages.lastElementChild;
    while (before && Number(before.dataset.id) > id) before = before.previousElementSibling;
    if (before && Number(before.dataset.id) === id) return;

    const own = author === this.#me;
    const item = element("li", { className: own ? "own" : "" });
    Object.assign(item.dataset, { id, author, time });
    paint(item, author);
    item.append(
      element("bdi", { className: "author", textContent: author }),
      element("time", { dateTime: time, textContent: moment(time) }),
      element("p", { className: "text", dir: "auto", title: new Date(time).toLocaleString(), textContent: text }),
    );
    if (before) before.after(item);
    else this.#messages.prepend(item);
    for (const each of [item, item.nextElementSibling]) each?.classList.toggle("more", goesOn(each));

    while (this.#messages.childElementCount > KEPT) this.#messages.firstElementChild.remove();
    if (own) this.#log.scrollTop = 0; // which is its end
  }

  #showOnline({ version, names }) {
    if (version <= this.#version) return; // overtaken on its way
    this.#version = version;
    this.#users.replaceChildren(...names.map((name) => {
      const item = element("li", { className: name === this.#me ? "person own" : "person" });
      this.show(item, name);
      return item;
    }));
  }
}

/** Whether a message goes on where its author spoke before. */
function goesOn(item) {
  const { author, time } = item.previousElementSibling?.dataset ?? {};
  return author === item.dataset.author && new Date(item.dataset.time) - new Date(time) < PAUSE;
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

/** A colour and a letter for a name, the same on everybody's page. */
function paint(element, name) {
  let sum = 0;
  for (const c of name) sum = (sum * 31 + c.codePointAt(0)) % 360;
  element.style.setProperty("--hue", sum * 137 % 360); // far from that of a name that is near
  element.dataset.initial = [...name][0].toLocaleUpperCase();
}
