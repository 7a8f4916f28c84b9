// The page. It shows which process serves which tab. Everything about tokens is done by the library's
// client.

import { connect } from "/socketauth/socketauth.js";

const $ = (id) => document.getElementById(id);

const states = {
  "signed-out": "Signed out",
  connecting: "Connecting…",
  online: "Online",
  offline: "Offline, trying again…",
  expired: "Signed out",
};

const texts = {
  USER_INVALID: "Wrong name or password.",
  TOO_MANY_ATTEMPTS: "Too many attempts, at all processes together. Wait a while, then try again.",
  UNAVAILABLE: "The server is busy. Try again in a moment.",
  MESSAGE_INVALID: "A message has 1 to 1000 characters.",
  network: "The server cannot be reached. Is it running?",
  not_confirmed: "Nothing was changed.",
  offline: "Not sent: you are offline.",
  logged_out: "You are logged out, on every process.",
  logged_out_here: "You are logged out here, but the server could not be told.",
  elsewhere: "You are logged out: this browser has no session any more.",
  session_revoked: "This session was logged out from another one.",
  token_expired: "You were away for too long. Please log in again.",
  invalid_token: "The server does not know this session. Please log in again.",
};
const text = (code) => texts[code] ?? `Something went wrong (${code}). Please try again.`;

/** The WebSocket of the client. Closing the latest one makes the client connect again. */
class Line extends WebSocket {
  static latest;
  constructor(...args) {
    super(...args);
    Line.latest = this;
  }
}

const client = connect({ fragment: false, WebSocket: Line });
let session = ""; // the id of this tab's session

client.on("state", (state, reason) => {
  const signedOut = state === "signed-out" || state === "expired";
  $("status").dataset.state = state;
  $("status").textContent = states[state];
  $("sign-in").hidden = !signedOut;
  $("app").hidden = $("account").hidden = signedOut;
  delete $("app").dataset.node;
  if (state === "online") enter();
  if (signedOut) leave(reason);
});

async function enter() {
  $("login-form").reset();
  const { you, node } = await ask("hello") ?? {};
  if (!node) return;
  $("app").dataset.node = node;
  $("here").textContent = `node ${node}`;
  paint($("me"), you);
  $("me").textContent = you;
  await Promise.all([showDevices(), showNodes()]);
}

function leave(reason) {
  for (const list of ["nodes", "messages", "devices"]) $(list).replaceChildren();
  for (const place of ["me", "message-error", "devices-note", "sign-in-error"]) $(place).textContent = "";
  $("message-input").value = session = "";
  $("proof").close();
  $("notice").textContent = reason ? text(reason) : "";
  if (reason) $("welcome").focus();
}

/** Emits an event and returns the reply, or nothing if the connection is lost meanwhile. */
async function ask(event, ...args) {
  try {
    return await client.emitWithAck(event, ...args);
  } catch (error) {
    if (!["disconnected", "offline"].includes(error.code)) throw error; // else the page asks again once it is back
  }
}

// Log in and out

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { username, password } = event.target.elements;
  const button = event.submitter ?? event.target.querySelector("button");
  $("notice").textContent = $("sign-in-error").textContent = "";
  button.disabled = true;
  try {
    await client.login({ username: username.value, password: password.value });
  } catch (refusal) {
    $("sign-in-error").textContent = text(refusal.code);
    button.disabled = false;
    password.focus();
  } finally {
    button.disabled = false;
  }
});
$("logout").addEventListener("click", () => client.logout());
$("again").addEventListener("click", () => Line.latest.close());

// Who is where

/** Calls an action now, and once more if it was called while it ran. */
function oneAtATime(action) {
  let running, again;
  return async () => {
    again = true;
    if (running) return running;
    running = (async () => {
      for (; again; ) {
        again = false;
        await action();
      }
    })().finally(() => { running = undefined; });
    return running;
  };
}

const showNodes = oneAtATime(async () => {
  const nodes = await ask("where");
  if (!nodes) return;
  $("nodes").replaceChildren(...nodes.map(({ node, tabs }) => {
    const item = clone("node");
    const count = tabs?.length ?? 0;
    item.dataset.node = node;
    item.classList.toggle("here", node === $("app").dataset.node);
    item.querySelector(".letter").textContent = `Node ${node}`;
    item.querySelector(".count").textContent = count === 1 ? "1 tab" : `${count} tabs`;
    item.querySelector(".tabs").append(...(tabs ?? []).map(({ userId, sessionId }) => {
      const tab = element("li", { className: "person", textContent: userId });
      tab.classList.toggle("own", sessionId === session);
      if (sessionId === session) tab.title = "of this session";
      paint(tab, userId);
      return tab;
    }));
    return item;
  }));
  $("incomplete").hidden = nodes.every(({ complete }) => complete);
});

client.on("moved", () => {
  showNodes();
  showDevices();
});
setInterval(() => { if (client.state === "online") showNodes(); }, 5000); // a process that is killed says nothing

