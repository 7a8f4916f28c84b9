// The sessions of the user, each with a button that ends it.

import { ago, moment } from "./texts.js";

export class Devices {
  onEnd = () => {}; // (id, name) of the device to be ended
  onChange = () => {}; // (count)

  #client;
  #list;
  #title; // gets the focus when the row is gone that had it
  #template;

  constructor(client, list, title, template) {
    this.#client = client;
    this.#list = list;
    this.#title = title;
    this.#template = template;
    client.on("devices changed", () => this.#refresh());
    setInterval(() => this.#list.querySelectorAll("li").forEach(tellTime), 60_000);
  }

  clear() {
    this.#list.replaceChildren();
  }

  /** Shows what was online as seen just now: nobody tells while the connection is lost. */
  lose() {
    for (const row of this.#list.children) {
      if (row.dataset.tabs === "0") continue;
      Object.assign(row.dataset, { tabs: 0, seen: new Date().toISOString() });
      tellTime(row);
    }
  }

  async #refresh() {
    try {
      this.#render(await this.#client.emitWithAck("devices"));
    } catch (error) {
      if (this.#client.state === "online") throw error; // else it is asked again after the reconnect
    }
  }

  /** Rows stay the elements that they are, so that the focus stays too. */
  #render(devices) {
    const rows = new Map(Array.from(this.#list.children, (row) => [row.dataset.session, row]));
    const hadFocus = this.#list.contains(document.activeElement);
    devices.sort((a, b) => b.here - a.here); // this device first, the others as they came: by when they were seen
    const next = devices.map((device) => fill(rows.get(device.id) ?? this.#row(), device));
    for (const row of this.#list.children) if (!next.includes(row)) row.remove();
    next.forEach((row, n) => {
      if (this.#list.children[n] !== row) this.#list.insertBefore(row, this.#list.children[n] ?? null);
    });
    if (hadFocus && !this.#list.contains(document.activeElement)) this.#title.focus();
    this.onChange(devices.length);
  }

  #row() {
    const row = this.#template.content.firstElementChild.cloneNode(true);
    row.querySelector("button").addEventListener("click", () => {
      if (row.classList.contains("here")) this.#client.logout();
      else this.onEnd(row.dataset.session, row.querySelector(".name").textContent);
    });
    return row;
  }
}

function fill(row, { id, name, phone, here, address, since, lastSeen, tabs }) {
  const at = (part) => row.querySelector(part);
  Object.assign(row.dataset, { session: id, kind: phone ? "phone" : "computer", address, seen: lastSeen, tabs });
  row.classList.toggle("here", here);
  at(".name").textContent = name;
  at(".since").textContent = `Signed in ${moment(since)}`;
  at("button").setAttribute("aria-label", `Log out ${name}` + (here ? ", this device" : `, ${address}`));
  tellTime(row);
  return row;
}

function tellTime(row) {
  const { address, seen, tabs } = row.dataset;
  const last = { 0: `Seen ${ago(seen)}`, 1: "Online now" }[tabs] ?? `Online in ${tabs} tabs`;
  row.querySelector(".seen").textContent = `${last} · ${address}`;
}
