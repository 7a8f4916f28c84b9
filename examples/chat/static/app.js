// The page. It shows the state of the library's client, which does everything about tokens.

import { connect } from "/socketauth/socketauth.js";
import { Devices } from "./devices.js";
import { Journal, generation } from "./journal.js";
import { Proof } from "./proof.js";
import { Room } from "./room.js";
import { about, states, text } from "./texts.js";

const $ = (id) => document.getElementById(id);

/** The WebSocket of the client. Closing the latest one simulates a connection that is lost. */
class Line extends WebSocket {
  static latest;
  constructor(...args) {
    super(...args);
    Line.latest = this;
  }
}

// There is no AppURL here, so there are no codes in links.
const client = connect({ bind: true, fragment: false, WebSocket: Line });
const room = new Room(client, $("messages"), $("users"), $("log"));
const devices = new Devices(client, $("devices"), $("devices-title"), $("device"));
const journal = new Journal(client, $("journal"));
const proof = new Proof(client, $("proof"), () => $("me").textContent);
let arriving = false; // the user has just logged in or registered

client.on("state", (state, reason) => {
  const signedOut = state === "signed-out" || state === "expired";
  $("status").dataset.state = state;
  $("status").textContent = states[state];
  $("bound").hidden = !client.bound;
  $("sign-in").hidden = !signedOut;
  $("chat").hidden = $("account").hidden = signedOut;
  const place = $(signedOut ? "sign-in" : "session");
  if ($("happened").parentElement !== place) place.append($("happened")); // it is shown in both views

  if (state === "online") enter();
  else lose();
  if (signedOut) leave(reason);
});

function lose() {
  room.lose();
  devices.lose();
}

async function enter() {
  try {
    const you = await room.join();
    for (const name in forms) forms[name].reset(); // only now, so that a password manager has seen them
    room.show($("me"), you);
    if (arriving) $("message-input").focus();
    arriving = false;
  } catch (error) {
    if (client.state === "online") throw error; // else the page joins again after the reconnect
  }
}

function leave(reason) {
  room.clear();
  devices.clear();
  proof.close();
  $("me").textContent = $("message-input").value = $("message-error").textContent = $("devices-note").textContent = "";
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

/** Marks a field as invalid or valid. */
function mark(field, isWrong) {
  if (isWrong) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
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

$("message-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = $("message-input");
  const said = input.value.trim();
  if (said === "") return;
  $("message-error").textContent = "";
  mark(input, false);
  try {
    await client.emitWithAck("say", said);
    if (input.value.trim() === said) input.value = "";
  } catch (refusal) {
    $("message-error").textContent = text(refusal.code);
    mark(input, about(refusal.code).includes(input.name));
  }
  if ($("message-form").contains(document.activeElement)) input.focus(); // else the user has moved on
});
$("message-input").addEventListener("input", () => mark($("message-input"), false));

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

/** Runs an action and shows its result, or why it was refused, under the devices. One runs at a time. */
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
