// The page. It shows the state of the library's client, which does everything about tokens.

import { connect } from "/socketauth/socketauth.js";
import { Composer } from "./composer.js";
import { Devices } from "./devices.js";
import { mark, showName } from "./dom.js";
import { Journal, generation } from "./journal.js";
import { OfflineBar } from "./offline.js";
import { Outbox } from "./outbox.js";
import { Proof } from "./proof.js";
import { Reading } from "./reading.js";
import { Room } from "./room.js";
import { about, states, text } from "./texts.js";
import { Typing } from "./typing.js";

const $ = (id) => document.getElementById(id);

// The client tries to connect at once when it hears that the network is back.
const offline = new OfflineBar($("offline"), () => dispatchEvent(new Event("online")));

/** The WebSocket of the client. Closing the latest one simulates a connection that is lost. */
class Line extends WebSocket {
  static latest;
  constructor(...args) {
    super(...args);
    Line.latest = this;
    offline.isTrying = true;
    this.addEventListener("close", () => { if (Line.latest === this) offline.isTrying = false; });
  }
}

// There is no AppURL here, so there are no codes in links.
const client = connect({ bind: true, fragment: false, WebSocket: Line });
const outbox = new Outbox(client);
const typing = new Typing(client, $("typing"), $("typing-said"));
const reading = new Reading($("log"), $("messages"), $("jump"));
const room = new Room(client, { outbox, typing, reading, messages: $("messages"), users: $("users") });
const composer = new Composer($("message-form"), {
  error: $("message-error"), hint: $("keys-hint"), count: $("count"), outbox, typing, onSend: () => reading.end(),
});
const devices = new Devices(client, $("devices"), $("devices-title"), $("device"));
const journal = new Journal(client, $("journal"));
const proof = new Proof(client, $("proof"), () => me);
let me; // the name of the user who is signed in
let arriving = false; // the user has just logged in or registered

client.on("state", (state, reason) => {
  const signedOut = state === "signed-out" || state === "expired";
  $("status").dataset.state = state;
  $("status").textContent = states[state];
  offline.show(state, reason);
  $("bound").hidden = !client.bound;
  $("sign-in").hidden = !signedOut;
  $("chat").hidden = $("account").hidden = signedOut;
  const place = $(signedOut ? "sign-in" : "session");
  if ($("happened").parentElement !== place) place.append($("happened")); // it is shown in both views

  if (client.claims) welcome(client.claims.name);
  if (state === "online") enter();
  else lose();
  if (signedOut) leave(reason);
});

/** Shows who is signed in, which may be another user than before. */
function welcome(name) {
  if (name === me) return;
  if (me) forget();
  me = room.me = typing.me = name;
  showName($("me"), name);
  outbox.restore(name);
  composer.restore();
}

/** Forgets what the user before has seen and written. */
function forget() {
  me = undefined;
  room.clear();
  devices.clear();
  outbox.clear();
  composer.restore();
  proof.close();
  $("me").textContent = $("devices-note").textContent = "";
}

function lose() {
  room.lose();
  outbox.lose();
  devices.lose();
}

async function enter() {
  try {
    await room.join();
    outbox.open();
    for (const name in forms) forms[name].reset(); // only now, so that a password manager has seen them
    if (arriving) composer.focus();
    arriving = false;
  } catch (error) {
    if (client.state === "online") throw error; // else the page joins again after the reconnect
  }
}

function leave(reason) {
  forget();
  $("notice").textContent = reason ? text(reason) : "";
  view("room");
  if (!reason) return;
  show("login");
  $("welcome").focus();
}

// Signed out

const forms = { login: $("login-form"), register: $("register-form") };

/** Shows one of the two forms. */
function show(which) {
  for (const name in forms) {
    forms[name].hidden = name !== which;
    $("show-" + name).setAttribute("aria-pressed", String(name === which));
  }
  complain();
}

/** Shows what is wrong with the form and marks the fields that it is about. Without a code, clears both. */
function complain(code) {
  $("sign-in-error").textContent = code ? text(code) : "";
  for (const name in forms) {
    const { username, password } = forms[name].elements;
    for (const field of [username, password]) mark(field, about(code).includes(field.name));
  }
}

for (const name in forms) {
  const { username, password } = forms[name].elements;
  $("show-" + name).addEventListener("click", () => {
    show(name);
    username.focus();
  });
  for (const field of [username, password]) field.addEventListener("input", () => mark(field, false));
  const button = forms[name].querySelector("[type=submit]"); // scripts and password managers can submit without it
  forms[name].addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    $("notice").textContent = "";
    complain();
    button.disabled = arriving = true;
    try {
      await client[name]({ username: username.value, password: password.value });
    } catch (refusal) {
      arriving = button.disabled = false; // a disabled button cannot take the focus
      complain(refusal.code);
      ([password, username].find((field) => field.hasAttribute("aria-invalid")) ?? button).focus();
      $("sign-in-error").scrollIntoView({ block: "nearest" });
    } finally {
      button.disabled = false;
    }
  });
}

// Signed in

/** Selects what a narrow screen shows: the room or the session. */
function view(which) {
  $("chat").dataset.view = which;
  for (const name of ["room", "session"]) $("show-" + name).setAttribute("aria-pressed", String(name === which));
}
for (const name of ["room", "session"]) $("show-" + name).addEventListener("click", () => view(name));

$("end-others").addEventListener("click", () => note(async () => {
  const count = await proof.before(() => client.emitWithAck("end others"));
  return count === 1 ? "One other device was logged out." : `${count} other devices were logged out.`;
}));
devices.onEnd = (id, name) => note(async () => {
  await proof.before(() => client.emitWithAck("end device", id));
  return `${name} was logged out.`;
});
devices.onChange = (count) => {
  // Hiding the button that has the focus would lose the focus.
  if (count < 2 && document.activeElement === $("end-others")) $("devices-title").focus();
  $("end-others").hidden = count < 2;
};

let noting = false; // an action runs, perhaps behind the dialog

/** Runs an action and shows its result, or why it was refused, by the devices. One runs at a time. */
async function note(action) {
  if (noting) return;
  noting = true;
  $("devices-note").textContent = "";
  try {
    $("devices-note").textContent = await action();
  } catch (refusal) {
    if (client.token) $("devices-note").textContent = text(refusal.code); // else the next user would read it
  } finally {
    noting = false;
  }
}

$("lose").addEventListener("click", () => {
  if (client.state !== "online") return;
  journal.add("wait", "You cut the connection.");
  Line.latest.close();
});
$("logout").addEventListener("click", () => client.logout());

// The number of the token is only shown for this demo.
const count = () => { $("generation").textContent = generation(client.token) ?? "…"; };
client.on("state", count);
client.on("notice", count);
