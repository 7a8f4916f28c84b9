// The room. All text of users is inserted as text, never as markup.

import { moment } from "./texts.js";

const KEPT = 200; // how many messages the page shows
const PAUSE = 5 * 60_000; // ms after which the author of a message is named again

export class Room {
  #client;
  #messages;
  #users;
  #log;
  #me;
  #version = 0; // the version of the list of users who are online

  constructor(client, messages, users, log) {
    this.#client = client;
    this.#messages = messages;
    this.#users = users;
    this.#log = log;
    client.on("message", (message) => this.#add(message));
    client.on("online", (online) => this.#showOnline(online));
  }

  /** Joins the room, which is needed after each connect, and returns the name of the user. */
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

  /** Clears the list of users who are online: there is no news while the connection is lost. */
  lose() {
    this.#users.replaceChildren();
    this.#version = 0;
  }

  /** Shows a user's name in an element, in whichever direction the name is written. */
  show(place, name) {
    place.replaceChildren(element("bdi", { textContent: name }));
    place.title = name;
    paint(place, name);
  }

  /** Inserts a message in order, unless it is there: it may come as an event and in the reply to "join". */
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
    if (own) this.#log.scrollTop = 0; // the log is upside down, so this is its end
  }

  #showOnline({ version, names }) {
    if (version <= this.#version) return; // a newer list came before it
    this.#version = version;
    this.#users.replaceChildren(...names.map((name) => {
      const item = element("li", { className: name === this.#me ? "person own" : "person" });
      this.show(item, name);
      return item;
    }));
  }
}

/** Reports whether a message follows one of the same author within PAUSE. */
function goesOn(item) {
  const { author, time } = item.previousElementSibling?.dataset ?? {};
  return author === item.dataset.author && new Date(item.dataset.time) - new Date(time) < PAUSE;
}

/** Returns a new element with these properties. */
function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

/** Sets a colour and a letter for a name, which are the same on all pages. */
function paint(element, name) {
  let sum = 0;
  for (const c of name) sum = (sum * 31 + c.codePointAt(0)) % 360;
  element.style.setProperty("--hue", sum * 137 % 360); // different even for names that are similar
  element.dataset.initial = [...name][0].toLocaleUpperCase();
}
