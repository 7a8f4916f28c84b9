// The page: two forms, and a room to talk in.

import { Session } from "./session.js";
import { Room } from "./room.js";

const $ = (id) => document.getElementById(id);

/** What people read, by the codes of the server's refusals and the reasons of Session. */
const texts = {
  USER_INVALID: "Wrong name or password.",
  USER_EXISTS: "That name is taken. Is it yours? Then log in.",
  NAME_INVALID: "A name is 2 to 24 letters, digits or signs, without spaces.",
  PASSWORD_TOO_SHORT: "The password needs 8 characters or more.",
  PASSWORD_TOO_LONG: "The password is too long: 72 bytes are the limit.",
  TOO_MANY_ATTEMPTS: "Too many attempts. Wait a while, then try again.",
  UNAVAILABLE: "The server is busy. Try again in a moment.",
  NETWORK: "The server cannot be reached. Is it running?",
  MESSAGE_EMPTY: "There is nothing to send.",
  MESSAGE_TOO_LONG: "That is too long: 1000 characters are the limit.",
  MESSAGE_LOST: "This may not have been sent: the connection was lost.",

  logged_out: "You are logged out.",
  logged_out_here: "You are logged out here, but the server could not be told.",
  elsewhere: "You are logged out, as in your other tab.",
  token_expired: "You were away for too long. Please log in again.",
  no_longer_valid: "Your session is over, as after a restart of the server. Please log in again.",
  token_reused: "Your session is over: its token was used twice. That happens when the connection breaks at a bad moment. Please log in again.",
  session_revoked: "Your session was ended. Please log in again.",
};
const text = (code) => texts[code] ?? "Something went wrong. Please try again.";

const states = { "signed-out": "Signed out", connecting: "Connecting…", online: "Online", offline: "Offline, retrying…" };

const session = new Session(location.href, { changed });
const room = new Room(session.socket, $("messages"), $("users"), $("log"));
let focusOnArrival = false; // whether the user has just asked to come in

function changed(state, reason) {
  const signedOut = state === "signed-out";
  $("status").dataset.state = state;
  $("status").textContent = states[state];
  $("sign-in").hidden = !signedOut;
  $("chat").hidden = $("account").hidden = signedOut;
  $("send").disabled = state !== "online";

  if (signedOut) {
    room.clear();
    $("me").textContent = $("message-input").value = "";
    $("notice").textContent = reason ? text(reason) : "";
    if (reason) {
      show("login");
      focusForm();
    }
  } else if (state === "online") {
    enter();
  }
}

async function enter() {
  try {
    $("me").textContent = await room.join();
    if (focusOnArrival) $("message-input").focus();
    focusOnArrival = false;
  } catch (error) {
    if (session.state === "online") throw error; // else the connection is gone again, and will be back
  }
}

// Signing in

const forms = { login: $("login-form"), register: $("register-form") };

function show(which) {
  for (const name in forms) {
    forms[name].hidden = name !== which;
    $("show-" + name).setAttribute("aria-pressed", String(name === which));
  }
  $("sign-in-error").textContent = "";
}

function focusForm() {
  Object.values(forms).find((form) => !form.hidden).elements.username.focus();
}

for (const name in forms) {
  $("show-" + name).addEventListener("click", () => {
    show(name);
    focusForm();
  });
  forms[name].addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const button = form.querySelector("button");
    $("sign-in-error").textContent = $("notice").textContent = "";
    button.disabled = true;
    try {
      const code = await post(form);
      form.reset();
      focusOnArrival = true;
      session.begin(code);
    } catch (refusal) {
      $("sign-in-error").textContent = text(refusal.message);
      form.elements.password.focus();
    } finally {
      button.disabled = false;
    }
  });
}

/** Sends a form and gives the code that is answered. The error is a code too, of why there is none. */
async function post(form) {
  let response, answer;
  try {
    response = await fetch(form.action, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(Object.fromEntries(new FormData(form))),
      signal: AbortSignal.timeout(20_000),
    });
    answer = await response.json();
  } catch {
    throw new Error("NETWORK");
  }
  if (!response.ok) throw new Error(answer.code);
  return answer.token;
}

// Signed in

$("message-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = $("message-input");
  const said = input.value.trim();
  if (session.state !== "online" || said === "") return;
  $("message-error").textContent = "";
  try {
    await room.say(said);
    if (input.value.trim() === said) input.value = "";
  } catch (refusal) {
    $("message-error").textContent = text(refusal.message);
  }
});

$("logout").addEventListener("click", () => session.logOut());

addEventListener("storage", () => session.storageChanged());
addEventListener("online", () => session.networkChanged());
session.resume();
