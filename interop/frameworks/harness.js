// What the pages of the three frameworks have in common. Nothing of it is needed in an app.
import { connect } from "socketauth-client";

// The events that the probe has heard, and how many functions it has with its client.
export const heard = globalThis.heard = [];
export const held = globalThis.held = { events: 0, snapshots: 0, times: 0 };

/** A client that counts the functions that it is given. */
function counted(client) {
  const count = (what, undo) => {
    held[what]++;
    held.times++;
    return () => {
      held[what]--;
      undo();
    };
  };
  return {
    get snapshot() { return client.snapshot; },
    subscribe: (f) => count("snapshots", client.subscribe(f)),
    on: (event, f) => count("events", client.on(event, f)),
  };
}

Object.assign(globalThis, { connect, counted }); // for the driver

/** What a page shows at first: a probe that uses a client, and n to have it rendered again. */
export const first = (client) => ({ shown: true, n: 0, client: counted(client) });

/** Returns the page's element once the page may be rendered, and whether a server has done so. */
export async function root() {
  const element = document.getElementById("app");
  const isServed = element.childElementCount > 0;
  // Where somebody is signed in, the page is slow: it is hydrated when the client has connected.
  if (isServed && localStorage.length > 0) await client.ready();
  return { element, isServed };
}