// Messages

client.on("message", ({ author, session: from, node, text, time }) => {
  const item = element("li", { className: from === session ? "own" : "" });
  item.dataset.node = node;
  paint(item, author);
  item.append(
    element("span", { className: "author", textContent: author }),
    element("span", { className: "hint", textContent: `from node ${node}, ${new Date(time).toLocaleTimeString([], { timeStyle: "short" })}` }),
    element("p", { className: "text", dir: "auto", textContent: text }),
  );
  $("messages").append(item);
  while ($("messages").childElementCount > 100) $("messages").firstElementChild.remove();
  $("log").scrollTop = $("log").scrollHeight;
});

$("message-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = $("message-input");
  if (input.value.trim() === "") return;
  $("message-error").textContent = "";
  try {
    await client.emitWithAck("say", input.value);
    input.value = "";
  } catch (refusal) {
    $("message-error").textContent = text(refusal.code);
  }
  input.focus();
});

// Sessions

const showDevices = oneAtATime(async () => {
  const devices = await ask("devices");
  if (!devices) return;
  session = devices.find(({ here }) => here)?.id ?? session;
  const hadFocus = $("devices").contains(document.activeElement);
  $("devices").replaceChildren(...devices.sort((a, b) => b.here - a.here).map(({ id, here, userAgent, address, since, tabs }) => {
    const item = clone("device");
    item.dataset.session = id;
    item.classList.toggle("here", here);
    item.querySelector(".name").textContent = browser(userAgent);
    const at = new Date(since).toLocaleTimeString([], { timeStyle: "short" });
    item.querySelector(".hint").textContent = `${tabs === 1 ? "1 tab" : `${tabs} tabs`} · since ${at} · ${address}`;
    const button = item.querySelector("button");
    button.setAttribute("aria-label", `Log out ${browser(userAgent)}` + (here ? ", this session" : `, ${address}`));
    button.addEventListener("click", () => here ? client.logout() : note("end device", id));
    return item;
  }));
  if (hadFocus) $("devices-title").focus();
  $("end-others").hidden = devices.length < 2;
});

$("end-others").addEventListener("click", () => note("end others"));

/** Ends sessions, and shows what was closed where. */
async function note(event, ...args) {
  $("devices-note").textContent = "";
  try {
    const { sessions, sockets, nodes, unheard } = await proven(() => client.emitWithAck(event, ...args));
    const some = (n, what) => n === 1 ? `1 ${what}` : `${n} ${what}s`;
    $("devices-note").textContent = `Ended ${some(sessions, "session")} with ${some(sockets, "tab")}. `
      + `${nodes === 1 ? "1 process has" : `${nodes} processes have`} answered`
      + (unheard ? `, and ${unheard.length} not.` : ".");
  } catch (refusal) {
    if (client.token) $("devices-note").textContent = text(refusal.code);
  }
  await showDevices();
}

/** Runs an action, and once more after the user has given their password again, if the server wants that. */
async function proven(action) {
  for (;;) {
    try {
      return await action();
    } catch (refusal) {
      if (refusal.code !== "reauthentication_required") throw refusal;
      if (!await askForPassword()) throw { code: "not_confirmed" };
    }
  }
}

/** Resolves to whether the user has given their password. */
function askForPassword() {
  if ($("proof").open) return false; // for an action before this one
  $("proof-form").reset();
  $("proof-form").elements.username.value = $("me").textContent; // for password managers
  $("proof-error").textContent = $("proof").returnValue = "";
  $("proof").showModal();
  return new Promise((resolve) => {
    $("proof").addEventListener("close", () => resolve($("proof").returnValue === "proven"), { once: true });
  });
}

$("proof-cancel").addEventListener("click", () => $("proof").close());
$("proof-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { username, password } = event.target.elements;
  $("proof-error").textContent = "";
  try {
    await client.reauthenticate({ username: username.value, password: password.value });
    $("proof").close("proven");
  } catch (refusal) {
    $("proof-error").textContent = refusal.code === "USER_INVALID" ? "That is not your password." : text(refusal.code);
    password.select();
  }
});

/** Returns the name of a browser by its User-Agent header. */
function browser(userAgent) {
  const names = [["Edg", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["FxiOS/", "Firefox"], ["CriOS/", "Chrome"],
    ["Chrome/", "Chrome"], ["Safari/", "Safari"]];
  return names.find(([part]) => userAgent.includes(part))?.[1] ?? "Another program";
}

function clone(template) {
  return $(template).content.firstElementChild.cloneNode(true);
}

/** Returns a new element with these properties. */
function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

/** Sets a colour and a letter for a name, which are the same on all pages. */
function paint(element, name) {
  let sum = 0;
  for (const c of name) sum = (sum * 31 + c.codePointAt(0)) % 360;
  element.style.setProperty("--hue", sum * 137 % 360);
  element.dataset.initial = [...name][0].toLocaleUpperCase();
}
