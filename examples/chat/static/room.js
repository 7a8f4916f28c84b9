// The room as the page shows it. All text of users is put in as text, never as markup.

const KEPT = 200; // messages on the page

export class Room {
  #socket;
  #messages;
  #users;
  #log;
  #me;
  #version = 0; // of the list of who is online

  constructor(socket, messages, users, log) {
    this.#socket = socket;
    this.#messages = messages;
    this.#users = users;
    this.#log = log;
    socket.on("message", (message) => this.#add(message)).on("online", (online) => this.#showOnline(online));
  }

  /** Enters the room after each connect, and gives the name one has there. */
  async join() {
    const { you, messages, online } = replyOf(await this.#socket.emitWithAck("join"));
    this.#me = you;
    for (const item of this.#messages.children) item.classList.toggle("own", item.dataset.author === you);
    for (const message of messages) this.#add(message);
    this.#showOnline(online);
    return you;
  }

  /** Says something to everyone. The error's message is a code. */
  async say(text) {
    let reply;
    try {
      reply = await this.#socket.emitWithAck("say", text);
    } catch {
      throw new Error("MESSAGE_LOST");
    }
    replyOf(reply);
  }

  clear() {
    this.#messages.replaceChildren();
    this.#users.replaceChildren();
    this.#version = 0;
  }

  /** Puts a message in its place, once: it may come both by itself and with what was said before one joined. */
  #add({ id, author, text, time }) {
    let before = this.#messages.lastElementChild;
    while (before && Number(before.dataset.id) > id) before = before.previousElementSibling;
    if (before && Number(before.dataset.id) === id) return;

    const own = author === this.#me;
    const following = own || this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 80;
    const item = element("li", { className: own ? "own" : "" });
    item.dataset.id = id;
    item.dataset.author = author;
    item.style.setProperty("--hue", hue(author));
    item.append(element("span", { className: "author", textContent: author }), clock(time), element("p", { className: "text", textContent: text }));
    if (before) before.after(item);
    else this.#messages.prepend(item);

    while (this.#messages.childElementCount > KEPT) this.#messages.firstElementChild.remove();
    if (following) this.#log.scrollTop = this.#log.scrollHeight;
  }

  #showOnline({ version, names }) {
    if (version <= this.#version) return; // overtaken on its way
    this.#version = version;
    this.#users.replaceChildren(...names.map((name) => {
      const item = element("li", { textContent: name, title: name, className: name === this.#me ? "own" : "" });
      item.style.setProperty("--hue", hue(name));
      return item;
    }));
  }
}

/** What a handler replied, or its refusal as an error. */
function replyOf(reply) {
  if (reply?.error) throw new Error(reply.error.code);
  return reply;
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

function clock(time) {
  const at = new Date(time);
  const today = at.toDateString() === new Date().toDateString();
  const short = today ? { timeStyle: "short" } : { dateStyle: "short", timeStyle: "short" };
  return element("time", { dateTime: time, title: at.toLocaleString(), textContent: at.toLocaleString([], short) });
}

/** A colour for a name, the same on everybody's page. */
function hue(name) {
  let sum = 0;
  for (const c of name) sum = (sum * 31 + c.codePointAt(0)) % 360;
  return sum;
}
