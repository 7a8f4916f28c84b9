// What a client with socket.io-client alone does, 4.6 or later for emitWithAck. What it leaves out, several tabs and
// renewal before the token expires, client/socketauth.js does.

import { io } from "socket.io-client";

let code; // of a login, until it is traded

export const socket = io({
  autoConnect: false,
  auth: (give) => give({ token: code ?? localStorage.token, confirm: true }), // a function: the token changes
});

socket.on("authenticated", async (token, stored) => {
  localStorage.token = token;
  stored(); // now, and not before, the one it replaces is dead, and the socket is in
  code = undefined;
  console.log(await socket.emitWithAck("hello"));
});

socket.on("unauthorized", ({ code: reason, terminal, retryAfter = 5 }) => {
  console.log("refused:", reason);
  if (!terminal) return setTimeout(() => socket.connect(), retryAfter * 1000);
  if (code) code = undefined; // which was refused, and not the token
  else delete localStorage.token; // and it is time for the login form
});

socket.on("logged_out", () => delete localStorage.token);

export const logout = () => socket.emit("logout");

export async function login(username, password) {
  const response = await fetch("/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username, password }),
  });
  if (!response.ok) throw new Error((await response.json()).code);
  code = (await response.json()).token;
  socket.disconnect().connect(); // anew, where someone is signed in already
}

if (localStorage.token) socket.connect(); // who was here before need not log in again
