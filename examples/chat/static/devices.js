// The list of the user's sessions, each with a button that ends it.

import { arrange } from "./dom.js";
import { ago, moment } from "./texts.js";

export class Devices {
  onEnd = () => {}; // called with the ID and the name of the device to end
  onChange = () => {}; // called with the number of devices

  #client;
  #list;
  #title; // gets the focus when the row that had it is removed
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

  /** Shows devices that were online as just seen: there is no news while the connection is lost. */
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
      if (this.#client.state === "online") throw error; // else the list is requested again after the reconnect
    }
  }

  /** Shows the devices. It keeps the elements of rows that exist, so that they keep the focus. */
  #render(devices) {
    const rows = new Map(Array.from(this.#list.children, (row) => [row.dataset.session, row]));
    const hadFocus = this.#list.contains(document.activeElement);
    devices.sort((a, b) => b.here - a.here); // this device first, the others by last use, as they came
    arrange(this.#list, devices.map((device) => {
      const row = fill(rows.get(device.id) ?? this.#row(), device);
      const twins = devices.filter((other) => areTwins(device, other));
      row.classList.toggle("twin", twins.length > 0);
      row.dataset.number = numberAmong(twins, device);
      tellTime(row);
      return row;
    }));
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

function fill(row, { id, name, phone, here, bound, address, since, lastSeen, tabs }) {
  Object.assign(row.dataset, { session: id, kind: phone ? "phone" : "computer", address, since, seen: lastSeen, tabs });
  row.dataset.bound = !bound ? "" : here ? ", bound to this device" : ", bound to its device";
  row.classList.toggle("here", here);
  row.querySelector(".name").textContent = name;
  return row;
}

/** Reports whether two devices of the same kind were signed in within the same minute. */
function areTwins(one, other) {
  const minute = ({ since }) => Math.floor(new Date(since) / 60_000);
  return one !== other && one.name === other.name && minute(one) === minute(other);
}

/** Returns which of its twins of the same second a device is, or nothing where there is none. */
function numberAmong(twins, device) {
  const second = ({ since }) => Math.floor(new Date(since) / 1000);
  const same = twins.filter((twin) => second(twin) === second(device));
  return same.length > 0 ? ` (${1 + same.filter(({ id }) => id < device.id).length})` : "";
}

function tellTime(row) {
  const { address, bound, number, seen, since, tabs } = row.dataset;
  const at = (part) => row.querySelector(part);
  const last = { 0: `Seen ${ago(seen)}`, 1: "Online now" }[tabs] ?? `Online in ${tabs} tabs`;
  const signedIn = moment(since, { seconds: row.classList.contains("twin") }) + number;
  at(".seen").textContent = `${last} · ${address}`;
  at(".since").textContent = `Signed in ${signedIn}${bound}`;
  const which = row.classList.contains("here") ? "this device" : `${address}, signed in ${signedIn}`;
  at("button").setAttribute("aria-label", `Log out ${at(".name").textContent}, ${which}`);
}
