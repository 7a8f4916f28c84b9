// The room. All text of users is inserted as text, never as markup.

import { arrange, element, paint, showName } from "./dom.js";
import { clock, day, text } from "./texts.js";

const KEPT = 200; // how many messages the page shows
const PAUSE = 5 * 60_000; // ms after which the author of a message is named again

const pending = { waiting: "Waiting for the connection…", sending: "Sending…", sent: "Sent" };

export class Room {
  #client;
  #outbox;
  #typing;
  #reading;
  #list;
  #users;
  #me;
  #messages = []; // in the order of their ids
  #rows = new Map(); // the elements that are shown, by what names them
  #today = new Date().toDateString();
  #version = 0; // the version of the list of users who are online

  constructor(client, { outbox, typing, reading, messages, users }) {
    this.#client = client;
    this.#outbox = outbox;
    this.#typing = typing;
    this.#reading = reading;
    this.#list = messages;
    this.#users = users;
    client.on("message", (message) => this.#receive(message));
    client.on("online", (online) => this.#showOnline(online));
    outbox.onSent = (message) => this.#receive(message);
    outbox.onChange = () => this.#update();
    setInterval(() => this.#passMidnight(), 5_000); // no timer for midnight: a machine may sleep then
  }

  /** Sets the name of the user. */
  set me(name) {
    this.#me = name;
    this.#update();
  }

  /** Joins the room, which is needed after each connect. */
  async join() {
    const { messages, online } = await this.#client.emitWithAck("join");
    this.#receive(...messages);
    this.#showOnline(online);
  }

  clear() {
    this.#messages = [];
    this.#update();
    this.lose();
  }

  /** Clears the list of users who are online: there is no news while the connection is lost. */
  lose() {
    this.#users.replaceChildren();
    this.#version = 0;
    this.#typing.keep([]);
  }

  /** Inserts messages in order, unless they are there: one may come as an event and in a reply. */
  #receive(...messages) {
    let arrived = 0;
    for (const message of messages) {
      this.#typing.stopped(message.author);
      const at = this.#messages.findLastIndex(({ id }) => id <= message.id);
      if (this.#messages[at]?.id === message.id) continue;
      this.#messages.splice(at + 1, 0, message);
      if (message.author === this.#me) this.#outbox.remove(message.key);
      else arrived++;
    }
    if (this.#reading.isAtEnd) this.#messages.splice(0, this.#messages.length - KEPT);
    this.#update(arrived);
  }

  #update(arrived = 0) {
    this.#reading.change(() => this.#show(), arrived);
  }

  #show() {
    const hadFocus = this.#list.contains(document.activeElement);
    const rows = new Map();
    let before;
    for (const message of [...this.#messages, ...this.#outbox.items]) {
      const date = new Date(message.time).toDateString();
      const isNewDay = date !== (before && new Date(before.time).toDateString());
      if (isNewDay) {
        let name = date;
        while (rows.has(name)) name += " again"; // the server's clock was set back
        rows.set(name, fillDay(this.#rows.get(name), message.time));
      }
      // The row of a message that was sent is the one that it had before.
      const name = message.key ? JSON.stringify([message.author, message.key]) : message.id;
      const row = this.#fill(this.#rows.get(name) ?? this.#row(message), message);
      row.classList.toggle("more", !isNewDay && goesOn(before, message));
      rows.set(name, row);
      before = message;
    }
    this.#rows = rows;
    arrange(this.#list, [...rows.values()]);
    if (hadFocus && !this.#list.contains(document.activeElement)) this.#list.parentElement.focus();
  }

  #row({ author, text, time }) {
    const row = element("li", {},
      element("bdi", { className: "author", textContent: author }),
      element("time", { dateTime: time, textContent: clock(time) }),
      element("p", { className: "text", dir: "auto", title: new Date(time).toLocaleString(), textContent: text }));
    row.dataset.author = author;
    paint(row, author);
    return row;
  }

  /** Shows what may change of a message. */
  #fill(row, message) {
    const isOwn = message.author === this.#me;
    row.classList.toggle("own", isOwn);
    if (message.id) row.dataset.id = message.id;
    const state = !isOwn ? "" : message.id ? "sent" : message.state;
    if (row.dataset.state === state) return row;
    row.dataset.state = state;
    row.querySelector(".state")?.remove();
    if (state) row.append(this.#state(state, message));
    return row;
  }

  /** Returns how far a message of the user's is. A screen reader says only that one has failed. */
  #state(state, message) {
    const place = element("div", { className: "state", ariaLive: "off" });
    if (state !== "failed") {
      place.append(pending[state]);
      return place;
    }
    const button = (name, className, act) => {
      const made = element("button", { type: "button", className, textContent: name });
      made.addEventListener("click", act);
      return made;
    };
    place.append(
      element("p", { role: "alert" }, element("strong", { textContent: "Not sent. " }), text(message.code)),
      button("Try again", "quiet retry", () => this.#outbox.retry(message)),
      button("Remove", "quiet remove", () => this.#outbox.remove(message.key)),
    );
    return place;
  }

  #passMidnight() {
    const today = new Date().toDateString();
    if (today === this.#today) return;
    this.#today = today;
    this.#update();
  }

  #showOnline({ version, names }) {
    if (version <= this.#version) return; // a newer list came before it
    this.#version = version;
    this.#typing.keep(names);
    this.#users.replaceChildren(...names.map((name) => {
      const item = element("li", { className: name === this.#me ? "person own" : "person" });
      showName(item, name);
      return item;
    }));
  }
}

/** Shows a day between messages, which has another name at midnight. */
function fillDay(row = element("li", { className: "day" }, element("span")), time) {
  row.firstElementChild.textContent = day(time);
  return row;
}

/** Reports whether a message follows one of the same author within PAUSE. */
function goesOn(before, { author, time }) {
  return before?.author === author && new Date(time) - new Date(before.time) < PAUSE;
}
